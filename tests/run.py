"""Run each test suite in a process of its own and close with one line of counts.

    python tests/run.py          core and demo tests with this Python, host and browser tests in one ComfyUI
    python tests/run.py core     core and demo tests only
    python tests/run.py host     host tests only, in the ComfyUI that COMFYUI_PATH or the cache names
    python tests/run.py hosts    host tests in every ComfyUI found, newest first
    python tests/run.py browser  browser tests only: that ComfyUI's page in the system's Chromium
    python tests/run.py device   tests/device, and host tests on a device that is not the CPU

Further arguments go to pytest: python tests/run.py host -k flux -x
The suites cannot share a process: our `nodes` package is called like ComfyUI's nodes.py.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

TESTS = Path(__file__).parent.absolute()
HOST_TESTS = TESTS / "host"
BROWSER_TESTS = TESTS / "browser"
DEVICE_TESTS = TESTS / "device"
sys.path.insert(0, str(HOST_TESTS))

from comfy_host import HOW_TO_GET_A_HOST, find_chromium, find_host, find_hosts, host_python, host_version  # noqa: E402

SUITES = ["all", "core", "host", "hosts", "browser", "device"]
# Of the host tests, what `all` repeats on the second device; `device` repeats all.
SOME_ON_DEVICE = ["test_identity.py", "test_families.py", "test_whole_model.py", "test_multigpu.py"]
SOME_ON_DEVICE += ["test_on_device.py", "-k", "flux_dev or wan21_t2v or on_device"]
NO_TESTS_COLLECTED = 5  # pytest's exit status


@dataclass(frozen=True)
class Count:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite", nargs="?", default="all", choices=SUITES)
    options, pytest_arguments = parser.parse_known_args()
    suite = options.suite

    total, remarks = Count(), []
    if suite in ("all", "core"):
        total += run_core_tests(pytest_arguments)
    if suite in ("all", "host", "hosts"):
        count, remark = run_host_tests(suite == "hosts", pytest_arguments)
        total, remarks = total + count, [remark]
    if suite in ("all", "browser"):
        count, remark = run_browser_tests(pytest_arguments)
        total, remarks = total + count, [*remarks, remark]
    if suite in ("all", "device"):
        count, remark = run_device_tests([] if suite == "device" else SOME_ON_DEVICE, pytest_arguments)
        total, remarks = total + count, [*remarks, remark]

    print()
    for remark in filter(None, remarks):
        print(remark)
    print(total, flush=True)
    return 1 if total.failed else 0


def run_core_tests(pytest_arguments: list[str]) -> Count:
    announce(f"Core and demo tests, {sys.executable}")
    return run_pytest(sys.executable, TESTS.parent, pytest_arguments, dict(os.environ))


def run_host_tests(everywhere: bool, pytest_arguments: list[str]) -> tuple[Count, str]:
    """Returns the counts and the line that says where the tests ran, or why they did not."""
    try:
        hosts = find_hosts() if everywhere else [host for host in [find_host()] if host]
    except FileNotFoundError as error:
        return Count(failed=1), f"Host tests did not run: {error}"
    if not hosts:
        count = Count(skipped=count_test_functions(HOST_TESTS))
        return count, f"Host tests: {count.skipped} skipped, there is no ComfyUI. {HOW_TO_GET_A_HOST}"

    counts = {host: run_in_host(host, pytest_arguments, {}) for host in hosts}
    places = [f"ComfyUI {host_version(host)} ({count})" for host, count in counts.items()]
    total = sum(counts.values(), Count())
    return total, f"Host tests: {total.skipped} skipped; {', '.join(places)}."


def run_browser_tests(pytest_arguments: list[str]) -> tuple[Count, str]:
    """Returns the counts and the line that says where the tests ran, or why they did not."""
    host, chromium = find_host(), find_chromium()
    if host is None or chromium is None:
        count = Count(skipped=count_test_functions(BROWSER_TESTS))
        missing = "ComfyUI" if host is None else "Chromium (apt-get install chromium)"
        return count, f"Browser tests: {count.skipped} skipped, there is no {missing}."
    announce(f"Browser tests, ComfyUI {host_version(host)}, {chromium}")
    count = run_pytest(sys.executable, BROWSER_TESTS, pytest_arguments, dict(os.environ))
    return count, f"Browser tests: {count.skipped} skipped; ComfyUI {host_version(host)} ({count})."


def run_device_tests(selection: list[str], pytest_arguments: list[str]) -> tuple[Count, str]:
    """Returns the counts and the line that says where the tests ran, or why they did not."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # .venv has ninja
    headers = Path(sysconfig.get_path("include"), "Python.h")
    if shutil.which("c++") is None or not headers.exists():
        count = Count(skipped=count_test_functions(DEVICE_TESTS))
        missing = f"there is no c++ or no {headers} (apt-get install g++ python3-dev)"
        return count, f"Device tests: {count.skipped} skipped, {missing}."
    announce(f"Device tests, {sys.executable}")
    environment = {"PATH": path, "TEST_DEVICE": "second"}
    count = run_pytest(sys.executable, DEVICE_TESTS, pytest_arguments, {**os.environ, **environment})
    host = find_host()
    if host is not None:
        count += run_in_host(host, [*selection, *pytest_arguments], environment)
    return count, f"Device tests: {count.skipped} skipped ({count})."


