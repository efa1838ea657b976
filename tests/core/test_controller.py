"""One run of the controller over a toy model: what is computed and what is corrected."""

import time

import pytest
import torch
from toy import LOOSE, ToyModel, call, new_run, outcomes, run_all, smooth_input, watch

from adacorrection_core.base_rules import FirstBlockRule
from adacorrection_core.config import CorrectionConfig
from adacorrection_core.evaluation import Branch
from adacorrection_core.readings import VelocityReading
from adacorrection_core.risk import turned
from adacorrection_core.stats import Outcome, Reason
from adacorrection_core.transfer import Transfer


def test_warmup_and_last_step_are_computed_and_the_rest_is_not():
    report, _ = run_all(ToyModel())
    assert outcomes(report) == [Outcome.COMPUTE] * 3 + [Outcome.CORRECT] * 6 + [Outcome.COMPUTE]
    assert [r.reason for r in report.records if r.reason] == [Reason.WARMUP] * 3 + [Reason.LAST_STEP]
    assert report.is_finished


def test_block_executions_are_those_counted_by_the_blocks():
    model = ToyModel(num_blocks=5)
    report, _ = run_all(model)
    assert model.runs == report.blocks_run == 4 * 5
    assert report.blocks_total == 50
    assert report.hit_rate == pytest.approx(0.6)


def test_a_rule_that_goes_by_the_probe_runs_its_blocks_at_every_step():
    model = ToyModel(num_blocks=5)
    config = CorrectionConfig(tolerance=1.0, probe_blocks=2, warmup_steps=3, max_consecutive=50)
    report, _ = run_all(model, config, rule=FirstBlockRule(10.0))
    assert [block.runs for block in model.blocks] == [10, 10, 4, 4, 4]
    assert [record.blocks_run for record in report.reused] == [2] * 6


def test_without_probe_blocks_the_noise_level_decides():
    model = ToyModel()
    run_all(model, CorrectionConfig(tolerance=1.0, probe_blocks=0, warmup_steps=3), rule=FirstBlockRule(10.0))
    assert model.runs == 4 * 4


def test_the_probe_is_asked_only_where_the_decision_is_in_doubt():
    """Far below the tolerance nothing runs, far above it everything; between, the probe decides."""
    model, run = ToyModel(num_blocks=20), new_run(CorrectionConfig(tolerance=0.01), steps=50)
    watched = watch(model, run)
    for sigma in run.schedule.sigmas[:-1]:
        call(model, watched, sigma, smooth_input(sigma))
    blocks = {record.blocks_run for record in run.finish().records}
    assert blocks == {0, 1, 20}


def test_computed_steps_are_the_models_own_output_bit_for_bit():
    report, outputs = run_all(ToyModel())
    for record, output in zip(report.records, outputs, strict=True):
        if record.outcome is Outcome.COMPUTE:
            assert torch.equal(output, ToyModel()(smooth_input(record.sigma)))


@pytest.mark.parametrize("tolerance", [0.0, 1e-12])
def test_no_tolerance_is_bit_identical_throughout(tolerance):
    report, outputs = run_all(ToyModel(), CorrectionConfig(tolerance=tolerance))
    assert report.hit_rate == 0
    for record, output in zip(report.records, outputs, strict=True):
        assert torch.equal(output, ToyModel()(smooth_input(record.sigma)))


def test_velocity_that_turns_evenly_is_forecast_exactly():
    def linear_input(sigma):
        return torch.linspace(1, 2, 12).reshape(1, 3, 4) * (1 + 3 * turned(sigma))

    config = CorrectionConfig(tolerance=1.0, warmup_steps=3, sensitivity=100.0, max_consecutive=3)
    report, outputs = run_all(ToyModel(), inputs=linear_input, config=config)
    assert Outcome.CORRECT in outcomes(report)
    for step, output in enumerate(outputs):
        torch.testing.assert_close(output, ToyModel()(linear_input(1 - step / 10)), rtol=1e-5, atol=0)


def turning_input(sigma):
    """An input that turns as fast as the velocity of trained models does."""
    return smooth_input(3 * turned(sigma))


def test_correction_is_nearer_to_the_truth_than_holding():
    errors = []
    for is_correcting in (True, False):
        _, outputs = run_all(ToyModel(), inputs=turning_input, is_correcting=is_correcting)
        truth = [ToyModel()(turning_input(1 - i / 10)) for i in range(10)]
        errors.append(sum(float((a - b).norm()) for a, b in zip(outputs, truth, strict=True)))
    assert errors[0] < 0.6 * errors[1]


