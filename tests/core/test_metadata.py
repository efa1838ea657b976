"""pyproject.toml keeps to the rules of ComfyUI's registry, and cannot be published without its address."""

import copy
import re
import subprocess
from pathlib import Path

import pytest

from tests.registry import MISSING, RULES, faults, main, public_address, remote_address, tomllib

ROOT = Path(__file__).parents[2]
ADDRESS = "https://github.com/somebody/adacorrection"
METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLACES = {place for place, *_ in RULES}


def published(**changes):
    """The metadata as the publisher's step leaves them, with values changed: table__key=value."""
    metadata = copy.deepcopy(METADATA)
    metadata["project"]["urls"] = {"Repository": ADDRESS}
    for place, value in changes.items():
        table, key = place.split("__")
        (metadata["project"] if table == "project" else metadata["tool"]["comfy"])[key] = value
    return metadata


def test_registry_takes_what_would_be_published():
    assert faults(published()) == []


def test_repository_is_named_once_there_is_one():
    """A checkout that comes from a public place is about to be published: make registry writes where."""
    if remote_address():
        assert METADATA["project"].get("urls"), "the remote is public: run make registry"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"project__name": "123-tool"}, "project.name"),
        ({"project__name": "ada--correction"}, "project.name"),
        ({"project__name": "ComfyUI-AdaCorrection"}, "project.name"),
        ({"project__name": "a" * 100}, "project.name"),
        ({"project__version": "0.1"}, "project.version"),
        ({"project__license": "LICENSE"}, "project.license"),
        ({"project__license": {"file": "LICENCE.txt"}}, "LICENCE.txt is not there"),
        ({"project__description": ""}, "project.description"),
        ({"project__requires-python": "3.10"}, "project.requires-python"),
        ({"project__classifiers": ["Operating System :: Amiga"]}, "project.classifiers"),
        ({"project__classifiers": ["Environment :: GPU"]}, "project.classifiers"),
        ({"project__urls": {}}, "project.urls.Repository"),
        ({"project__urls": {"Repository": "git@github.com:somebody/it.git"}}, "project.urls.Repository"),
        ({"comfy__PublisherId": "Some Body"}, "tool.comfy.PublisherId"),
        ({"comfy__Publisher": "somebody"}, "tool.comfy:"),
        ({"comfy__DisplayName": " "}, "tool.comfy.DisplayName"),
        ({"comfy__Icon": "icon.png"}, "tool.comfy.Icon"),
        ({"comfy__Banner": "https://example.org/banner.webp"}, "tool.comfy.Banner"),
        ({"comfy__requires-comfyui": ">=0.8"}, "tool.comfy.requires-comfyui"),
        ({"comfy__includes": ["dist"]}, "dist is not there"),
    ],
)
def test_each_rule_is_held(change, place):
    (fault,) = faults(published(**change))
    assert fault.startswith(place)
    assert place.rstrip(":") in PLACES or "is not there" in place


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("git@github.com:somebody/adacorrection.git", ADDRESS),
        ("ssh://git@github.com/somebody/adacorrection.git", ADDRESS),
        ("https://somebody:secret@github.com/somebody/adacorrection.git", ADDRESS),
        (f"{ADDRESS}/", ADDRESS),
        ("/work/adacorrection", ""),
        ("file:///work/adacorrection", ""),
        ("", ""),
    ],
)
def test_address_of_a_page_from_that_of_git(given, address):
    assert public_address(given) == address


def test_step_writes_the_address_and_stops_without_one(tmp_path):
    """From the argument, else from the remote; what is there stays."""
    text = (ROOT / "pyproject.toml").read_text()
    for name, content in {"pyproject.toml": text, "LICENSE": "Apache License"}.items():
        (tmp_path / name).write_text(content)
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)

    if not METADATA["project"].get("urls"):
        assert main(root=tmp_path) == MISSING
        assert (tmp_path / "pyproject.toml").read_text() == text
    assert "no public address" in main("my computer", tmp_path)
    subprocess.run([*git, "remote", "add", "origin", f"{ADDRESS}.git"], check=True)
    assert main(root=tmp_path) == ""
    assert main(f"{ADDRESS}-2", tmp_path) == ""
    assert main(root=tmp_path) == ""
    written = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    assert written["project"]["urls"] == {"Repository": f"{ADDRESS}-2"}
    written["project"]["urls"] = METADATA["project"]["urls"]
    assert written == METADATA


def test_lowest_comfyui_is_said_in_the_readme():
    lowest = re.search(r">=([\d.]+)", METADATA["tool"]["comfy"]["requires-comfyui"])
    assert lowest and f"ComfyUI {lowest[1]} and newer" in (ROOT / "README.md").read_text()


def test_what_is_ignored_exists():
    ignored = (ROOT / ".comfyignore").read_text().splitlines()
    assert [line for line in ignored if "*" not in line and not (ROOT / line).exists()] == []