def run_in_host(host: Path, pytest_arguments: list[str], environment: dict[str, str]) -> Count:
    python = host_python(host)
    where = ", second device" if "TEST_DEVICE" in environment else ""
    announce(f"Host tests, ComfyUI {host_version(host)}, {python}{where}")
    ready = subprocess.run([python, "-c", "import einops, pytest, pytest_timeout, torch"])
    if ready.returncode:
        print(f"{python} cannot run them. {HOW_TO_GET_A_HOST}", flush=True)
        # A host that somebody named has to work; one that was merely come across need not.
        is_named = {"COMFYUI_PATH", "COMFYUI_PYTHON"} & os.environ.keys()
        return Count(failed=1) if is_named else Count(skipped=count_test_functions(HOST_TESTS))
    environment = {**os.environ, "COMFYUI_PATH": str(host), **environment}
    if pytest_arguments:
        return run_pytest(python, HOST_TESTS, pytest_arguments, environment)
    return run_in_halves(python, HOST_TESTS, environment)


def run_in_halves(python: str, folder: Path, environment: dict[str, str]) -> Count:
    """Run all tests of a folder, half of the files on another core, whose output comes when all are over."""
    files = sorted(folder.glob("test_*.py"), key=lambda path: path.stat().st_size)
    # Each leaves out the other half: files named to pytest are taken though the conftest leaves them out.
    first, second = ([f"--ignore={path.name}" for path in half] for half in (files[1::2], files[::2]))
    with tempfile.TemporaryFile("w+") as log, ThreadPoolExecutor() as pool:
        other = pool.submit(run_pytest, python, folder, second, environment, log)
        count = run_pytest(python, folder, first, environment) + other.result()
        log.seek(0)
        print(log.read(), flush=True)
    return count


def run_pytest(
    python: str, folder: Path, arguments: list[str], environment: dict[str, str], log: IO[str] | None = None
) -> Count:
    """Run pytest in `folder`, its output passed through or into a file, and count the outcomes."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "junit.xml"
        status = subprocess.run(
            [python, "-m", "pytest", f"--junit-xml={report}", *arguments],
            cwd=folder,
            env=environment,
            stdout=log,
        ).returncode
        count = count_outcomes(report) if report.exists() else Count()
    if status not in (0, NO_TESTS_COLLECTED) and not count.failed:
        return count + Count(failed=1)  # pytest itself did not get through
    return count


def count_outcomes(report: Path) -> Count:
    cases = [{child.tag for child in case} for case in ElementTree.parse(report).iter("testcase")]
    failed = sum(bool(tags & {"failure", "error"}) for tags in cases)
    skipped = sum("skipped" in tags and not tags & {"failure", "error"} for tags in cases)
    return Count(len(cases) - failed - skipped, failed, skipped)


def count_test_functions(folder: Path) -> int:
    """How many test functions there are; parameters are not expanded, that takes the host."""
    trees = [ast.parse(path.read_bytes()) for path in sorted(folder.glob("test_*.py"))]
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return sum(function.name.startswith("test_") for function in functions)


def announce(title: str) -> None:
    print(f"\n=== {title}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
