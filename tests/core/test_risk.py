"""Expected error, its weight, and the budget."""

import math

import pytest
import torch

from adacorrection_core.budget import Budget
from adacorrection_core.risk import (
    ErrorModel,
    Schedule,
    Stretch,
    error_growth,
    sigma_to_time,
    time_drift,
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
    assert schedule.step_length(0) == 0.0
    assert schedule.is_last(0)


def test_turn_adds_up_the_growth():
    """Against the sum over small steps, on both sides of the level below which the growth stays as it is."""
    for low, high in ((0.0, 0.03), (0.02, 0.3), (0.5, 1.0)):
        cuts = [low + (high - low) * i / 2000 for i in range(2001)]
        summed = sum((b - a) * error_growth((a + b) / 2) for a, b in zip(cuts, cuts[1:], strict=False))
        assert turned(high) - turned(low) == pytest.approx(summed, rel=1e-4)
    assert time_drift(0.4, 0.5) == turned(0.5) - turned(0.4)
    assert time_drift(0.5, 0.4) == 0.0


def risk_between(num_steps, behind, ahead):
    """Risk of correcting every step between two levels of a linear schedule."""
    schedule, stretch = linear(num_steps), Stretch()
    places = schedule.turned
    first, last = round((1 - behind) * num_steps), round((1 - ahead) * num_steps)
    for step in range(first + 1, last):
        turn = places[first] - places[step]
        stretch = stretch.extended(schedule.step_length(step), turn, places[step], schedule.shares[step])
    return stretch.risk(places[last], schedule.shares[last])


@pytest.mark.parametrize(("ahead", "share"), [(0.5, 0.5), (0.25, 1.0)])
def test_risk_of_one_step_by_hand(ahead, share):
    """A pass at half of the way goes half of what is left of it, the one at the last level all of it."""
    places = [turned(ahead + 0.25 * i) for i in range(3)]
    before, after = places[2] - places[1], places[1] - places[0]
    expected = 0.25 * before * after + share * 0.25 * before**2
    assert risk_between(4, ahead + 0.5, ahead) == pytest.approx(math.sqrt(expected))


def test_risk_of_a_step_that_nothing_settles_by_hand():
    """Its own error counts too, for its own share of the way: of .5 that is left it goes .25."""
    places = [turned(0.25 * (i + 1)) for i in range(3)]
    before, after = places[2] - places[1], places[1] - places[0]
    settled = 0.25 * before * after + 1.0 * 0.25 * before**2
    stretch = Stretch().extended(0.25, before, places[1], 0.5)
    assert stretch.risk(places[0], 1.0) == pytest.approx(math.sqrt(settled))
    assert stretch.risk(places[0], 1.0, is_stochastic=True) == pytest.approx(
        math.sqrt(settled + 0.5 * before**2)
    )


def computed_steps(schedule, count, ratio=lambda num_computed: 10.0, **changes):
    """The steps that a controller computes which follows a rule held to so many of them."""
    rule, computed, anchor = RiskRule(schedule, 0.0, Budget(count, max_consecutive=50)), [], 0
    for step in range(schedule.num_steps):
        turn = schedule.turned[anchor] - schedule.turned[step]
        look = signals(step, turn, ratio(len(computed)), **changes)
        if not schedule.is_eligible(step) or rule.should_compute(look):
            rule.computed(step)
            computed.append(step)
            anchor = step
    return computed


@pytest.mark.parametrize("count", [9, 14, 19])
def test_what_nothing_settles_is_computed_later_in_the_run(count):
    """As many steps, more of them at the end, where a step goes most of the way that is left."""
    schedule = linear(28, warmup_steps=1)
    settled = computed_steps(schedule, count)
    unsettled = computed_steps(schedule, count, is_stochastic=True)
    assert len(settled) == len(unsettled) == count
    assert sum(unsettled) > sum(settled)
    assert sum(step >= 20 for step in unsettled) >= sum(step >= 20 for step in settled)


def test_shares_of_the_way_that_is_left():
    assert linear(4).shares == pytest.approx([0.25, 1 / 3, 0.5, 1.0])
    assert Schedule((2.0, 1.0, 0.0), is_flow=False).shares == pytest.approx([0.25, 1.0])
    assert Schedule((1.0, 0.0, 0.0)).shares == [1.0, 1.0]


def test_more_steps_do_not_add_risk():
    """The same stretch has about the same risk at any number of steps, but for the pass's own step."""
    risks = [risk_between(n, 0.8, 0.3) for n in (20, 40, 80)]
    assert risks == sorted(risks, reverse=True)
    assert risks[0] / risks[-1] < 1.15


def test_risk_grows_with_the_stretch():
    risks = [risk_between(20, 0.8, ahead) for ahead in (0.75, 0.7, 0.6, 0.4)]
    assert risks[0] == 0.0
    assert risks == sorted(risks)


def test_error_model_is_the_measured_ratio():
    model = ErrorModel(4.0)
    model.observe(0.3, 0.1)
    assert model.expected(0.2) == pytest.approx(0.6)
    model.observe(0.1, 0.1)
    assert model.expected(0.2) == pytest.approx(0.4)  # ratios 3 and 1
    model.observe(0.5, 0.0)
    assert model.expected(0.2) == pytest.approx(0.4)


def signals(step, turn=0.02, ratio=10.0, **changes):
    return Signals(step, turn, ratio * turn, 1, is_probed=False, turn=turn, ratio=ratio, **changes)


def test_risk_grows_and_a_computed_step_clears_it():
    rule = RiskRule(linear(10), tolerance=1.0)
    risks = []
    for lag in (1, 2, 3):
        assert rule.should_compute(signals(2 + lag, turn=0.02 * lag, can_probe=False)) is False
        risks.append(rule.risk)
    assert risks == sorted(risks)
    assert risks[0] > 0
    rule.computed(6)
    assert rule.risk == 0.0


def test_step_that_carries_the_risk_past_the_tolerance_is_computed():
    loose = RiskRule(linear(10), tolerance=1.0)
    loose.should_compute(signals(3))
    bound = RiskRule(linear(10), tolerance=loose.risk)
    assert bound.should_compute(signals(3, can_probe=False)) is True
    assert bound.risk == 0.0  # what was not corrected risks nothing


def test_probe_is_asked_in_doubt_only_and_what_it_saw_holds_for_the_stretch():
    loose = RiskRule(linear(10), tolerance=1.0)
    assert loose.should_compute(signals(3)) is False  # far below
    rule = RiskRule(linear(10), tolerance=1.1 * loose.risk)
    assert rule.should_compute(signals(3)) is None
    half = Signals(3, 0.1, 0.5 * 10.0 * 0.02, 1, is_probed=True, turn=0.02, ratio=10.0)
    assert rule.should_compute(half) is False
    assert rule.risk == pytest.approx(0.5 * loose.risk)
    twice = Signals(3, 0.1, 2 * 10.0 * 0.02, 1, is_probed=True, turn=0.02, ratio=10.0)
    assert RiskRule(linear(10), tolerance=1.1 * loose.risk).should_compute(twice) is True


def test_tolerance_zero_computes_even_without_expected_error():
    assert RiskRule(linear(10), tolerance=0.0).should_compute(signals(4, ratio=0.0)) is True


@pytest.mark.parametrize(("speedup", "steps"), [(1.5, 28), (2.0, 28), (3.0, 28), (2.0, 16), (1.0, 20)])
def test_budget_comes_near_the_reciprocal(speedup, steps):
    budget = Budget.for_speedup(speedup, linear(steps, warmup_steps=2), max_consecutive=8)
    assert budget.note == ""
    assert budget.computed_steps / steps == pytest.approx(1 / speedup, abs=0.5 / steps)


def test_budget_says_what_cannot_be_reached():
    budget = Budget.for_speedup(4.0, linear(16, warmup_steps=7), max_consecutive=8)
    assert budget.computed_steps == 8  # warm-up and the last step
    assert "Asked for 4x" in budget.note
    assert "2x of 16 steps" in budget.note
    assert Budget.for_speedup(4.0, linear(2, warmup_steps=3), 8).computed_steps == 2
    assert Budget.for_speedup(4.0, Schedule((1.0,)), 8).computed_steps == 0


def test_budget_keeps_to_the_range_and_the_longest_stretch():
    half = linear(28, warmup_steps=3, first_sigma=0.5)
    budget = Budget.for_speedup(3.0, half, max_consecutive=4)
    assert budget.computed_steps == 15 + 13 // 5  # steps 0 to 13 and the last one; 13 may be corrected
    assert half.eligible_from(20) == list(range(20, 27))


@pytest.mark.parametrize("computed", [5, 8, 14, 20, 27, 28])
@pytest.mark.parametrize("ratio", [0.0, 0.05, 10.0])
def test_budget_is_spent_to_the_step(computed, ratio):
    """A controller that follows the rule computes as many steps as asked, at any size of error."""
    schedule = linear(28, warmup_steps=3)
    steps = computed_steps(schedule, computed, ratio=lambda count: ratio * (1 + 0.3 * math.sin(count)))
    assert len(steps) == computed


def test_budget_that_cannot_be_kept_has_no_tolerance():
    schedule = linear(10)
    assert Budget(0, 50).tolerance(schedule, 2, schedule.turned[1], 0) == math.inf
    assert Budget(8, 50).tolerance(schedule, 2, schedule.turned[1], 8) == 0.0


def test_noise_levels_in_half_precision_mean_the_nearest_step():
    shifted = tuple(3 * s / (1 + 2 * s) for s in linear(20).sigmas)
    schedule = Schedule(shifted, rounding=2**-7)
    rounded = torch.tensor(shifted[:-1]).bfloat16().tolist()
    assert [schedule.step_index(sigma) for sigma in rounded] == list(range(20))


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.bfloat16, 2**-7), (torch.float16, 2**-10)])
def test_levels_that_half_precision_makes_one_are_taken_one_after_another(dtype, rounding):
    """50 steps at shift 12: the first levels lie 0.0017 apart, bfloat16 numbers there 0.0039."""
    shifted = tuple(12 * s / (1 + 11 * s) for s in linear(50).sigmas)
    schedule, steps = Schedule(shifted, rounding=rounding), [None]
    for sigma in (torch.tensor(shifted[:-1]) * 1000).to(dtype) / 1000:
        step, level = schedule.place(float(sigma), steps[-1])
        assert level == shifted[step]
        steps.append(step)
    assert steps[1:] == list(range(50))


