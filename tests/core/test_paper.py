"""The published algorithm, each equation by hand on small tensors."""

import pytest
import torch

from adacorrection_core import paper
from adacorrection_core.config import CorrectionConfig
from adacorrection_core.evaluation import Branch
from adacorrection_core.risk import Schedule
from adacorrection_core.state import RunState
from adacorrection_core.stats import RunReport

BEFORE = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
NOW = torch.tensor([[[3.0, 4.0], [1.0, 1.0]]])


def test_temporal_offset_is_the_mean_movement_of_the_tokens():
    assert float(paper.delta_temp(NOW, BEFORE)) == pytest.approx((5.0 + 0.0) / 2)


def test_spatial_offset_is_the_mean_channel_deviation():
    assert float(paper.delta_spatial(NOW)) == pytest.approx((0.5 + 0.0) / 2)


def test_score_squares_the_temporal_part():
    assert float(paper.offset_score(NOW, BEFORE, 2.0)) == pytest.approx(2.5**2 + 2.0 * 0.25)


@pytest.mark.parametrize(
    ("score", "sensitivity", "weight"), [(0.2, 2.0, 0.4), (3.0, 1.0, 1.0), (0.5, 0.0, 0.0)]
)
def test_weight_is_clipped(score, sensitivity, weight):
    assert float(paper.correction_weight(torch.tensor(score), sensitivity)) == pytest.approx(weight)


def test_blend_by_hand():
    cached, fresh = torch.tensor([[[2.0]]]), torch.tensor([[[6.0]]])
    assert float(paper.blend(cached, fresh, torch.tensor(0.25))) == pytest.approx(3.0)


def call(run, sigma, branches=("cond",)):
    return paper.PaperCall(run, sigma, [Branch(name, name) for name in branches])


def new_run(**changes):
    config = CorrectionConfig(mode="paper", **changes)
    return RunState(config, Schedule((1.0, 0.5, 0.0)), RunReport(config.name, "toy", 2))


def test_first_step_is_fresh_and_the_cache_holds_the_corrected_output():
    run = new_run(sensitivity=0.1, spatial_weight=0.0)
    first = call(run, 1.0).layer(0, BEFORE, BEFORE * 2)
    assert torch.equal(first, BEFORE * 2)
    # delta_temp^2 = 6.25, w = 0.625
    second = call(run, 0.5).layer(0, NOW, NOW * 2)
    torch.testing.assert_close(second, 0.375 * first + 0.625 * NOW * 2)
    cached = run.branches["cond", (tuple(NOW.shape), NOW.dtype, NOW.device)].layers[0]
    assert torch.equal(cached[0], NOW)
    assert torch.equal(cached[1], second)


def test_large_sensitivity_gives_the_fresh_output():
    run = new_run(sensitivity=100.0)
    call(run, 1.0).layer(0, BEFORE, BEFORE)
    torch.testing.assert_close(call(run, 0.5).layer(0, NOW, NOW * 7), NOW * 7)


def test_layers_and_branches_have_caches_of_their_own():
    run = new_run(sensitivity=0.0)
    both = ("uncond", "cond")
    call(run, 1.0, both).layer(0, torch.cat([BEFORE, NOW]), torch.cat([BEFORE, NOW]))
    held = call(run, 0.5, both).layer(0, torch.cat([NOW, NOW]), torch.cat([NOW * 9, NOW * 9]))
    assert torch.equal(held, torch.cat([BEFORE, NOW]))  # weight 0: each branch holds its own
    assert torch.equal(call(run, 0.25, both).layer(1, torch.cat([NOW, NOW]), torch.cat([NOW, NOW]))[:1], NOW)


def test_nan_is_forgotten_with_the_step_that_made_it():
    run = new_run(sensitivity=0.5)
    call(run, 1.0).layer(0, BEFORE, BEFORE)
    call(run, 0.9).layer(0, NOW * float("nan"), NOW * float("nan"))
    assert torch.isfinite(call(run, 0.8).layer(0, NOW, NOW)).all()
    assert torch.isfinite(call(run, 0.7).layer(0, BEFORE, BEFORE)).all()
    assert run.bytes_held == 2 * BEFORE.nelement() * 4
