"""A transformer whose blocks nobody knows: the whole model is computed or its velocity forecast."""

import logging

import comfy.samplers
import pytest
import torch
from runs import ALWAYS_COMPUTED, CLOSE, OFF, SOME_HITS, evaluate_twice, model_of, relative_error, sampled

import tiny_models
from adacorrection.adacorrection_core.config import ConfigError, CorrectionConfig
from adacorrection.adacorrection_core.stats import Outcome, Reason
from adacorrection.nodes.host import recognise
from adacorrection.nodes.host.session import apply_correction, report_of

STEPS = 12
# Velocity at the flow's levels, noise at levels of noise over signal, two latents in a pack, swapped halves.
KINDS = ("sd3", "pixart_sigma", "ltxav", "hunyuan3d21")


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


def test_calls_that_fill_caches_of_the_model_are_left_alone() -> None:
    """Autoregressive video: each call adds keys and values that the next ones read."""
    patched = apply_correction(model_of("wan21_t2v"), CorrectionConfig(tolerance=1.0))
    causal = next(known for known in recognise.FAMILIES if known.own_state)
    patched.model_options["transformer_options"][causal.own_state] = {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("adacorrection.nodes.host.handle.find_family", lambda _: causal)
        _, report = sampled(patched, "wan21_t2v", steps=6)

    assert {record.reason for record in report.records} == {Reason.OWN_STATE}
