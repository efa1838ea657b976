"""The entries of the model families against the host's own classes, and against the documentation."""

import importlib
import inspect
import re

import comfy.model_base
import comfy.ops
import pytest
from families_table import DOCUMENT, NOT_IN_THE_TABLE, document

import tiny_models
from adacorrection.nodes.host.families import FAMILIES

CLASSES = [name for family in FAMILIES for name in family.classes]
newest_host = pytest.mark.skipif(
    tiny_models.comfyui_version.startswith("0.8."), reason="half of the classes are newer than ComfyUI 0.8"
)


@newest_host
def test_the_documented_table_is_the_one_that_the_entries_make() -> None:
    assert DOCUMENT.read_text() == document(), "python tests/host/families_table.py writes it anew"


def test_no_class_belongs_to_two_families() -> None:
    assert len(set(CLASSES)) == len(CLASSES)


def test_every_class_has_a_tiny_model() -> None:
    assert set(CLASSES) == {tiny.module.removeprefix("comfy.ldm.") for tiny in tiny_models.FAMILIES.values()}


@newest_host
def test_the_host_has_every_class() -> None:
    for name in CLASSES:
        module, _, cls = name.rpartition(".")
        assert isinstance(getattr(importlib.import_module(f"comfy.ldm.{module}"), cls), type)


@newest_host
def test_the_host_has_no_other_transformer() -> None:
    """What its models are made of, but U-Nets: in the table, or named below it."""
    classes = set(re.findall(r"unet_model=comfy\.ldm\.([\w.]+)", inspect.getsource(comfy.model_base)))

    assert classes - set(CLASSES) == NOT_IN_THE_TABLE
