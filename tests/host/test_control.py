"""ControlNet residuals, which the host adds between blocks: neither lost nor counted twice."""

import dataclasses
from contextlib import nullcontext
from typing import Any
from unittest import mock

import comfy.controlnet
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import (
    ALWAYS_COMPUTED,
    CLOSE,
    FEW_HITS,
    SOME_HITS,
    corrected,
    evaluate_twice,
    model_of,
    probe_always_asked,
    relative_error,
    sampled,
)
from torch import Generator, Tensor

import nodes as comfy_nodes
import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.adacorrection_core.stats import Reason
from adacorrection.nodes.host.recognise import family_of
from adacorrection.nodes.host.session import report_of

# Which of the control's lists goes to which of these families' blocks.
CONTROLLED = {
    "flux_dev": {"input": "double_blocks", "output": "single_blocks"},
    "flux_kontext": {"input": "double_blocks", "output": "single_blocks"},
    "chroma": {"input": "double_blocks", "output": "single_blocks"},
    "sd3": {"output": "joint_blocks"},
    "hunyuan_video": {"input": "double_blocks", "output": "single_blocks"},
    "qwen_image": {"input": "transformer_blocks"},
    "mage_flow": {"input": "transformer_blocks"},
    "lens": {"input": "transformer_blocks"},
}
REPLAY = CorrectionConfig(tolerance=1.0, warmup_steps=1)


class TinyControl(comfy.controlnet.ControlBase):
    """A ControlNet that gives the same random residuals at every step."""

    def __init__(self, family: str, strength: float) -> None:
        super().__init__()
        model, generator = model_of(family).model.diffusion_model, Generator().manual_seed(2)
        tokens = family_of(model).tokens
        shape = (
            1,
            tokens.count(model, [tiny_models.FAMILIES[family].latent_shape], 0),
            tokens.width_of(model),
        )
        self.residuals = {
            name: [strength * torch.randn(shape, generator=generator) for _ in getattr(model, blocks)]
            for name, blocks in CONTROLLED[family].items()
        }

    def get_control(self, x_noisy: Tensor, t: Tensor, *_: Any) -> dict[str, list[Tensor]] | None:
        if t[0] < self.timestep_range[1]:
            return None
        return {"input": [], "output": []} | {
            name: [tokens.to(x_noisy.device).repeat(x_noisy.shape[0], 1, 1) for tokens in residuals]
            for name, residuals in self.residuals.items()
        }

    def copy(self) -> "TinyControl":
        return self


def controlled(
    family: str, strength: float = 1.0
) -> tuple[tiny_models.Conditioning, tiny_models.Conditioning]:
    """Both conditionings, as ControlNetApply leaves them."""
    added = {"control": TinyControl(family, strength), "control_apply_to_uncond": False}
    positive, negative = tiny_models.conditionings(family)
    return ([[tokens, options | added]] for [[tokens, options]] in (positive, negative))


@pytest.fixture(params=CONTROLLED)
def family(request: pytest.FixtureRequest) -> str:
    if not tiny_models.available(request.param):
        pytest.skip(f"ComfyUI {tiny_models.comfyui_version} has no {request.param}")
    return request.param


def run(model: ModelPatcher, family: str, cfg: float, steps: int, strength: float = 1.0) -> Tensor:
    positive, negative = controlled(family, strength)
    return tiny_models.sample(model, family, steps=steps, cfg=cfg, positive=positive, negative=negative)


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_control_without_correction_is_bit_identical(family: str, cfg: float) -> None:
    full = run(model_of(family), family, cfg, 3)
    assert not torch.equal(full, tiny_models.sample(model_of(family), family, steps=3, cfg=cfg))

    assert torch.equal(run(corrected(family, ALWAYS_COMPUTED), family, cfg, 3), full)


@pytest.mark.parametrize("cfg", [1.0, 3.0])
@pytest.mark.parametrize("is_probed", [True, False], ids=["first block", "no block"])
def test_replay_with_control(family: str, cfg: float, is_probed: bool) -> None:
    """What the host adds between the blocks of a corrected step has no say, whether one runs or none."""
    positive, negative = controlled(family)
    model = corrected(family, REPLAY)

    with probe_always_asked() if is_probed else nullcontext():
        full, held = evaluate_twice(model, family, cfg=cfg, positive=positive, negative=negative)

    assert [record.blocks_run for record in report_of(model).reused] == int(cfg > 1) * [is_probed] + [
        is_probed
    ]
    assert relative_error(held, full) < 1e-5


def test_corrected_steps_keep_the_control(family: str) -> None:
    full = run(model_of(family), family, 1.0, 12)
    without = tiny_models.sample(model_of(family), family, steps=12)
    twice = run(model_of(family), family, 1.0, 12, strength=2.0)

    model = corrected(family, FEW_HITS)

    latent = run(model, family, 1.0, 12)

    assert report_of(model).reused
    wrong = min(relative_error(without, full), relative_error(twice, full))
    assert relative_error(latent, full) < min(CLOSE, wrong / 3)


def control_net() -> comfy.controlnet.ControlNet:
    """A ControlNet for Flux of the host's own class, by the host's own loader."""
    flux = tiny_models.FAMILIES["flux_dev"]
    own = dataclasses.replace(flux, module="comfy.ldm.flux.controlnet.ControlNetFlux")
    with mock.patch.dict(tiny_models.FAMILIES, {"flux_control": own}), tiny_models.sizes_told(own):
        weights = tiny_models.state_dict("flux_control", seed=4)
        return comfy.controlnet.load_controlnet_flux_xlabs_mistoline(weights)


def test_a_control_net_of_the_host() -> None:
    """By ControlNetApplyAdvanced, for the first seven tenths of the run."""
    net, conds = control_net(), tiny_models.conditionings("flux_dev")
    picture = torch.rand(1, 128, 128, 3, generator=Generator().manual_seed(5))

    def sample(model: ModelPatcher, strength: float = 0.5) -> Tensor:
        node = comfy_nodes.ControlNetApplyAdvanced()
        positive, negative = node.apply_controlnet(*conds, net, picture, strength, 0.0, 0.7)
        return tiny_models.sample(model, "flux_dev", steps=10, positive=positive, negative=negative)

    full, without, twice = (sample(model_of("flux_dev"), strength) for strength in (0.5, 0.0, 1.0))
    assert torch.equal(sample(corrected("flux_dev", ALWAYS_COMPUTED)), full)
    model = corrected("flux_dev", FEW_HITS)

    latent = sample(model)

    assert report_of(model).hit_rate > 0
    wrong = min(relative_error(without, full), relative_error(twice, full))
    assert relative_error(latent, full) < 0.7 * wrong


def test_a_cond_whose_control_ends_in_the_middle(family: str) -> None:
    """Without its control the same cond is another branch: no residual of a controlled pass is reused."""
    positive, negative = controlled(family)
    positive[0][1]["control"].timestep_percent_range = (0.0, 0.45)
    full = tiny_models.sample(model_of(family), family, steps=12, positive=positive, negative=negative)

    latent, report = sampled(
        corrected(family, SOME_HITS), family, steps=12, positive=positive, negative=negative
    )

    without = [r for r in report.records if r.sigma < to_sigma(model_of(family), 0.45)]
    assert without[0].reason is Reason.NEW_BRANCH
    assert report.hit_rate > 0
    assert relative_error(latent, full) < CLOSE


def to_sigma(model: ModelPatcher, percent: float) -> float:
    return float(model.get_model_object("model_sampling").percent_to_sigma(percent))
