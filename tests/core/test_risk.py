"""Expected error, its weight, and the budget."""

import math

import pytest
import torch

from adacorrection_core.risk import (
    PROBED_SHARE,
    Budget,
    ErrorModel,
    Schedule,
    error_gain,
    error_growth,
    sigma_to_time,
    stretch,
    turned,
)
from adacorrection_core.rules import (
    RiskRule,
    Signals,
)


def linear(steps, **changes):
    return Schedule(tuple(1 - i / steps for i in range(steps + 1)), **changes)


def test_flow_time_of_other_models_is_noise_over_the_sum():
    assert sigma_to_time(0.7, True) == 0.7
    assert sigma_to_time(3.0, False) == 0.75
    assert sigma_to_time(0.0, False) == 0.0


@pytest.mark.parametrize(
    ("sigma", "step"), [(1.0, 0), (0.75, 1), (0.6, 1), (0.5 * (1 + 1e-7), 2), (0.25, 3), (0.0, 3)]
)
def test_step_of_a_sigma_on_and_off_the_grid(sigma, step):
    assert linear(4).step_index(sigma) == step


def test_sigma_above_the_schedule_is_the_first_step():
    assert linear(4).step_index(1.5) == 0


def test_empty_schedule():
    schedule = Schedule(())
    assert schedule.num_steps == 0
    assert schedule.step_weight(0) == 0.0
    assert schedule.is_last(0)


def test_early_steps_and_long_steps_weigh_more():
    weights = [linear(10).step_weight(i) for i in range(10)]
    assert weights == sorted(weights, reverse=True)
    assert linear(5).step_weight(0) == pytest.approx(2 * linear(10).step_weight(0))
    assert error_gain(1.0) > error_gain(0.5) > error_gain(0.0) > 0


def test_more_steps_do_not_add_risk():
    """The same error all along adds up to about the same risk at any number of steps."""
    sums = [sum(linear(n).step_weight(i) for i in range(n)) for n in (20, 40, 80)]
    assert max(sums) / min(sums) < 1.05


def test_error_model_is_the_measured_ratio():
    model = ErrorModel(4.0)
    model.observe(0.3, 0.1)
    assert model.expected(0.2) == pytest.approx(0.6)
    model.observe(0.1, 0.1)
    assert model.expected(0.2) == pytest.approx(0.4)  # ratios 3 and 1
    model.observe(0.5, 0.0)
    assert model.expected(0.2) == pytest.approx(0.4)


def signals(step, error=0.1, drift=0.1, lag=1):
    return Signals(step, drift, error, lag)


def test_risk_adds_up_and_a_computed_step_clears_it():
    schedule = linear(10)
    weights = [schedule.step_weight(i) for i in range(10)]
    rule = RiskRule(schedule, tolerance=0.1 * (weights[3] + weights[4]) + 1e-9)
    assert not rule.should_compute(signals(3))
    assert not rule.should_compute(signals(4))
    assert rule.should_compute(signals(5))
    assert rule.risk == pytest.approx(0.1 * (weights[3] + weights[4]))
    rule.computed(5)
    assert rule.risk == 0.0
    assert not rule.should_compute(signals(6))


def test_tolerance_zero_computes_even_without_expected_error():
    assert RiskRule(linear(10), tolerance=0.0).should_compute(signals(4, error=0.0))


@pytest.mark.parametrize(("speedup", "steps"), [(1.5, 28), (2.0, 28), (3.0, 28), (2.0, 8), (1.0, 20)])
def test_budget_comes_near_the_reciprocal(speedup, steps):
    share = 1 / 12
    budget = Budget.for_speedup(speedup, linear(steps, warmup_steps=2), share, max_consecutive=8)
    assert budget.note == ""
    fraction = (budget.computed_steps + (steps - budget.computed_steps) * PROBED_SHARE * share) / steps
    assert fraction == pytest.approx(1 / speedup, abs=0.5 / steps)


def test_budget_says_what_cannot_be_reached():
    budget = Budget.for_speedup(4.0, linear(8, warmup_steps=3), 0.2, max_consecutive=8)
    assert budget.computed_steps == 4  # warm-up and the last step
    assert "Asked for 4x" in budget.note
    assert "1.89x of 8 steps" in budget.note  # 8 / (4 + 4 * 0.3 * 0.2)
    assert Budget.for_speedup(4.0, linear(2, warmup_steps=3), 0.2, 8).computed_steps == 2


def test_budget_keeps_to_the_range_and_the_longest_stretch():
    half = linear(28, warmup_steps=3, first_sigma=0.5)
    budget = Budget.for_speedup(3.0, half, 1 / 12, max_consecutive=4)
    assert budget.computed_steps == 15 + 13 // 5  # steps 0 to 13 and the last one; 13 may be corrected
    assert half.eligible_from(20) == list(range(20, 27))


@pytest.mark.parametrize("computed", [5, 8, 14, 20, 27, 28])
@pytest.mark.parametrize("growth", [1e-6, 0.05, 10.0])
def test_budget_is_spent_to_the_step(computed, growth):
    """A controller that follows the rule computes as many steps as asked, at any size of error."""
    steps, warmup = 28, 3
    rule = RiskRule(linear(steps, warmup_steps=warmup), 0.0, Budget(computed))
    count, lag = 0, 1
    for step in range(steps):
        forced = step < warmup or step == steps - 1
        error = growth * lag * (1 + 0.3 * math.sin(step))
        if forced or rule.should_compute(signals(step, error=error, lag=lag)):
            rule.computed(step)
            count, lag = count + 1, 1
        else:
            lag += 1
    assert count == computed


def test_stretch_inverts_the_growth_of_the_risk():
    for steps in (1, 2, 5):
        assert stretch(0.01 * steps * (steps + 1) / 2, 0.01) == steps
        assert stretch(0.01 * steps * (steps + 1) / 2 - 1e-4, 0.01) == steps - 1
    assert stretch(1.0, 0.0) > 1e6


def test_noise_levels_in_half_precision_mean_the_nearest_step():
    shifted = tuple(3 * s / (1 + 2 * s) for s in linear(20).sigmas)
    schedule = Schedule(shifted, is_rounded=True)
    rounded = torch.tensor(shifted[:-1]).bfloat16().tolist()
    assert [schedule.step_index(sigma) for sigma in rounded] == list(range(20))


def test_growth_rates_start_at_what_was_seen_and_fall():
    schedule = linear(10)
    rates = schedule.growth_rates(4, growth=0.2)
    assert len(rates) == 5  # steps 4 to 8; the last one is always computed
    assert rates[0] == pytest.approx(0.2 * schedule.step_weight(4))
    assert max(rates) == rates[0]


@pytest.mark.parametrize("time", [0.02, 0.3, 0.9])
def test_how_far_the_velocity_turns_is_the_sum_of_how_fast(time):
    assert (turned(time + 1e-4) - turned(time - 1e-4)) / 2e-4 == pytest.approx(error_growth(time), rel=1e-4)
    assert turned(0.0) == 0.0
