"""Rules of other caches, their numbers by hand, and what a run shows them."""

import math

import pytest
import torch
from toy import ToyModel, call, new_run, smooth_input, watch

from adacorrection_core.base_rules import (
    AdaCacheRule,
    EasyCacheRule,
    FastCacheRule,
    FirstBlockRule,
    FixedIntervalRule,
    MagCacheRule,
    SeaCacheRule,
    TeaCacheRule,
    chi2_quantile_share,
    signal_spectrum,
)
from adacorrection_core.config import CorrectionConfig
from adacorrection_core.rules import FullPass, Signals

ANY = CorrectionConfig(tolerance=1.0, warmup_steps=2)


def decisions(rule, *drifts):
    """What a rule says to these drifts of a stretch, up to the first computed step."""
    found = []
    for lag, drift in enumerate(drifts, 1):
        found.append(rule.should_compute(Signals(lag, drift, 0.0, lag)))
        if found[-1]:
            rule.computed(lag)
            break
    return found


def test_fixed_interval():
    assert decisions(FixedIntervalRule(3), 9.0, 9.0, 9.0) == [False, False, True]


def test_an_interval_between_whole_numbers_holds_on_average():
    rule, found = FixedIntervalRule(1.5), []
    for _ in range(6):
        found.append(rule.should_compute(Signals(0, 0.0, 0.0, 1)))
        if found[-1]:
            rule.computed(0)
    assert found == [False, True, True] * 2


def test_first_block():
    assert decisions(FirstBlockRule(0.15), 0.1, 0.14, 0.15) == [False, False, True]


def test_teacache_adds_up():
    rule = TeaCacheRule(0.25)
    assert decisions(rule, 0.125, 0.0625, 0.0625) == [False, False, True]
    assert rule.risk == 0.0


def test_fastcache_asks_whether_a_change_is_more_than_noise():
    # 100 numbers: the 95 % quantile of chi-square is 124.3 (tables), so noise of 0.1 passes up to 0.1115.
    assert chi2_quantile_share(100) == pytest.approx(1.243, abs=1e-3)
    assert decisions(FastCacheRule(0.1, num_numbers=100), 0.111, 0.112) == [False, True]


@pytest.mark.parametrize("rule", [FirstBlockRule(1.0), TeaCacheRule(1.0), FastCacheRule(1.0)])
def test_a_rule_that_goes_by_the_probe_asks_for_it(rule):
    assert rule.should_compute(Signals(3, 9.0, 0.0, 1, is_probed=False)) is None


@pytest.mark.parametrize(("moved", "lag", "interval"), [(0.1, 1, 5), (0.1, 2, 6), (0.39, 1, 2), (3.0, 1, 1)])
def test_adacache_reads_the_interval_off_its_codebook(moved, lag, interval):
    rule = AdaCacheRule(1.0)
    rule.measured(FullPass(9.0, 1.0, moved, lag))
    assert rule.interval == interval
    assert decisions(rule, *[0.0] * 6)[-2:] == [False, True][-interval:]


def test_magcache_adds_up_how_far_the_product_of_ratios_is_from_one():
    rule = MagCacheRule(0.5, max_skips=5)
    rule.measured(FullPass(0.81, 1.0, 0.5, 2))  # 0.9 a step: 0.1, then 0.19, then 0.271
    assert decisions(rule, 0, 0, 0) == [False, False, True]
    rule = MagCacheRule(9.0, max_skips=2)
    rule.measured(FullPass(1.0, 1.0, 0.5, 1))
    assert decisions(rule, 0, 0, 0) == [False, False, True]


def test_easycache_follows_the_input():
    rule = EasyCacheRule(0.35)
    assert rule.look(torch.zeros(1, 4), 1.0) is None
    rule.saw([2.0])
    rule.measured(FullPass(10.0, 9.0, 1.0, 1))  # 0.5 of output for 1 of input, 0.05 of the output's norm
    assert rule.look(torch.tensor([[3.0, 0.0, 4.0, 0.0]]), 0.9).item() == 5.0
    found = []
    for _ in range(2):
        rule.saw([4.0])  # 0.2 of the output each
        found.append(rule.should_compute(Signals(3, 0.0, 0.0, 1)))
    assert found == [False, True]


