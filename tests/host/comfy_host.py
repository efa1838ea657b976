"""Find a real ComfyUI, start it inside this process on the CPU, and load the pack into it.

The top of this module needs neither ComfyUI nor torch, so that the test runner can ask where a host is.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

PACK_ROOT = Path(os.path.abspath(__file__)).parents[2]  # the path may have come by way of ..
DEVICE_TESTS = PACK_ROOT / "tests" / "device"
ON_SECOND_DEVICE = os.environ.get("TEST_DEVICE") == "second"  # the host tests compute there, not on the CPU
PACK_NAME = "adacorrection"  # the name that host tests import the pack by; ComfyUI derives one from the path

HOW_TO_GET_A_HOST = (
    "Set COMFYUI_PATH to a ComfyUI checkout, and COMFYUI_PYTHON to its Python with pytest and pytest-timeout "
    "(CONTRIBUTING.md, 'A host for the host tests')."
)


def find_host() -> Path | None:
    """The ComfyUI to test with: COMFYUI_PATH, the one in the cache, or the one this pack is installed in."""
    named = os.environ.get("COMFYUI_PATH")
    if named:
        if not _is_host(Path(named)):
            raise FileNotFoundError(f"COMFYUI_PATH={named} holds no main.py. {HOW_TO_GET_A_HOST}")
        return Path(named).absolute()
    candidates = [_cache_folder() / "comfyui", PACK_ROOT.parents[1]]
    return next((path for path in candidates if _is_host(path)), None)


def find_hosts() -> list[Path]:
    """Every ComfyUI that can be found, newest version first. COMFYUI_PATH adds to those in the cache."""
    first = find_host()
    found = {path.resolve() for path in _cache_folder().glob("comfyui*") if _is_host(path)}
    found |= {first.resolve()} if first else set()
    return sorted(found, key=lambda host: _sortable(host_version(host)), reverse=True)


def host_python(host: Path) -> str:
    """The Python with this host's requirements. COMFYUI_PYTHON speaks for the host that find_host names."""
    named, first = os.environ.get("COMFYUI_PYTHON"), find_host()
    if named and first and first.resolve() == host.resolve():
        return named
    folder, file = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    own = host / ".venv" / folder / file
    return str(own) if own.exists() else sys.executable


def find_chromium() -> str | None:
    """The system's browser, in which the host's page is tested; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def host_version(host: Path) -> str:
    version_file = host / "comfyui_version.py"
    match = re.search(r'__version__ = "(.+)"', version_file.read_text()) if version_file.exists() else None
    return match.group(1) if match else "unknown"


def boot() -> Path:
    """Import ComfyUI into this process, on the CPU, its folder ahead of ours on the path; returns its folder.

    The pack's own folder leaves the path: there `nodes` is our package and not ComfyUI's nodes.py, and a
    second `adacorrection_core` would have classes that are not the pack's.
    """
    host = find_host()
    if host is None:
        raise FileNotFoundError(f"There is no ComfyUI. {HOW_TO_GET_A_HOST}")
    ours = {PACK_ROOT.resolve(), host.resolve()}
    sys.path[:] = [str(host), *(entry for entry in sys.path if Path(entry or ".").resolve() not in ours)]

    # PyTorch attention is what GPUs use; the CPU's default (sub-quadratic) mishandles some masks.
    arguments, sys.argv = sys.argv, ["main.py", *_device_options(), "--use-pytorch-cross-attention"]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args  # noqa: F401  (reads sys.argv once, when it is imported)
    finally:
        sys.argv = arguments
    return host


def _device_options() -> list[str]:
    """What tells ComfyUI where to compute: on the CPU, or on the second device.

    ComfyUI asks only one device for no more than its name: the one of the package torch_directml. It would
    compute in float16 there, for which the tests are not made.
    """
    if not ON_SECOND_DEVICE:
        return ["--cpu"]
    sys.path.append(str(DEVICE_TESTS))
    return ["--directml", "--force-fp32"]


def load_pack() -> ModuleType:
    """The repository's root package, named `adacorrection`; its relative imports work as in ComfyUI."""
    if PACK_NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            PACK_NAME, PACK_ROOT / "__init__.py", submodule_search_locations=[str(PACK_ROOT)]
        )
        sys.modules[PACK_NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[PACK_NAME])
    return sys.modules[PACK_NAME]


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adacorrection"


def _is_host(path: Path) -> bool:
    return (path / "main.py").exists() and (path / "comfy" / "model_patcher.py").exists()


def _sortable(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))
