"""pyproject.toml keeps to the rules of ComfyUI's registry (https://docs.comfy.org/registry/specifications)."""

import re
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")  # Python 3.11

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMFY = PROJECT["tool"]["comfy"]
PROJECT = PROJECT["project"]

SYSTEMS = {"OS Independent", "Microsoft :: Windows", "POSIX :: Linux", "MacOS"}
ACCELERATORS = {
    "GPU :: NVIDIA CUDA",
    "GPU :: AMD ROCm",
    "GPU :: Intel Arc",
    "NPU :: Huawei Ascend",
    "GPU :: Apple Metal",
}
COMPATIBLE = re.compile(r"(<|>|<=|>=|~=|<>|!=)?\d+\.\d+\.\d+")
PICTURE = re.compile(r"https://\S+\.(svg|png|jpg|gif)")


def classifiers(kind: str) -> set[str]:
    own = (line.partition(" :: ") for line in PROJECT["classifiers"])
    return {value for name, _, value in own if name == kind}


def test_name() -> None:
    """Shorter than 100 characters; no special characters in a row nor in front; not called after ComfyUI."""
    name = PROJECT["name"]
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]*([-_.][A-Za-z0-9]+)*", name) and len(name) < 100
    assert "comfy" not in name.lower()


def test_version_is_semantic() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])


def test_licence_is_a_table_with_a_file_that_is_there() -> None:
    assert PROJECT["license"].keys() == {"file"}
    assert "Apache License" in (ROOT / PROJECT["license"]["file"]).read_text()


def test_description_is_one_line() -> None:
    assert 20 < len(PROJECT["description"]) < 200 and "\n" not in PROJECT["description"]


def test_classifiers_are_those_that_the_registry_reads() -> None:
    assert classifiers("Operating System") and classifiers("Operating System") <= SYSTEMS
    assert classifiers("Environment") and classifiers("Environment") <= ACCELERATORS


def test_comfy_section() -> None:
    assert COMFY.keys() <= {"PublisherId", "DisplayName", "Icon", "Banner", "requires-comfyui", "includes"}
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", COMFY["PublisherId"])
    assert COMFY["DisplayName"].strip()
    for part in COMFY["requires-comfyui"].split(","):
        assert COMPATIBLE.fullmatch(part.strip()), part


def test_addresses() -> None:
    """The publisher's own, once there are any: the repository, and pictures that the registry can load."""
    for picture in (COMFY.get("Icon"), COMFY.get("Banner")):
        assert picture is None or PICTURE.fullmatch(picture)
    for address in PROJECT.get("urls", {}).values():
        assert re.fullmatch(r"https://\S+", address)


def test_folders_that_are_named_exist() -> None:
    assert [folder for folder in COMFY.get("includes", []) if not (ROOT / folder).is_dir()] == []
    ignored = (ROOT / ".comfyignore").read_text().splitlines()
    assert [line for line in ignored if "*" not in line and not (ROOT / line).exists()] == []


def test_lowest_comfyui_is_said_in_the_readme() -> None:
    lowest = re.search(r">=([\d.]+)", COMFY["requires-comfyui"])
    assert lowest and f"ComfyUI {lowest[1]} and newer" in (ROOT / "README.md").read_text()