def test_rules_of_the_output_compute_until_it_was_measured():
    assert decisions(MagCacheRule(1.0), 0.0) == decisions(AdaCacheRule(1.0), 0.0) == [True]
    rule = EasyCacheRule(1.0)
    rule.saw([1.0])
    assert rule.should_compute(Signals(1, 0.0, 0.0, 1))


def test_seacache_filters_by_the_noise_level():
    # Two cells, frequencies 0 and 1/2. At noise level 1/2 the gains are 4 and 4 / (1 + 1/4): 10/9 and 8/9 at
    # mean 1.
    spectrum = signal_spectrum(torch.tensor([[[[3.0, 1.0]]]]), 0.5, power=2.0)
    assert spectrum.real.flatten().tolist() == pytest.approx([4 * 10 / 9, 2 * 8 / 9])
    rule = SeaCacheRule(0.3)
    assert rule.look(torch.tensor([[[[3.0, 1.0]]]]), 0.5) is None
    moved = rule.look(torch.tensor([[[[4.0, 1.0]]]]), torch.tensor([0.5]))
    expected = math.hypot(10 / 9, 8 / 9) / math.hypot(40 / 9, 16 / 9)
    assert moved.item() == pytest.approx(expected)
    rule.saw([0.2])
    assert decisions(rule, 0, 0) == [False, True]


def test_seacache_takes_tokens_of_a_square_for_a_picture():
    picture = torch.arange(18.0).reshape(1, 2, 3, 3)
    tokens = picture.flatten(2).movedim(1, -1)
    torch.testing.assert_close(signal_spectrum(tokens, 0.3, 2.0), signal_spectrum(picture, 0.3, 2.0))
    with pytest.raises(ValueError, match="8 tokens are no square"):
        signal_spectrum(torch.zeros(1, 8, 2), 0.3, 2.0)


class Spy:
    """Computes steps 4 and 7 and writes down what it is shown."""

    is_stepwise = True

    def __init__(self):
        self.risk, self.tolerance = 0.0, 1.0
        self.looks, self.seen, self.passes, self.drifts = [], [], [], []

    def look(self, latent, sigma):
        self.looks.append(latent.clone())
        return latent.norm()

    def saw(self, numbers):
        self.seen.append(numbers[0])

    def measured(self, full_pass):
        self.passes.append(full_pass)

    def should_compute(self, signals):
        if signals.should_probe_first:
            return None
        self.drifts.append(signals.drift)
        return signals.step_index in (4, 7)

    def computed(self, step_index):
        pass


def test_what_a_run_shows_a_rule():
    spy, model = Spy(), ToyModel()
    run = new_run(ANY, rule=spy)
    watched = watch(model, run)
    inputs = [smooth_input(sigma) for sigma in run.schedule.sigmas[:-1]]
    outputs = [call(model, watched, sigma, x) for sigma, x in zip(run.schedule.sigmas, inputs, strict=False)]
    run.finish()

    assert spy.seen == pytest.approx([x.norm().item() for x in inputs])
    assert [full_pass.lag for full_pass in spy.passes] == [1, 3, 3, 2]
    fourth = spy.passes[1]
    assert fourth.norm == pytest.approx(outputs[4].norm().item(), rel=1e-5)
    assert fourth.norm_before == pytest.approx(outputs[1].norm().item(), rel=1e-5)
    assert fourth.moved == pytest.approx((outputs[4] - outputs[1]).norm().item(), rel=1e-4)
    # The toy's probe is a tenth of its input, and all its tokens count alike but for their weights.
    steps = [((b - a).norm() / a.norm()).item() for a, b in zip(inputs, inputs[1:], strict=False)]
    assert spy.drifts == pytest.approx(steps[1:8], rel=0.2)
    since_full = [((inputs[i] - inputs[1]).norm() / inputs[1].norm()).item() for i in (3, 4)]
    assert spy.drifts[1] < 0.8 * since_full[0]
    assert spy.drifts[2] < 0.8 * since_full[1]


def test_a_rule_sees_each_step_once_where_conditionings_come_one_by_one():
    spy, model = Spy(), ToyModel()
    run = new_run(ANY, rule=spy)
    watched = watch(model, run)
    for sigma in run.schedule.sigmas[:6]:
        for branch in ("cond", "uncond"):
            call(model, watched, sigma, smooth_input(sigma), (branch,))
    assert len(spy.drifts) == 4
    assert all(drift > 0 for drift in spy.drifts)
