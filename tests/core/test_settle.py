"""What a run settles after each evaluation, and when it must not."""

from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch
from toy import ToyModel, call, new_run, smooth_input, watch

from adacorrection_core.anchors import CacheSize
from adacorrection_core.budget import Budget
from adacorrection_core.config import CorrectionConfig
from adacorrection_core.corrector import RESPONSE, Corrector, last_response
from adacorrection_core.evaluation import Evaluation
from adacorrection_core.expected import settlement_bytes
from adacorrection_core.risk import Schedule
from adacorrection_core.rules import RiskRule
from adacorrection_core.settlement import Standing, response
from adacorrection_core.stats import Reason

LOOSE = CorrectionConfig(tolerance=1.0, warmup_steps=2, max_consecutive=2)


class Euler:
    """Euler's method on the toy, as a seam runs it."""

    def __init__(self, config: CorrectionConfig = LOOSE) -> None:
        self.model, self.run = ToyModel(), new_run(config)
        self.watched = watch(self.model, self.run)
        self.latent, self.sigma, self.velocity = smooth_input(1.0), 1.0, None

    def evaluate(self, sigma, branches=("cond",)):
        """One evaluation; returns how far its output was moved."""
        if self.velocity is not None:
            self.latent = self.latent + (sigma - self.sigma) * self.velocity
        given = self.run.corrector.shifted(self.latent, sigma)
        velocity = call(self.model, self.watched, sigma, given, branches)
        shift = self.run.corrector.shift
        moved = self.run.settle(self.latent, velocity)
        shifts = [part for part in (shift, moved) if part is not None]
        self.sigma, self.velocity = sigma, velocity - sum(shifts)
        return moved


def test_something_is_owed_at_the_full_pass_after_corrected_steps_and_only_there():
    euler = Euler()
    owed = [euler.evaluate(sigma) is not None for sigma in euler.run.schedule.sigmas[:-1]]
    letters = "".join("C" if record.blocks_run else "." for record in euler.run.report.records)
    assert letters == "CC..C..C.C"
    assert owed == [i > 0 and letters[i] == "C" and letters[i - 1] == "." for i in range(10)]


def test_output_of_the_pass_moves_by_half_of_what_is_owed_and_the_last_by_what_detail_is_left():
    euler, shares = Euler(), {}
    for step, sigma in enumerate(euler.run.schedule.sigmas[:-1]):
        before = euler.run.corrector.shift
        moved = euler.evaluate(sigma)
        if moved is not None:
            grown = euler.run.corrector.shift - (0 if before is None else before)
            torch.testing.assert_close(moved, grown * (last_response(0.1, True) if step == 9 else RESPONSE))
            shares[step] = moved
    assert list(shares) == [4, 7, 9]


def test_what_the_sampler_was_handed_is_known_at_each_step():
    """Its next place is measured against it."""
    euler = Euler()
    for sigma in euler.run.schedule.sigmas[:-1]:
        euler.evaluate(sigma)
        torch.testing.assert_close(euler.run.settlement.standing.velocity, euler.velocity)
    assert euler.run.corrector.shift is not None


def test_nothing_that_is_kept_holds_on_to_an_autograd_graph():
    """It would hold the activations of a whole pass."""
    euler = Euler()
    euler.latent.requires_grad_()
    for sigma in euler.run.schedule.sigmas[:-1]:
        euler.evaluate(sigma)
        run, standing = euler.run, euler.run.settlement.standing
        kept = [kept.tensor for anchor in run.branches["cond"].history.anchors for kept in anchor.kept]
        waiting = [numbers for numbers, _ in run.transfer.unread if isinstance(numbers, torch.Tensor)]
        tensors = [*kept, *waiting, standing.latent, standing.velocity, *run.corrector.tensors]
        assert not any(tensor is not None and tensor.requires_grad for tensor in tensors)
    assert euler.latent.requires_grad


def test_a_run_that_is_left_noisy_has_no_last_pass():
    assert response(Schedule((1.0, 0.5, 0.25)), Evaluation(1, 1, 0.5)) == RESPONSE
    assert response(Schedule((1.0, 0.5, 0.0)), Evaluation(1, 1, 0.5)) == last_response(0.5, True)


def test_conditionings_that_change_begin_anew():
    euler = Euler()
    for sigma in (1.0, 0.9, 0.8):
        euler.evaluate(sigma)
    assert euler.run.corrector.last is not None
    assert euler.evaluate(0.7, ("late",)) is None
    assert len(euler.run.corrector.knots) == 1


@pytest.mark.parametrize("back", [0.9, 0.8])
def test_a_noise_level_that_comes_back_stops_it(back):
    euler = Euler()
    for sigma in (1.0, 0.9, 0.8, back):
        euler.evaluate(sigma)
    assert not euler.run.corrector.is_active
    assert euler.evaluate(0.6) is None


def test_without_a_call_nothing_is_settled():
    euler = Euler()
    euler.evaluate(1.0)
    assert euler.run.settle(torch.zeros(1, 6, 8), torch.zeros(1, 6, 8)) is None
    assert not euler.run.corrector.is_active


def test_a_run_goes_on_without_the_cache_when_memory_for_the_debt_runs_out(monkeypatch):
    euler, sigmas = Euler(), new_run(LOOSE).schedule.sigmas
    monkeypatch.setattr(Corrector, "interpolated", Mock(side_effect=torch.OutOfMemoryError))
    owed = [euler.evaluate(sigma) for sigma in sigmas[:-1]]
    report = euler.run.finish()
    assert owed == 10 * [None]
    assert euler.run.bytes_held == 0
    assert {record.reason for record in report.records[5:]} == {Reason.NO_MEMORY}
    assert "Memory for the cache ran out" in report.summary()


