"""The pack as ComfyUI's registry would publish it: complete, and without a fault that comfy-test knows.

Of its levels those that need no network: syntax, registration, javascript and hazards. Registration is asked
of a running server, since the level's own way there clones ComfyUI. To run them by hand: CONTRIBUTING.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfy_server import Server, running_server

from comfy_host import PACK_ROOT, find_host

CHECKS = '[test]\nname = "AdaCorrection"\nlevels = ["syntax", "hazards", "registration", "javascript"]\n'
NODES = {"", "Report", "Compare", "DemoPrompt", "DemoDecode"}


def published_files() -> list[str]:
    """What the registry takes: the tracked files but for those that .comfyignore names."""
    listing = ["git", "ls-files", "--cached"]
    tracked, left_out = (
        subprocess.run(
            [*listing, *more], cwd=PACK_ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for more in ([], ["--ignored", "--exclude-from=.comfyignore"])
    )
    return sorted(set(tracked) - set(left_out))


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is published, in a folder like the host's."""
    if not (PACK_ROOT / ".git").exists():
        pytest.skip("this is no git checkout, so what would be published is not known")
    folder = tmp_path_factory.mktemp("published") / "ComfyUI" / "custom_nodes" / "adacorrection"
    for name in published_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PACK_ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def published_server(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(find_host(), tmp_path_factory.mktemp("published_host"), pack) as running:
        yield running


def comfy_test(*arguments: str, cwd: Path, logs: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COMFY_TEST_LOGS_DIR": str(logs)}
    command = [sys.executable, "-m", "comfy_test", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_nothing_is_published_that_is_for_developers_only() -> None:
    names = published_files()
    assert {name.split("/")[0] for name in names}.isdisjoint({"tests", "bench", ".ci", "Makefile"})
    assert {"__init__.py", "web/adacorrection.js", "demo/model/tinyflux.safetensors"} <= set(names)


def test_comfy_test_passes(pack: Path, published_server: Server, tmp_path: Path) -> None:
    shutil.copy2(published_server.log_file, tmp_path / "server.log")  # where it looks for failed imports
    checks = tmp_path / "comfy-test.toml"
    checks.write_text(CHECKS)
    run = comfy_test(
        "run", "--server-url", published_server.url, "--config", str(checks), cwd=pack, logs=tmp_path
    )

    assert run.returncode == 0, run.stdout + run.stderr
    for level in ("SYNTAX", "HAZARDS", "REGISTRATION", "JAVASCRIPT"):
        assert f"[{level}] PASSED" in run.stdout
    assert "Hazards check: clean" in run.stdout  # this level only reports
    assert "0 error(s), 0 warning(s)" in run.stdout
    assert published_server.get("/object_info").json().keys() >= {f"AdaCorrection{name}" for name in NODES}


def test_comfy_test_finds_a_fault(pack: Path, tmp_path: Path) -> None:
    """The checks see this pack's files: a hard-coded device does not pass."""
    copy = tmp_path / "adacorrection"
    shutil.copytree(pack, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    (copy / "nodes" / "faulty.py").write_text("def move(model):\n    return model.cuda{}\n".format("()"))
    run = comfy_test("lint", "--strict", str(copy), cwd=copy, logs=tmp_path)
    assert run.returncode and "nodes/faulty.py" in run.stdout


def test_comfy_test_has_nothing_against_the_whole_repository(tmp_path: Path) -> None:
    """Who clones it has the tests and the training of the demo model as well."""
    run = comfy_test("lint", "--strict", str(PACK_ROOT), cwd=PACK_ROOT, logs=tmp_path)
    assert run.returncode == 0, run.stdout
