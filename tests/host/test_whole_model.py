"""A transformer whose blocks nobody knows: the whole model is computed or its velocity forecast."""

import logging

import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import ALWAYS_COMPUTED, CLOSE, OFF, SOME_HITS, evaluate_twice, model_of, relative_error, sampled
from torch import Tensor

import tiny_models
from adacorrection.adacorrection_core.config import ConfigError, CorrectionConfig
from adacorrection.adacorrection_core.stats import Outcome, Reason
from adacorrection.nodes.host import recognise
from adacorrection.nodes.host.session import apply_correction, report_of

STEPS = 12
# Velocity at the flow's levels, noise at levels of noise over signal, two latents in a pack, swapped halves,
# blocks that attend themselves.
KINDS = ("sd3", "pixart_sigma", "ltxav", "hunyuan3d21", "cogvideox")


@pytest.fixture(params=KINDS)
def family(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tiny model of a class that the pack has never heard of."""
    if not tiny_models.available(request.param):
        pytest.skip(f"ComfyUI {tiny_models.comfyui_version} has no {request.param}")
    monkeypatch.setattr(recognise, "FAMILIES", ())
    return request.param


def test_bit_identical_without_correction(family: str) -> None:
    full = tiny_models.sample(model_of(family), family, steps=3, cfg=3.0)

    for config in (OFF, ALWAYS_COMPUTED):
        latent, report = sampled(apply_correction(model_of(family), config), family, steps=3, cfg=3.0)
        assert torch.equal(latent, full)
        assert report.hit_rate == 0


def test_held_velocity_gives_the_full_output(family: str) -> None:
    model = apply_correction(model_of(family), CorrectionConfig(tolerance=1.0, warmup_steps=1))

    full, held = evaluate_twice(model, family, cfg=3.0)

    assert [record.outcome for record in report_of(model).records] == 2 * [Outcome.COMPUTE] + 2 * [
        Outcome.HOLD
    ]
    assert relative_error(held, full) < 1e-5


def test_fewer_calls_and_the_same_ones_again(family: str) -> None:
    full = tiny_models.sample(model_of(family), family, steps=STEPS, cfg=3.0)
    model = apply_correction(model_of(family), SOME_HITS)

    with tiny_models.count_blocks(model, family) as executed:
        latent, report = sampled(model, family, steps=STEPS, cfg=3.0)
    again, _ = sampled(model, family, steps=STEPS, cfg=3.0)

    calls = len({record.evaluation for record in report.records if record.blocks_run})
    assert set(executed.values()) == {calls}
    assert calls < STEPS
    assert report.block_fraction == pytest.approx(calls / STEPS)
    assert torch.equal(again, latent)
    assert relative_error(latent, full) < 2 * CLOSE
    assert "whole model, no blocks known" in report.summary()


def test_branches_in_calls_of_their_own(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comfy.samplers, "can_concat_cond", lambda one, other: one is other)
    full = tiny_models.sample(model_of(family), family, steps=STEPS, cfg=3.0)

    latent, report = sampled(apply_correction(model_of(family), SOME_HITS), family, steps=STEPS, cfg=3.0)

    assert {record.branch for record in report.reused} == {"cond", "uncond"}
    assert relative_error(latent, full) < 2 * CLOSE


def test_it_is_said(family: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        apply_correction(model_of(family), SOME_HITS)

    name = type(model_of(family).model.diffusion_model).__name__
    assert f"the blocks of {name} are not known; it works on the whole model" in caplog.text


def test_paper_mode_needs_blocks(family: str) -> None:
    with pytest.raises(ConfigError, match="are not known. Set mode to accelerated"):
        apply_correction(model_of(family), CorrectionConfig(mode="paper"))


@pytest.mark.parametrize("config", [ALWAYS_COMPUTED, CorrectionConfig(tolerance=1.0)], ids=["no", "all"])
def test_calls_that_fill_caches_of_the_model_are_left_alone(config: CorrectionConfig) -> None:
    """Autoregressive video: each call adds keys and values that the next ones read."""
    if not tiny_models.available("wan21_causal"):
        pytest.skip(f"ComfyUI {tiny_models.comfyui_version} has no wan21_causal")
    patched = apply_correction(model_of("wan21_causal"), config)

    full = autoregressive(model_of("wan21_causal"))
    latent = autoregressive(patched)

    report = report_of(patched)
    assert torch.equal(latent, full)
    assert {record.reason for record in report.records} == {Reason.OWN_STATE}
    assert report.block_fraction == 1
    assert len(report.records) == 2 * (6 + 1)  # two frames one after the other, six steps and one to remember


def autoregressive(model: ModelPatcher) -> Tensor:
    """A video of two latent frames, made frame by frame."""
    latent = tiny_models.empty_latent("wan21_causal")
    positive, negative = tiny_models.conditionings("wan21_causal")
    with torch.inference_mode():
        return comfy.sample.sample_custom(
            model,
            comfy.sample.prepare_noise(latent, 0),
            1.0,
            comfy.samplers.ksampler("ar_video", {"num_frame_per_block": 1}),
            comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", 6),
            positive,
            negative,
            latent,
            disable_pbar=True,
            seed=0,
        )
