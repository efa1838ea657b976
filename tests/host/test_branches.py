"""cond and uncond, in one call or in two, and branches that come and go."""

import comfy.samplers
import pytest
import torch
from runs import (
    ALWAYS_COMPUTED,
    CLOSE,
    REPRESENTATIVES,
    closeness,
    corrected,
    model_of,
    relative_error,
    sampled,
    skip_unless_batched,
)

import tiny_models
from adacorrection.adacorrection_core.stats import Outcome

STEPS = 10


def test_split_calls_are_as_good_as_batched_ones(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_unless_batched(family, 2)
    options = {"steps": STEPS, "cfg": 3.0}
    full = tiny_models.sample(model_of(family), family, **options)
    batched, _ = sampled(corrected(family), family, **options)
    monkeypatch.setattr(comfy.samplers, "can_concat_cond", lambda one, other: one is other)

    split, report = sampled(corrected(family), family, **options)

    assert len(report.records) == 2 * STEPS
    for branch in ("cond", "uncond"):
        assert branch in {record.branch for record in report.reused}
    assert relative_error(split, full) < closeness(family)
    assert relative_error(split, batched) < closeness(family)


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_split_without_correction_is_bit_identical(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comfy.samplers, "can_concat_cond", lambda one, other: one is other)
    full = tiny_models.sample(model_of(family), family, steps=3, cfg=3.0)

    assert torch.equal(tiny_models.sample(corrected(family, ALWAYS_COMPUTED), family, steps=3, cfg=3.0), full)


@pytest.mark.parametrize("family", ["flux_dev", "sd3", "wan21_t2v"])
def test_prompts_of_different_length(family: str) -> None:
    """ComfyUI runs prompts whose lengths have no small common multiple in calls of their own."""
    positive, [[tokens, options]] = tiny_models.conditionings(family)
    negative = [[torch.cat([tokens, tokens[:, :5]], dim=1), options]]
    run = {"steps": STEPS, "cfg": 3.0, "positive": positive, "negative": negative}
    full = tiny_models.sample(model_of(family), family, **run)

    latent, report = sampled(corrected(family), family, **run)

    assert {record.branch for record in report.reused} == {"cond", "uncond"}
    assert relative_error(latent, full) < CLOSE


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_a_cond_that_comes_in_the_middle_is_computed_first(family: str) -> None:
    positive, negative = tiny_models.conditionings(family)
    [[tokens, options]] = positive
    late = [[tokens.flip(1), options | {"start_percent": 0.5, "end_percent": 1.0}]]
    run = {"steps": STEPS, "positive": positive + late, "negative": negative}
    full = tiny_models.sample(model_of(family), family, **run)

    latent, report = sampled(corrected(family), family, **run)

    evaluations = [record.evaluation for record in report.records]
    both = min(n for n in evaluations if evaluations.count(n) == 2)
    assert all(r.outcome is Outcome.COMPUTE for r in report.records if r.evaluation == both)
    assert report.hit_rate > 0
    assert relative_error(latent, full) < CLOSE


@pytest.mark.parametrize("family", ["flux_dev", "sd3"])
def test_regions(family: str) -> None:
    """A cond for a part of the picture gives its uuid to the uncond that ComfyUI makes for it."""
    positive, negative = tiny_models.conditionings(family)
    [[tokens, options]] = positive
    region = [[tokens.flip(1), options | {"area": (8, 8, 0, 8), "strength": 1.0}]]
    run = {"steps": STEPS, "cfg": 3.0, "positive": positive + region, "negative": negative}
    full = tiny_models.sample(model_of(family), family, **run)

    same = tiny_models.sample(corrected(family, ALWAYS_COMPUTED), family, **run)
    latent, report = sampled(corrected(family), family, **run)

    assert torch.equal(same, full)
    assert len(report.records) == 4 * STEPS
    assert report.hit_rate > 0
    assert relative_error(latent, full) < CLOSE