def test_places_above_pure_noise_are_never_one():
    """Schedules may be multiplied past 1; two full passes there must not fall together."""
    assert turned(1.05) > turned(1.02) > turned(1.0)
    assert (turned(1.05) - turned(1.0)) / 0.05 == pytest.approx(error_growth(1.0))


def test_risk_that_is_no_number_is_computed():
    rule = RiskRule(linear(10), tolerance=1.0)
    broken = Signals(3, math.inf, math.nan, 1, is_probed=True, turn=0.02, ratio=0.0)
    assert rule.should_compute(broken) is True
    model = ErrorModel(4.0)
    model.observe(0.1, math.inf)
    assert model.ratio == 4.0


@pytest.mark.parametrize("is_stochastic", [False, True])
def test_the_risk_of_a_step_is_that_of_a_full_pass_at_the_next_one(is_stochastic):
    schedule, rule = linear(10), RiskRule(linear(10), tolerance=1.0)
    assert rule.should_compute(signals(4, is_stochastic=is_stochastic)) is False
    places, shares = schedule.turned, schedule.shares
    stretch = Stretch().extended(schedule.lengths[4], 0.02, places[4], shares[4])
    assert rule.risk == pytest.approx(10.0 * stretch.risk(places[5], shares[5], is_stochastic))


