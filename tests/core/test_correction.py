"""Forecast, weight and blend, computed by hand."""

import pytest
import torch

from adacorrection_core import correction
from adacorrection_core.correction import (
    WeightPosterior,
    corrected_tokens,
    forecast_gains,
    forecast_move,
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
def test_cached_and_forecast_are_blended(gains, weight):
    torch.manual_seed(0)
    base, *residuals = (torch.randn(1, 3, 2) for _ in range(len(gains) + 2))
    before = [tensor.clone() for tensor in (base, *residuals)]
    forecast = residuals[0].clone()
    for gain, now, earlier in zip(gains, residuals, residuals[1:], strict=False):
        forecast += gain * (now - earlier)
    corrected = corrected_tokens(base, residuals, gains, weight)
    torch.testing.assert_close(corrected, base + (1 - weight) * residuals[0] + weight * forecast)
    assert all(torch.equal(a, b) for a, b in zip(before, (base, *residuals), strict=True))


def test_unused_anchors_are_left_alone():
    base, newest, older = torch.zeros(1, 1, 2), torch.ones(1, 1, 2), torch.full((1, 1, 2), float("nan"))
    assert torch.equal(corrected_tokens(base, [newest, older], [], 1.0), newest)


def test_float16_does_not_overflow_on_the_way():
    base, newest, older = (torch.full((1, 1, 1), value, dtype=torch.float16) for value in (1e4, 2e4, 1.9e4))
    assert float(corrected_tokens(base, [newest, older], [3.0], 1.0)) == pytest.approx(3.3e4, rel=2e-3)
    assert torch.isfinite(corrected_tokens(base * 5, [newest, older], [3.0], 1.0)).all()


def test_forecast_move_is_the_weighted_sum_of_the_movements():
    first, second = torch.ones(1, 2, 2), torch.full((1, 2, 2), 3.0)
    assert torch.equal(forecast_move([first, second], [2.0, -1.0]), torch.full((1, 2, 2), -1.0))
    assert torch.equal(first, torch.ones(1, 2, 2))


def test_prior_is_the_papers_clip():
    assert prior_weight(0.2, 2.0) == pytest.approx(0.4)
    assert prior_weight(0.8, 2.0) == 1.0
    assert prior_weight(0.0, 2.0) == 0.0


def test_without_evidence_the_prior_stands():
    assert WeightPosterior().weight(0.3, 0.5) == 0.3


def test_trust_wanes_with_the_drift_as_measured():
    posterior = WeightPosterior()
    posterior.observe(0.6, 0.2)  # distrust 0.4 / 0.2 = 2, one measurement against a third of one
    assert posterior.weight(1.0, 0.1) == pytest.approx(1 - 2 / (4 / 3) * 0.1)
    for _ in range(50):
        posterior.observe(0.6, 0.2)
    assert posterior.weight(1.0, 0.1) == pytest.approx(
        1 - 4 / (2 + 1 / 3) * 0.1
    )  # old ones fade to a sum of 2
    assert posterior.weight(0.1, 0.1) == 0.1
    assert posterior.weight(1.0, 5.0) == 0.0


def test_measured_weights_are_clipped_and_no_drift_teaches_nothing():
    posterior = WeightPosterior()
    posterior.observe(7.0, 0.2)
    assert posterior.weight(1.0, 0.2) == 1.0
    posterior.observe(0.0, 0.0)
    assert posterior.weight(1.0, 0.2) == 1.0
    posterior.observe(-5.0, 1.0)
    assert posterior.weight(1.0, 0.5) == pytest.approx(1 - 1 / (1.5 + 1 / 3) * 0.5)
