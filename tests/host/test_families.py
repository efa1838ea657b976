"""The entries of the model families against the host's own classes, and against the documentation."""

import importlib

import pytest
from families_table import DOCUMENT, document

import tiny_models
from adacorrection.nodes.host.families import FAMILIES


def test_the_documented_table_is_the_one_that_the_entries_make() -> None:
    assert DOCUMENT.read_text() == document(), "python tests/host/families_table.py writes it anew"


def test_no_class_belongs_to_two_families() -> None:
    classes = [name for family in FAMILIES for name in family.classes]

    assert len(set(classes)) == len(classes)


@pytest.mark.skipif(
    tiny_models.comfyui_version.startswith("0.8."), reason="half of the classes are newer than ComfyUI 0.8"
)
def test_the_host_has_every_class() -> None:
    for name in (name for family in FAMILIES for name in family.classes):
        module, _, cls = name.rpartition(".")
        assert isinstance(getattr(importlib.import_module(f"comfy.ldm.{module}"), cls), type)