def test_what_the_probe_saw_is_over_with_the_stretch():
    rule, fresh = RiskRule(linear(10), tolerance=100.0), RiskRule(linear(10), tolerance=100.0)
    rule.should_compute(Signals(4, 0.02, 1.0, 1, turn=0.02, ratio=10.0))  # five times what was expected
    assert rule.seen == pytest.approx(5.0)
    rule.computed(5)
    for each in (rule, fresh):
        each.should_compute(signals(6))
    assert rule.risk == fresh.risk


def test_a_budget_counts_the_evaluations_of_a_step_as_one():
    rule = RiskRule(linear(10), tolerance=1.0)
    for step in (0, 0, 1, 1):
        rule.computed(step)
    assert rule.evaluations_per_step(2) == 2.0


def test_a_layout_has_stretches_as_long_as_allowed():
    """Two corrected, one computed, and so on; the last step is computed: ..C..C..CC."""
    schedule = linear(10)
    assert Budget(0, max_consecutive=2).needed(schedule, 0, schedule.turned[0], math.inf) == 4


def test_no_schedule_has_no_growth():
    assert Schedule(()).growth_at(0) == 0.0


def test_a_layout_has_the_lowest_tolerance_that_its_computed_steps_allow():
    schedule = linear(20, warmup_steps=2)
    budget, anchor = Budget(9, max_consecutive=4), schedule.turned[1]
    tolerance = budget.tolerance(schedule, 2, anchor, 7)
    assert budget.needed(schedule, 2, anchor, tolerance) == 7
    assert budget.needed(schedule, 2, anchor, 0.999 * tolerance) > 7