def test_a_step_without_length_lays_out_a_budget_all_the_same():
    schedule = Schedule((1.0, 0.9, 0.9, 0.8, 0.0), rounding=2**-7)
    budget = Budget(3, max_consecutive=8)
    tolerance = budget.tolerance(schedule, 1, anchor=schedule.turned[0], steps_left=2)
    assert budget.needed(schedule, 1, schedule.turned[0], tolerance) == 2


def test_half_precision_means_the_samplers_own_level():
    schedule = Schedule((1.0, 0.95, 0.9, 0.0), rounding=2**-7)
    assert schedule.place(0.9531) == (1, 0.95)
    assert Schedule((1.0, 0.95, 0.0)).place(0.9531) == (0, 0.9531)


@pytest.mark.parametrize("placement", ["device", "offload"])
def test_what_it_will_hold_is_known_and_stays_on_the_device(placement):
    """Latents alone, without a probe: the estimate is exact once two steps in a row were corrected."""
    euler = Euler(replace(LOOSE, probe_blocks=0, cache_placement=placement))
    size = CacheSize(1, 6 * 8, 0, 0)
    evaluations = len(euler.run.schedule.sigmas[:-1]) * [{"cond": size}]
    on_device = euler.run.expect(evaluations, size.latent_numbers, lambda needed: True)
    for sigma in euler.run.schedule.sigmas[:-1]:
        euler.evaluate(sigma)
    # The toy's reading knows no clean latent, of which each of the two anchors would hold one.
    assert euler.run.report.bytes_held + 2 * size.latent_bytes // 2 == euler.run.report.bytes_expected
    settlement = settlement_bytes(evaluations, size.latent_numbers)
    assert on_device == settlement + (size.bytes_held if placement == "device" else 0)


def test_a_run_that_settles_nothing_still_looks_how_the_sampler_moves():
    """Until it is known to add noise, which it may do where parts of the picture are put back."""
    euler = Euler(replace(LOOSE, probe_blocks=0))
    euler.run.corrector.stop()
    size = CacheSize(1, 6 * 8, 0, 0)
    held = euler.run.expect(4 * [{"cond": size}], size.latent_numbers, lambda needed: True)
    assert held == size.bytes_held + size.latent_bytes
    for sigma in (1.0, 0.9, 0.8, 0.7):
        euler.evaluate(sigma)
    assert euler.run.report.bytes_held == 2 * size.latent_bytes  # two anchors without clean latents
    euler.latent = euler.latent + torch.randn(1, 6, 8)
    euler.evaluate(0.6)
    euler.evaluate(0.5)
    assert euler.run.settlement.is_stochastic
    assert euler.run.settlement.bytes_held == 0


def test_the_rule_hears_that_the_sampler_adds_noise():
    rule = Mock(spec_set=RiskRule(Schedule(()), 0.0), risk=0.0, tolerance=0.0)
    rule.should_compute.return_value = False
    euler = Euler(replace(LOOSE, probe_blocks=0, warmup_steps=1))
    euler.run.rule = rule
    for sigma in (1.0, 0.9, 0.8):
        euler.evaluate(sigma)
    euler.latent = euler.latent + torch.randn(1, 6, 8)
    for sigma in (0.7, 0.6, 0.5):
        euler.evaluate(sigma)
    heard = [call.args[0].is_stochastic for call in rule.should_compute.call_args_list]
    assert heard[:2] == [False, False]
    assert heard[-1]


def test_a_straight_step_is_told_from_added_noise():
    latent, velocity = torch.zeros(1, 1000), torch.ones(1, 1000)
    standing = Standing(0.8, latent, velocity)
    assert float(standing.departure(0.6, latent - 0.2)) == pytest.approx(0.0, abs=1e-9)
    noisy = latent - 0.4 + torch.randn(1, 1000, generator=torch.Generator().manual_seed(0)) * 0.4
    assert float(standing.departure(0.4, noisy)) == pytest.approx(1.0, rel=0.2)


def test_rounding_of_a_short_step_is_not_taken_for_noise():
    """The first of 100 steps at shift 12 in bfloat16 goes a third as far as rounding does."""
    generator = torch.Generator().manual_seed(0)
    latent, velocity = torch.randn(2, 1, 10_000, generator=generator)
    length = 0.0008
    before, after = latent.bfloat16(), (latent - length * velocity).bfloat16()
    standing = Standing(1.0, before, velocity.bfloat16())
    assert float(standing.departure(1.0 - length, after)) < 0.25
    noisy = after + 0.02 * torch.randn(1, 10_000, generator=generator).bfloat16()
    assert float(standing.departure(1.0 - length, noisy)) > 10


def test_the_same_noise_level_twice_is_no_step():
    assert Standing(0.5, torch.zeros(1), torch.ones(1)).departure(0.5, torch.zeros(1)) is None


@pytest.mark.parametrize("levels", [[1.3 * (1 - i / 10) for i in range(11)], [1.0, 0.7, 0.5, 0.3, 0.0, 0.0]])
def test_noise_levels_above_one_and_down_to_zero_twice_run_to_the_end(levels):
    euler = Euler(replace(LOOSE, target_speedup=2.0, warmup_steps=2))
    euler.run.schedule = Schedule(tuple(levels), warmup_steps=2)
    for sigma in levels[:-1]:
        euler.evaluate(sigma)
    report = euler.run.finish()
    assert len(report.records) == len(levels) - 1
    assert report.reused
