"""What a run remembers of each branch: whom it may serve, and when it starts afresh."""

import math

import pytest
import torch
from toy import LOOSE, ToyModel, call, new_run, smooth_input, watch

from adacorrection_core.base_rules import FirstBlockRule
from adacorrection_core.config import CorrectionConfig
from adacorrection_core.stats import Outcome, Reason


@pytest.mark.parametrize(("is_correcting", "most"), [(False, 0.0), (True, 0.02)])
def test_branches_never_share_anchors(is_correcting, most):
    """A batch of two very different branches gives each what it gets alone."""

    def second(sigma):
        return smooth_input(1 - sigma).flip(1) * 3

    def outputs_of(branches, inputs):
        model, run = ToyModel(), new_run(LOOSE, is_correcting=is_correcting)
        watched = watch(model, run)
        return [call(model, watched, sigma, inputs(sigma), branches) for sigma in run.schedule.sigmas[:-1]]

    both = outputs_of(("uncond", "cond"), lambda sigma: torch.cat([smooth_input(sigma), second(sigma)]))
    alone = zip(outputs_of(("uncond",), smooth_input), outputs_of(("cond",), second), strict=True)
    for got, want in zip(both, map(torch.cat, alone), strict=True):
        assert float((got - want).norm() / want.norm()) <= most


def test_branches_in_separate_calls_share_the_decision():
    model, run = ToyModel(), new_run(CorrectionConfig(tolerance=0.02, max_consecutive=50), steps=20)
    watched = watch(model, run)
    for sigma in run.schedule.sigmas[:-1]:
        call(model, watched, sigma, smooth_input(sigma), ("uncond",))
        call(model, watched, sigma, smooth_input(sigma) * 2, ("cond",))
    records = run.finish().records
    assert [r.outcome for r in records[::2]] == [r.outcome for r in records[1::2]]
    assert [r.evaluation for r in records[::2]] == [r.evaluation for r in records[1::2]] == list(range(20))
    assert any(r.outcome is Outcome.CORRECT for r in records)


def test_a_branch_that_appears_late_is_computed_first():
    model, run = ToyModel(), new_run(LOOSE)
    watched = watch(model, run)
    for i, sigma in enumerate(run.schedule.sigmas[:-1]):
        call(model, watched, sigma, smooth_input(sigma), ("cond",) if i < 5 else ("late",))
    assert run.finish().records[5].reason is Reason.NEW_BRANCH


def test_change_of_shape_starts_afresh():
    model, run = ToyModel(), new_run(LOOSE)
    watched = watch(model, run)
    for i, sigma in enumerate(run.schedule.sigmas[:-1]):
        call(model, watched, sigma, smooth_input(sigma, tokens=6 if i < 5 else 7))
    assert run.finish().records[5].reason is Reason.NEW_BRANCH


@pytest.mark.parametrize(("up", "outcome"), [(0.62, Outcome.HOLD), (0.75, Outcome.COMPUTE)])
def test_noise_going_up_past_the_newest_anchor_starts_afresh(up, outcome):
    model, run = ToyModel(), new_run(CorrectionConfig(tolerance=1.0, warmup_steps=1, max_consecutive=3))
    watched = watch(model, run)
    for sigma in (1.0, 0.9, 0.8, 0.7, 0.65, 0.6, up):
        call(model, watched, sigma, smooth_input(sigma))
    records = run.finish().records
    assert [r.outcome.value[:4] for r in records[:6]] == ["comp", "held", "held", "held", "comp", "held"]
    assert records[6].outcome is outcome
    assert (records[6].reason is Reason.SIGMA_ROSE) == (outcome is Outcome.COMPUTE)


@pytest.mark.parametrize("poison", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["probe", "velocity"])
def test_nan_and_infinity_are_computed_forgotten_and_counted(poison, where):
    model, run = ToyModel(), new_run(LOOSE, rule=FirstBlockRule(10.0))
    watched = watch(model, run)
    block = model.blocks[0 if where == "probe" else 2]
    bad_step = 5 if where == "probe" else 2
    for i, sigma in enumerate(run.schedule.sigmas[:-1]):
        gain, block.gain = block.gain, poison if i == bad_step else block.gain
        output = call(model, watched, sigma, smooth_input(sigma))
        block.gain = gain
        assert torch.isfinite(output).all() == (i != bad_step)
    report = run.finish()
    assert report.resets >= 1
    assert Reason.NOT_FINITE in [record.reason for record in report.records]
    assert report.hit_rate > 0


def test_a_branch_that_is_over_is_freed():
    model, run = ToyModel(), new_run(LOOSE, steps=20)
    watched = watch(model, run)
    for i, sigma in enumerate(run.schedule.sigmas[:-1]):
        call(model, watched, sigma, smooth_input(sigma), ("cond",))
        if i < 4:
            call(model, watched, sigma, smooth_input(sigma), ("guidance",))
        assert len(run.branches) == (2 if i < 9 else 1) or i == 8
