"""Image prompts and other patches of attention and blocks: corrected steps neither lose nor double them."""

from types import SimpleNamespace
from typing import Any

import comfy.ldm.flux.redux
import comfy.sd
import comfy_extras.nodes_flux as flux_nodes
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import (
    CLOSE,
    SOME_HITS,
    assert_composes,
    evaluate_twice,
    model_of,
    relative_error,
    run_node,
)
from torch import Generator, Tensor

import nodes as comfy_nodes
import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.nodes.host.session import apply_correction, report_of

STEPS = 10
REPLAY = CorrectionConfig(tolerance=1.0, warmup_steps=1)


def with_redux(conditioning: tiny_models.Conditioning) -> tiny_models.Conditioning:
    """By StyleModelApply, with a tiny encoder of the real class."""
    encoder = comfy.ldm.flux.redux.ReduxImageEncoder(redux_dim=8, txt_in_features=64)
    generator = Generator().manual_seed(4)
    for weight in encoder.parameters():
        weight.data = torch.randn(weight.shape, generator=generator)
    vision = SimpleNamespace(last_hidden_state=torch.randn(1, 5, 8, generator=generator))
    with torch.inference_mode():
        return run_node(
            comfy_nodes.StyleModelApply,
            conditioning=conditioning,
            style_model=comfy.sd.StyleModel(encoder),
            clip_vision_output=vision,
            strength=1.0,
            strength_type="multiply",
        )


def test_redux() -> None:
    """The longer prompt cannot share a call with the shorter one."""
    family = "flux_dev"
    positive, negative = tiny_models.conditionings(family)
    styled = with_redux(positive)

    def sample(model: ModelPatcher) -> Tensor:
        run = {"steps": STEPS, "cfg": 2.0, "positive": styled, "negative": negative}
        return tiny_models.sample(model, family, **run)

    wrong = tiny_models.sample(model_of(family), family, steps=STEPS, cfg=2.0)
    assert relative_error(wrong, sample(model_of(family))) > 0.05
    report = assert_composes(sample, model_of(family), family)
    assert {record.branch for record in report.reused} == {"cond", "uncond"}

    replay = apply_correction(model_of(family), REPLAY)
    full, held = evaluate_twice(replay, family, cfg=2.0, positive=styled, negative=negative)
    assert relative_error(held, full) < 1e-5


def flux_adapter(attention: Tensor, options: dict[str, Any]) -> Tensor:
    """An IP-Adapter in small: something of its own added to the image tokens of the cond alone."""
    span = slice(*(options.get("img_slice") or (0, attention.shape[1])))
    rows = attention.chunk(len(options["cond_or_uncond"]))
    for tokens, role in zip(rows, options["cond_or_uncond"], strict=True):
        if role == 0:
            tokens[:, span] = tokens[:, span] + 2 * tokens[:, span].flip(-1)
    return attention


def wan_adapter(call: dict[str, Any]) -> Tensor:
    """The same where the patch is given all it may look at."""
    return flux_adapter(call["x"], {"cond_or_uncond": call["transformer_options"]["cond_or_uncond"]})


def adapted(family: str) -> ModelPatcher:
    model = model_of(family).clone()
    if family == "flux_dev":
        model.set_model_attn1_output_patch(flux_adapter)
    else:
        model.set_model_attn1_patch(wan_adapter)
    return model


@pytest.mark.parametrize("family", ["flux_dev", "wan21_t2v"])
def test_attention_patch(family: str) -> None:
    def sample(model: ModelPatcher) -> Tensor:
        return tiny_models.sample(model, family, steps=STEPS, cfg=2.0)

    wrong = sample(model_of(family))
    if relative_error(wrong, sample(adapted(family))) == 0:
        pytest.skip(f"{family} of ComfyUI {tiny_models.comfyui_version} does not call attention patches")

    assert_composes(sample, adapted(family), family, wrong=wrong)
    full, held = evaluate_twice(apply_correction(adapted(family), REPLAY), family, cfg=2.0)
    assert relative_error(held, full) < 1e-5


@pytest.mark.parametrize("family", ["wan21_t2v", "wan21_vace", "qwen_image", "z_image", "mage_flow", "lens"])
def test_what_a_pack_adds_between_blocks(family: str) -> None:
    """Uni3C and its like add behind each block, the last one among them."""

    def add(call: dict[str, Any]) -> dict[str, Any]:
        return call | {"img": call["img"] + 0.2 * call["img"].flip(-1)}

    if not tiny_models.available(family):
        pytest.skip(f"ComfyUI {tiny_models.comfyui_version} has no {family}")
    plain = model_of(family).clone()
    if not hasattr(plain, "set_model_double_block_patch"):
        pytest.skip("this ComfyUI has no such patch")
    plain.set_model_double_block_patch(add)
    wrong = tiny_models.sample(model_of(family), family, steps=STEPS)
    if torch.equal(tiny_models.sample(plain, family, steps=STEPS), wrong):
        pytest.skip(f"{family} of ComfyUI {tiny_models.comfyui_version} does not call such patches")

    assert_composes(lambda model: tiny_models.sample(model, family, steps=STEPS), plain, family, wrong=wrong)
    full, held = evaluate_twice(apply_correction(plain, REPLAY), family)
    assert relative_error(held, full) < 1e-5


def test_cached_reference_pictures() -> None:
    """FluxKVCache takes the tokens of a reference, a small one, out of the sequence behind step one."""
    family = "flux2"
    if not hasattr(flux_nodes, "FluxKVCache") or family not in tiny_models.FAMILIES:
        pytest.skip("this ComfyUI has no FluxKVCache")
    channels = tiny_models.FAMILIES[family].latent_shape[1]
    reference = torch.randn(1, channels, 8, 8, generator=Generator().manual_seed(6))
    [[tokens, options]], _ = tiny_models.conditionings(family)
    positive = [[tokens, options | {"reference_latents": [reference]}]]

    def sample(model: ModelPatcher) -> Tensor:
        return tiny_models.sample(model, family, steps=STEPS, positive=positive)

    plain = run_node(flux_nodes.FluxKVCache, model=tiny_models.load(family))
    without = sample(model_of(family))
    assert not torch.equal(sample(plain), without)

    assert_composes(sample, plain, family)


def test_a_style_of_one_region_only() -> None:
    """Redux in a mask, beside a plain prompt: two conds of different length and a shared uncond."""
    family = "flux_dev"
    positive, negative = tiny_models.conditionings(family)
    mask = torch.zeros(1, 16, 16)
    mask[..., :8] = 1.0
    node = comfy_nodes.ConditioningSetMask
    setting = {"strength": 1.0, "set_cond_area": "default"}
    styled = run_node(node, conditioning=with_redux(positive), mask=mask, **setting)
    other = run_node(node, conditioning=positive, mask=1 - mask, **setting)

    def sample(model: ModelPatcher) -> Tensor:
        run = {"steps": STEPS, "cfg": 2.0, "positive": styled + other, "negative": negative}
        return tiny_models.sample(model, family, **run)

    assert_composes(sample, model_of(family), family, close=2 * CLOSE)
    model = apply_correction(model_of(family), SOME_HITS)
    sample(model)
    assert len(report_of(model).records) == 3 * STEPS
