"""Noise levels learnt from the calls of a run: what is to come, and what may be the last step."""

from __future__ import annotations

import pytest
import torch

from adacorrection_core.diffusers_families import FAMILIES
from adacorrection_core.diffusers_levels import LOWEST_CERTAIN, LearntLevels, evened, shifted

LTX_END = 0.1


def flow(steps, shift=1.0, end=None):
    """Levels of a flow schedule whose last call is at u = end, 1 / steps where that is not said."""
    end = 1 / steps if end is None else end
    spacing = (1 - end) / (steps - 1)
    return [shifted(1 - i * spacing, shift) for i in range(steps)]


def stretched(levels, last):
    """The same, moved so that it ends at a level (diffusers' shift_terminal)."""
    return [*(1 - (1 - level) * (1 - last) / (1 - levels[-1]) for level in levels[:-1]), last]


def karras(steps, low=0.003, rho=7.0):
    return [(1 + i / (steps - 1) * (low ** (1 / rho) - 1)) ** rho for i in range(steps)]


def learnt(levels, **options):
    result = LearntLevels(**options)
    for level in levels:
        result.meet(level)
    return result


@pytest.mark.parametrize("shift", [1.0, 3.0, 7.0])
def test_three_levels_tell_the_rest(shift):
    levels = flow(20, shift)
    assert learnt(levels[:3]).sigmas == pytest.approx([*levels, 0.0], abs=1e-6)
    assert learnt(levels[4:9]).sigmas == pytest.approx([*levels[4:], 0.0], abs=1e-6)


@pytest.mark.parametrize("steps", [28, 50])
@pytest.mark.parametrize("rounded", ["whole timesteps", "bfloat16"])
def test_rounded_levels_tell_about_as_many_steps(rounded, steps):
    """Three of them tell no shift, so that the usual one is taken until they do."""
    timesteps = 1000 * torch.tensor(flow(steps, 3.16))
    timesteps = timesteps.round() if rounded == "whole timesteps" else timesteps.bfloat16()
    levels = LearntLevels(rounding=0.0 if rounded == "whole timesteps" else 0.002)
    for i, level in enumerate((timesteps.float() / 1000).tolist()):
        levels.meet(level)
        if i > 1:
            assert len(levels.sigmas) - 1 == pytest.approx(steps, rel=0.35)


@pytest.mark.parametrize("steps", [28, 50])
def test_short_steps_in_half_precision_are_no_long_run(steps):
    """Flux at four megapixels: the first levels lie so near to 1 that they tell no shift for long."""
    levels = LearntLevels(rounding=0.002)
    for level in torch.tensor(flow(steps, 12.0)).bfloat16().tolist():
        levels.meet(level)
        assert len(levels.sigmas) - 1 < 70


@pytest.mark.parametrize("steps", [8, 20, 28, 50])
@pytest.mark.parametrize(
    "schedule",
    [
        flow,
        lambda steps: flow(steps, 3.0),
        lambda steps: flow(steps, 3.0, 0.001),
        lambda steps: flow(steps, 12.0),
        lambda steps: stretched(flow(steps, 3.0), 0.02),
        lambda steps: stretched(flow(steps, 7.8), LTX_END),
        karras,
        lambda steps: [round(1000 * level) / 1000 for level in flow(steps, 3.0)],
    ],
    ids=["even", "Flux", "SD3", "long shift", "Qwen-Image", "LTX-Video", "Karras", "whole timesteps"],
)
def test_the_last_step_is_never_taken_for_another(schedule, steps):
    """The price is a few more that are taken for the last; most of the run is not."""
    levels = schedule(steps)
    lowest = FAMILIES["LTXVideoTransformer3DModel"].lowest_level if levels[-1] == LTX_END else LOWEST_CERTAIN
    taken = [i for i in range(1, steps + 1) if len(learnt(levels[:i], lowest=lowest).to_come()) == 1]
    assert taken[-1] == steps
    above = sum(level > 0.25 for level in levels)
    assert sum(i <= above for i in taken) <= max(2, steps // 6)


def test_a_pipeline_that_says_how_many_steps_are_left_is_believed():
    levels = LearntLevels()
    for i, level in enumerate(flow(10, 3.0)):
        assert not levels.is_end_known or i
        levels.meet(level, 10 - i)
        assert len(levels.to_come()) == 10 - i
    assert levels.is_end_known


def test_another_run_is_told_by_its_first_levels():
    levels = flow(20, 3.0)
    run = learnt(levels[:8])
    assert not run.is_another_run(levels[8])
    assert not run.is_another_run(levels[7])
    assert run.is_another_run(levels[0])
    assert run.is_another_run(levels[18])
    assert not learnt(levels[:1]).is_another_run(levels[0])
    assert learnt(levels[4:5]).is_another_run(levels[0])
    over = learnt(levels[:3])
    over.meet(levels[3], 1)
    assert over.is_another_run(levels[4])
    assert not over.is_another_run(levels[3])


def test_evening_out_and_shifting_are_inverse():
    assert evened(shifted(0.3, 5.0), 5.0) == pytest.approx(0.3)