def test_plain_cache_is_recorded_as_held():
    report, _ = run_all(ToyModel(), is_correcting=False)
    assert outcomes(report)[3:9] == [Outcome.HOLD] * 6


def test_max_consecutive_bounds_every_stretch():
    report, _ = run_all(
        ToyModel(), CorrectionConfig(tolerance=1.0, warmup_steps=3, max_consecutive=2), steps=12
    )
    letters = "".join("c" if outcome is Outcome.COMPUTE else "." for outcome in outcomes(report))
    assert letters == "ccc..c..c..c"
    assert Reason.MAX_CONSECUTIVE in [record.reason for record in report.records]


@pytest.mark.parametrize("speedup", [1.5, 2.0, 3.0])
def test_target_speedup_lands_near_the_reciprocal(speedup):
    report, _ = run_all(ToyModel(num_blocks=20), CorrectionConfig(target_speedup=speedup), steps=28)
    assert report.block_fraction == pytest.approx(1 / speedup, rel=0.1)


def test_start_and_end_bound_what_is_corrected():
    config = CorrectionConfig(tolerance=1.0, max_consecutive=50, warmup_steps=1)
    run = new_run(config)
    run.schedule = type(run.schedule)(run.schedule.sigmas, True, first_sigma=0.65, last_sigma=0.35)
    model = ToyModel()
    watched = watch(model, run)
    for sigma in run.schedule.sigmas[:-1]:
        call(model, watched, sigma, smooth_input(sigma))
    corrected = [record.sigma for record in run.finish().reused]
    assert corrected == pytest.approx([0.6, 0.5, 0.4])


def test_inputs_are_never_written_to():
    model, run = ToyModel(), new_run(LOOSE)
    watched = watch(model, run)
    for sigma in run.schedule.sigmas[:-1]:
        x = smooth_input(sigma)
        call(model, watched, sigma, x)
        assert torch.equal(x, smooth_input(sigma))


def test_a_model_that_does_without_its_blocks_is_corrected_all_the_same():
    run = new_run(LOOSE)
    watched = watch(ToyModel(), run)
    for sigma in run.schedule.sigmas[:-1]:
        x = smooth_input(sigma)
        watched.call(sigma, [Branch("cond", "cond")], VelocityReading(x), lambda x=x: x * 2)
    report = run.finish()
    assert report.hit_rate == pytest.approx(0.6)
    assert report.blocks_run == 0


@pytest.mark.parametrize("rule", [None, FirstBlockRule(10.0)])
def test_one_synchronisation_a_call_and_one_more_for_a_probe(monkeypatch, rule):
    """A call reads its noise level and what waits from the call before in one transfer, a probe one more."""
    reads = []
    original = Transfer.read_waiting
    monkeypatch.setattr(Transfer, "read_waiting", lambda transfer: (reads.append(1), original(transfer)))
    for name in ("item", "__float__", "__bool__", "__int__", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, lambda *_, **__: pytest.fail("a second way to the host"))
    model, run = ToyModel(), new_run(LOOSE, rule=rule)
    watched = watch(model, run)
    for sigma in run.schedule.sigmas[:-1]:
        before = len(reads)
        call(model, watched, torch.tensor([sigma]), smooth_input(sigma))
        is_probed = run.report.records[-1].blocks_run == 1
        assert len(reads) == before + 1 + is_probed
    assert is_probed == (rule is not None) or run.report.records[-1].outcome is Outcome.COMPUTE


def test_measured_error_is_known_after_the_run():
    report, _ = run_all(ToyModel())
    assert report.records[2].measured_error is not None
    assert report.records[2].measured_error >= 0


def test_seconds_of_the_calls_add_up_to_no_more_than_the_run():
    started = time.perf_counter()
    report, _ = run_all(ToyModel())
    assert 0 < sum(record.seconds for record in report.records) <= time.perf_counter() - started
    assert all(record.seconds > 0 for record in report.records)


def test_an_observer_hears_of_each_call_when_it_is_over():
    model, heard = ToyModel(), []
    run = new_run(LOOSE, observer=lambda records: heard.append((len(records), records[0].blocks_run)))
    watched = watch(model, run)
    for sigma in run.schedule.sigmas[:-1]:
        call(model, watched, sigma, smooth_input(sigma, batch=2), ("cond", "uncond"))
    assert heard == [(2, record.blocks_run) for record in run.report.records[::2]]
    assert {blocks for _, blocks in heard} == {0, 4}
