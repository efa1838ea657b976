"""How a full pass holds the forecast against the truth, by hand."""

import pytest
import torch
from toy import LOOSE, new_run

from adacorrection_core.anchors import Anchor, AnchorHistory
from adacorrection_core.calibration import Calibration
from adacorrection_core.decision import LEAST_DRIFT, Decision
from adacorrection_core.evaluation import BranchState, Evaluation, GuidedMeasurement, Measurement
from adacorrection_core.forecast import Forecast
from adacorrection_core.kept import Kept
from adacorrection_core.readings import DenoisedReading
from adacorrection_core.risk import turned


def test_error_is_that_of_the_blend_that_the_weight_would_have_made():
    truth, moved, reach, weight = 4.0, 2.0, 1.0, 0.25
    evaluation = Evaluation(3, 3, 0.5, time_drift=0.1, weight=weight)
    products = [[a * b for a in (truth, moved, reach)] for b in (truth, moved, reach)]
    calibration = Calibration()
    calibration.observe(evaluation, sum(products, []), lag=2)
    assert calibration.time_error.ratio == pytest.approx(abs(moved - weight * reach) / truth / 0.1)


def test_a_pair_of_branches_is_measured_as_guidance_combines_it():
    measured, cfg = GuidedMeasurement(3.0), 3.0
    cond, uncond = (torch.tensor([[[value]]]) for value in (5.0, 2.0))
    for role, vector in (("cond", cond), ("uncond", uncond)):
        measured.add(Measurement(role, [vector, vector * 2, vector * 0]))
    guided = 2.0 + cfg * (5.0 - 2.0)
    assert measured.inner_products[0].tolist() == pytest.approx([guided**2, 2 * guided**2, 0.0])


def test_where_the_sampler_adds_noise_the_clean_latent_is_forecast():
    """Clean 1 and 2 at the last two passes, so 0.5 half a movement on; the latent is 3 at level 0.5."""
    latent, level = torch.full((1, 2), 3.0), torch.full((1, 1), 0.5)
    reading, history = DenoisedReading(latent, level), AnchorHistory()
    for time, clean in ((0.9, 2.0), (0.7, 1.0)):
        velocity = Kept(torch.full((1, 2), 100.0))
        history.push(Anchor(time, velocity, Kept(torch.full((1, 2), clean))))
    forecast = Forecast(reading, [BranchState(None, history)], 0.6, is_stochastic=True)
    gain = (turned(0.6) - turned(0.7)) / (turned(0.7) - turned(0.9))
    assert forecast.output(1.0)[0].tolist() == pytest.approx(2 * [1.0 - gain])
    assert forecast.output(0.0)[0].tolist() == pytest.approx(2 * [1.0])


def test_the_drift_is_that_of_the_branch_computed_longest_ago_and_never_nothing():
    run, histories = new_run(LOOSE), (AnchorHistory(), AnchorHistory())
    for history, time in zip(histories, (0.9, 0.7), strict=True):
        history.push(Anchor(time, Kept(torch.zeros(1))))
    for level, expected in ((0.6, turned(0.9) - turned(0.6)), (0.9, LEAST_DRIFT * run.schedule.growth_at(1))):
        evaluation = Evaluation(1, run.schedule.step_index(level), level)
        Decision(run, evaluation, [BranchState(None, history) for history in histories], []).weigh()
        assert evaluation.time_drift == pytest.approx(expected)
