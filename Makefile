# Each target needs python3 with pip and venv, and a package index. PYTHON=python3.12 picks another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo bench test test-device test-hosts test-nightly host-changes registry lint clean
.DEFAULT_GOAL := test

demo: $(VENV)/.demo-installed
	@$(BIN)/python -m demo

# AdaCorrection against fewer steps, plain caches and other projects' caches: about an hour on two cores.
bench: $(VENV)/.bench-installed
	@$(BIN)/python -m bench

test: $(VENV)/.dev-installed
	@$(BIN)/python tests/run.py

# Host tests only, in every ComfyUI that can be found, newest first.
test-hosts: $(VENV)/.dev-installed
	@$(BIN)/python tests/run.py hosts

# All host tests on a device that is not the CPU; `make test` has some.
test-device: $(VENV)/.dev-installed
	@$(BIN)/python tests/run.py device

# The property tests of the controller with twenty times as many cases.
test-nightly: $(VENV)/.dev-installed
	@HYPOTHESIS_PROFILE=nightly $(BIN)/python tests/run.py core -k properties --timeout 3600

# What changed in a newer ComfyUI of what the family entries rely on: make host-changes OLD=... NEW=...
host-changes: $(VENV)/.dev-installed
	@$(BIN)/python tests/host_changes.py $(OLD) $(NEW)

# Before publishing: ComfyUI's registry's rules, and the public address: make registry REPOSITORY=https://...
registry: $(VENV)/.dev-installed
	@$(BIN)/python tests/registry.py $(REPOSITORY)

lint: $(VENV)/.dev-installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Installs the extra named by the stamp (demo or dev). A virtual environment whose interpreter no longer runs (moved
# checkout, upgraded Python) is made afresh.
$(VENV)/.%-installed: pyproject.toml
	@$(BIN)/python -c "" 2>/dev/null || { echo "Making $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing what '$*' needs into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) *.egg-info build .pytest_cache .ruff_cache .mypy_cache .hypothesis tests/host/.pytest_cache
