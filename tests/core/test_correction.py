"""Forecast gain and correction weight, by hand."""

import pytest

from adacorrection_core.correction import MAX_GAIN, WeightPosterior, time_gain


@pytest.mark.parametrize(
    ("time", "newest", "older", "gain"),
    [
        (0.4, 0.6, 0.8, 1.0),
        (0.5, 0.6, 0.8, 0.5),
        (0.6, 0.6, 0.8, 0.0),
        (0.7, 0.6, 0.8, 0.0),
        (0.1, 0.5, 0.5, 0.0),
    ],
)
def test_gain_counts_the_last_movement(time, newest, older, gain):
    assert time_gain(time, newest, older) == pytest.approx(gain, abs=1e-12)


def test_gain_is_bounded():
    assert time_gain(0.0, 0.9, 0.91) == MAX_GAIN


def test_nothing_is_trusted_before_it_is_measured():
    assert WeightPosterior().weight(1.0) == 0.0


def test_weight_is_the_running_mean_of_the_best_ones():
    posterior = WeightPosterior()
    posterior.observe(0.8)
    assert posterior.weight(1.0) == pytest.approx(0.4)
    posterior.observe(1.0)
    assert posterior.weight(1.0) == pytest.approx(0.7)


@pytest.mark.parametrize(("best", "mean"), [(-3.0, 0.0), (9.0, 1.0)])
def test_the_mean_stays_a_weight(best, mean):
    posterior = WeightPosterior()
    posterior.observe(best)
    assert posterior.mean == mean


@pytest.mark.parametrize(("sensitivity", "weight"), [(0.0, 0.0), (0.5, 0.25), (1.0, 0.5), (10.0, 1.0)])
def test_sensitivity_scales_the_weight_and_is_clipped(sensitivity, weight):
    assert WeightPosterior(mean=0.5).weight(sensitivity) == weight
