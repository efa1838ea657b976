"""The rules of the house that can be read off the files."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOST_MODULES = re.compile(r"(comfy\w*|nodes|server|folder_paths|execution|latent_preview)(\.|$)")
CORE_FILES = sorted((ROOT / "adacorrection_core").rglob("*.py"))


def python_files() -> list[Path]:
    """The repository's Python files, committed or not; all there are when this is no git checkout."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode == 0:
        return [path for path in map(ROOT.joinpath, listing.stdout.splitlines()) if path.exists()]
    return [path for path in ROOT.rglob("*.py") if ".venv" not in path.parts]


def imported_modules(path: Path) -> list[str]:
    """Modules imported anywhere in the file; one that is relative keeps its leading dots."""
    names = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append("." * node.level + (node.module or ""))
    return names


@pytest.mark.parametrize("path", CORE_FILES, ids=lambda path: path.stem)
def test_core_imports_no_host(path: Path) -> None:
    assert [name for name in imported_modules(path) if HOST_MODULES.match(name)] == []


@pytest.mark.parametrize("path", CORE_FILES, ids=lambda path: path.stem)
def test_core_stays_inside_itself(path: Path) -> None:
    depth = len(path.relative_to(ROOT).parts) - 1
    outward = "." * (depth + 1)
    assert [name for name in imported_modules(path) if name.startswith(outward)] == []


@pytest.mark.parametrize(
    ("name", "is_host"),
    [
        ("comfy", True),
        ("comfy.samplers", True),
        ("comfy_api.latest", True),
        ("nodes", True),
        ("server", True),
        (".nodes", False),
        ("torch.nn", False),
        ("serverless", False),
    ],
)
def test_host_modules_are_told_apart(name: str, is_host: bool) -> None:
    assert bool(HOST_MODULES.match(name)) is is_host


def test_python_files_are_ascii() -> None:
    assert [str(path.relative_to(ROOT)) for path in python_files() if not path.read_bytes().isascii()] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "demo/README.md", "bench/RESULTS.md"])
def test_links_and_pictures_of_the_pages_are_there(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", (ROOT / page).read_text())
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_users_of_the_pack_install_no_torch() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    brought_by_host = re.compile(r"\s*(torch|numpy|safetensors|pillow)", re.IGNORECASE)
    assert [line for line in lines if brought_by_host.match(line)] == []
    assert re.search(r"^dependencies = \[\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def test_versions_agree() -> None:
    project = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    package = re.search(r'^__version__ = "(.+)"', (ROOT / "__init__.py").read_text(), re.MULTILINE)
    assert project and package
    assert project[1] == package[1]
    assert f"## {project[1]} " in (ROOT / "CHANGELOG.md").read_text()


def test_web_folder_is_declared_once() -> None:
    """Declared in both places, ComfyUI would load every script twice."""
    tool_comfy = (ROOT / "pyproject.toml").read_text().split("[tool.comfy]")[1].split("\n[")[0]
    assert not re.search(r"^web\s*=", tool_comfy, re.MULTILINE)
