"""Forecast, weight and blend, computed by hand."""

import pytest
import torch

from adacorrection_core import correction
from adacorrection_core.correction import (
    WeightPosterior,
    anchor_multipliers,
    combine,
    forecast_gains,
    prior_weight,
    solve,
    time_moves,
)


def test_solve_by_hand():
    # 2x + y = 5, x + 3y = 10
    assert solve([[2.0, 1.0], [1.0, 3.0]], [5.0, 10.0]) == pytest.approx([1.0, 3.0])


def test_time_moves_are_differences_newest_first():
    assert time_moves(0.5, [0.6, 0.8, 0.9]) == pytest.approx([-0.1, -0.2, -0.1])


def exact(monkeypatch, witness=0.0):
    """Without the ridge, so that results can be computed by hand."""
    monkeypatch.setattr(correction, "RIDGE", 0.0)
    monkeypatch.setattr(correction, "TIME_WITNESS", witness)


def test_gain_of_one_movement_is_its_projection(monkeypatch):
    exact(monkeypatch)
    # q . q = 2, q . d = 3, d . d = 6: gain 3 / 6
    assert forecast_gains([[2.0, 3.0], [3.0, 6.0]], [-0.1, -0.3]) == pytest.approx([0.5])


def test_gains_of_two_movements_solve_the_normal_equations(monkeypatch):
    exact(monkeypatch)
    # q = 2 d - 0.5 e with d . d = 1, e . e = 4, d . e = 0
    gram = [[5.0, 2.0, -2.0], [2.0, 1.0, 0.0], [-2.0, 0.0, 4.0]]
    assert forecast_gains(gram, [-0.1, -0.1, -0.1]) == pytest.approx([2.0, -0.5])


def test_noise_level_decides_where_the_probe_is_silent(monkeypatch):
    exact(monkeypatch, witness=0.1)
    # q is at right angles to d: the probe says 0, the noise level says 0.5; weights 1 and 0.1.
    gains = forecast_gains([[1.0, 0.0], [0.0, 1.0]], [-0.1, -0.2])
    assert gains == pytest.approx([0.1 * 0.5 / 1.1])


def test_both_witnesses_agreeing_change_nothing(monkeypatch):
    exact(monkeypatch, witness=0.1)
    assert forecast_gains([[0.25, 0.5], [0.5, 1.0]], [-0.1, -0.2]) == pytest.approx([0.5])


def test_no_movement_in_the_past_holds():
    assert forecast_gains([[1.0, 0.0], [0.0, 0.0]], [-0.1, -0.1]) == [0.0]
    assert forecast_gains([[1.0]], [-0.1]) == []


def test_gains_are_bounded(monkeypatch):
    exact(monkeypatch)
    assert forecast_gains([[1e6, 1e3], [1e3, 1.0]], [-0.1, -0.1]) == [correction.MAX_GAIN]


@pytest.mark.parametrize("gains", [[], [0.7], [0.7, -0.2]])
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_multipliers_blend_cached_and_forecast(gains, weight):
    torch.manual_seed(0)
    anchors = [torch.randn(1, 3, 2) for _ in range(len(gains) + 1)]
    forecast = anchors[0].clone()
    for gain, now, before in zip(gains, anchors, anchors[1:], strict=False):
        forecast += gain * (now - before)
    blended = combine(anchors, anchor_multipliers(gains, weight))
    torch.testing.assert_close(blended, (1 - weight) * anchors[0] + weight * forecast)
    assert sum(anchor_multipliers(gains, weight)) == pytest.approx(1.0)


def test_combine_adds_to_the_base_without_writing_into_anything():
    base, residual = torch.ones(1, 2, 2), torch.full((1, 2, 2), 3.0)
    result = combine([residual, residual], [2.0, -1.0], base)
    assert result.tolist() == torch.full((1, 2, 2), 4.0).tolist()
    assert base.tolist() == torch.ones(1, 2, 2).tolist()
    assert residual.tolist() == torch.full((1, 2, 2), 3.0).tolist()


def test_prior_is_the_papers_clip():
    assert prior_weight(0.2, 2.0) == pytest.approx(0.4)
    assert prior_weight(0.8, 2.0) == 1.0
    assert prior_weight(0.0, 2.0) == 0.0


def test_posterior_moves_from_the_prior_to_what_was_measured():
    posterior = WeightPosterior()
    assert posterior.weight(0.3) == 0.3
    posterior.observe(1.0)
    assert posterior.weight(0.0) == pytest.approx(0.5)
    for _ in range(50):
        posterior.observe(1.0)
    assert posterior.weight(0.0) == pytest.approx(2 / 3)  # the evidence of old measurements fades


def test_measured_weights_are_clipped():
    posterior = WeightPosterior()
    posterior.observe(-5.0)
    posterior.observe(7.0)
    assert 0.0 <= posterior.weight(0.5) <= 1.0
