"""NaN and infinity in the activations of one step: computed, counted, forgotten; later steps are as ever."""

import math
from typing import Any

import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import (
    ALWAYS_COMPUTED,
    CLOSE,
    REPRESENTATIVES,
    SOME_HITS,
    TOLERANT,
    probe_always_asked,
    relative_error,
    sampled,
)
from test_leftovers import alive, only_new_objects  # noqa: F401  (a fixture for every test here)
from torch import Tensor

import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.nodes.host.session import apply_correction

STEPS = 12
IMAGE_TOKEN = 20  # of the latent's own in every family, with the text before or behind it


def spoiled(family: str, place: int, step: int, value: float) -> tuple[ModelPatcher, list[bool]]:
    """A model that has a bad value among its activations at one step, behind a block (by index).

    What it does to the sampler's latent is put right, so that the later steps are sound. It goes bad as long
    as the list that comes with it is not empty.
    """
    model, calls, is_bad = tiny_models.load(family), [-1], [True]
    block = list(tiny_models.blocks(model, family).values())[place]
    forward = block.forward

    def spoil(*args: Any, **kwargs: Any) -> Any:
        result = forward(*args, **kwargs)
        if is_bad and calls[0] == step:
            tokens = result if isinstance(result, Tensor) else result[is_sd3]
            tokens[:, IMAGE_TOKEN, 0] = value
        return result

    def next_call(executor: Any, *args: Any, **kwargs: Any) -> Any:
        calls[0] = calls[0] + 1 if calls[0] < STEPS - 1 else 0
        return executor(*args, **kwargs).nan_to_num(0.0, 0.0, 0.0)

    is_sd3 = int(family == "sd3")  # the only family that returns its text first
    block.forward = spoil
    model.add_wrapper_with_key("apply_model", "spoil", next_call)
    return model, is_bad


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_nan_in_the_probe(family: str) -> None:
    """At a step that would have been corrected."""
    with probe_always_asked():
        assert_starts_afresh(family, 0, 4, math.nan, TOLERANT)


@pytest.mark.parametrize("family", REPRESENTATIVES)
@pytest.mark.parametrize(("place", "step", "value"), [(0, 0, math.nan), (-1, 1, math.inf), (1, 2, math.nan)])
def test_warm_up_that_is_not_finite(family: str, place: int, step: int, value: float) -> None:
    assert_starts_afresh(family, place, step, value, SOME_HITS)


def assert_starts_afresh(family: str, place: int, step: int, value: float, config: CorrectionConfig) -> None:
    """The step is computed and counted once; later ones are corrected again, and close to the full run."""
    model, is_bad = spoiled(family, place, step, value)
    full = tiny_models.sample(model, family, steps=STEPS)

    same, report = sampled(apply_correction(model, ALWAYS_COMPUTED), family, steps=STEPS)
    assert torch.equal(same, full)
    assert report.resets == 1

    patched = apply_correction(model, config)
    latent, report = sampled(patched, family, steps=STEPS)
    assert report.resets == 1
    assert "1 fresh start" in report.summary()
    assert report.records[step].blocks_run == report.records[step].blocks_total
    assert [record for record in report.reused if record.step_index > step + 1]
    assert torch.isfinite(latent).all()
    assert relative_error(latent, full) < CLOSE
    assert alive() == []
    again, _ = sampled(patched, family, steps=STEPS)  # with the same bad value at the same step
    assert torch.equal(again, latent)

    is_bad.clear()
    sound, report = sampled(patched, family, steps=STEPS)
    assert report.resets == 0
    assert torch.equal(sound, tiny_models.sample(apply_correction(model, config), family, steps=STEPS))
    assert not torch.equal(sound, latent)
    assert alive() == []


def test_the_bad_step_itself_is_the_hosts() -> None:
    """A model that gives NaN from some step on gives it with the node as well, and the run ends as ever."""
    model = tiny_models.load("flux_dev")
    with torch.no_grad():
        model.model.diffusion_model.img_in.weight.fill_(math.nan)

    latent, report = sampled(apply_correction(model, CorrectionConfig(tolerance=1.0)), "flux_dev", steps=6)

    assert latent.isnan().all()
    assert report.is_finished
    assert report.hit_rate == 0
