"""The entries of the model families against the host's own classes, and against the documentation."""

import importlib
import inspect
import re
from typing import Any
from unittest import mock

import comfy.model_base
import comfy.supported_models
import pytest
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from families_table import DOCUMENT, NOT_IN_THE_TABLE, document
from runs import model_of

import tiny_models
from adacorrection.nodes.host.families import FAMILIES
from adacorrection.nodes.host.recognise import is_transformer

CLASSES = [name for family in FAMILIES for name in family.classes]
# Stable Diffusion 1.5, SDXL and their like, and both stages of Stable Cascade.
U_NETS = {
    "modules.diffusionmodules.openaimodel.UNetModel",
    "cascade.stage_b.StageB",
    "cascade.stage_c.StageC",
}
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


class Told(Exception):
    """A model of the host has said what it is made of."""


def made_of(model: type) -> str:
    """The class of the diffusion model that a model of the host is made of, which it hands to its base."""

    def tell(
        self: Any, model_config: Any, model_type: Any = None, device: Any = None, unet_model: Any = UNetModel
    ) -> None:
        raise Told(unet_model)

    parameters = list(inspect.signature(model.__init__).parameters.values())[1:]
    required = [each.name for each in parameters if each.default is each.empty]
    with mock.patch.object(comfy.model_base.BaseModel, "__init__", tell), pytest.raises(Told) as told:
        model.__init__(object.__new__(model), **{name: mock.MagicMock() for name in required})
    cls = told.value.args[0]
    return f"{cls.__module__}.{cls.__qualname__}".removeprefix("comfy.ldm.")


@newest_host
def test_the_host_has_no_other_transformer() -> None:
    """What all models are made of that it can load: in the table, a U-Net, or named below the table."""
    makers = [inspect.getsource(config.get_model) for config in comfy.supported_models.models]
    used = {name for source in makers for name in re.findall(r"model_base\.([A-Z]\w+)", source)}
    models = [made for name in used if isinstance(made := getattr(comfy.model_base, name), type)]
    bases = [model for model in models if issubclass(model, comfy.model_base.BaseModel)]
    classes = set(map(made_of, bases))

    assert len(bases) > 70
    assert classes - set(CLASSES) - U_NETS == NOT_IN_THE_TABLE
    assert set(CLASSES) <= classes


def test_a_transformer_without_an_entry_is_known_as_one(family: str) -> None:
    """By what its blocks are made of, so that a class which is newer than the entries is not refused."""
    assert is_transformer(model_of(family).model.diffusion_model)
