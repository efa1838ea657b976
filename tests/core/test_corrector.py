"""The debt of corrected steps: what is owed, when it is settled, and when it is not."""

import pytest
import torch

from adacorrection_core import corrector as corrector_module
from adacorrection_core.corrector import (
    DETAIL_VARIANCE,
    FOLLOWS,
    Corrector,
    interpolation,
    last_response,
    trust,
)
from adacorrection_core.risk import turned

SIGMAS = [1.0, 0.8, 0.6, 0.45, 0.3, 0.1, 0.0]


@pytest.fixture
def steady(monkeypatch):
    """The velocity of a pass is the noise level's alone, whatever latent it was given."""
    monkeypatch.setattr(corrector_module, "FOLLOWS", 0.0)


def test_interpolation_reads_a_parabola_exactly():
    def parabola(time):
        return 2 - 3 * time + 5 * time**2

    knots = [0.2, 0.5, 0.9]
    points = [(0.3, 1.5), (0.4, -2.0)]
    coefficients = interpolation(points, knots)
    got = sum(c * parabola(k) for c, k in zip(coefficients, knots, strict=True))
    assert got == pytest.approx(sum(weight * parabola(time) for time, weight in points))


def test_a_parabola_counts_as_far_as_the_knots_distances_are_alike():
    # At 1 between values at 0, 2 and 2.5: (1, 1) / 2 by the line, (3, 15, -8) / 10 by the parabola, a quarter
    # of which counts.
    assert interpolation([(1.0, 1.0)], [0.0, 2.0]) == pytest.approx([0.5, 0.5])
    assert interpolation([(1.0, 1.0)], [0.0, 2.0, 2.5]) == pytest.approx([0.45, 0.75, -0.2])


def sample(velocity, is_computed, corrector):
    """Euler on a velocity of the noise level alone; a step that is not computed holds the one before."""
    latent, held = torch.ones(1, 3), None
    for i, (sigma, below) in enumerate(zip(SIGMAS[:-1], SIGMAS[1:], strict=True)):
        given = corrector.shifted(latent, sigma)
        if is_computed(i):
            held = velocity(sigma)
            owed = corrector.computed(sigma, sigma, held)
            denoised = given - sigma * held + (0 if owed is None else sigma * owed)
        else:
            corrector.corrected(sigma, sigma, held)
            denoised = given - sigma * held
        latent = denoised if below == 0 else latent + (below - sigma) * (latent - denoised) / sigma
    return latent


@pytest.mark.usefixtures("steady")
def test_held_steps_are_made_good_where_the_velocity_turns_as_expected():
    def velocity(sigma):
        u = 5 * turned(sigma)
        return torch.tensor([[1.0, u, u**2]])

    full = sample(velocity, lambda i: True, Corrector())
    plain = sample(velocity, lambda i: i not in (2, 4), Corrector(is_active=False))
    settled = sample(velocity, lambda i: i not in (2, 4), Corrector())
    assert float((plain - full).norm()) > 0.05
    torch.testing.assert_close(settled, full, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("steady")
def test_what_is_owed_by_hand():
    """One step held at velocity 1 where the passes around it say 1 and 3."""
    corrector = Corrector()
    share = (turned(0.8) - turned(0.6)) / (turned(0.8) - turned(0.4))
    assert corrector.computed(0.8, 0.8, torch.tensor([1.0])) is None
    corrector.corrected(0.6, 0.6, torch.tensor([1.0]))
    owed = corrector.computed(0.4, 0.4, torch.tensor([3.0]))
    assert float(owed) == pytest.approx((0.4 - 0.6) / 0.4 * 2 * share)
    assert torch.equal(corrector.shift, owed)
    shifted = corrector.shifted(torch.tensor([7.0]), 0.2)
    assert float(shifted) == pytest.approx(7.0 + 0.2 * float(owed))


def test_the_velocity_behind_a_debt_follows_the_latent():
    """The same where it does: debt and velocity agree with one another."""
    corrector = Corrector()
    share = (turned(0.8) - turned(0.6)) / (turned(0.8) - turned(0.4))
    corrector.computed(0.8, 0.8, torch.tensor([1.0]))
    corrector.corrected(0.6, 0.6, torch.tensor([1.0]))
    owed = corrector.computed(0.4, 0.4, torch.tensor([3.0]))
    settled = 3.0 + FOLLOWS * float(owed)
    assert float(corrector.knots[0].velocity) == pytest.approx(settled)
    assert float(owed) == pytest.approx((0.4 - 0.6) / 0.4 * (settled - 1.0) * share)


@pytest.mark.parametrize(("forecast", "expected"), [(4.0, 1.0), (6.0, 1.0), (12.0, 1 / 9), (3.0, 1.0)])
def test_a_forecast_off_by_more_than_the_velocity_is_repaid_in_part(forecast, expected):
    assert float(trust(torch.tensor([forecast]), torch.tensor([3.0]))) == pytest.approx(expected)


@pytest.mark.usefixtures("steady")
def test_a_debt_counts_by_that_trust():
    corrector = Corrector()
    corrector.computed(0.8, 0.8, torch.tensor([1.0]))
    corrector.corrected(0.6, 0.6, torch.tensor([-2.0]))
    owed = corrector.computed(0.4, 0.4, torch.tensor([1.0]))  # off by 3 where the velocity is 1
    assert float(owed) == pytest.approx((0.4 - 0.6) / 0.4 * 3.0 / 9)


def test_where_nothing_moves_nothing_is_owed():
    """A velocity of 0, as of a black picture, has no direction to be trusted in."""
    corrector = Corrector()
    corrector.computed(0.8, 0.8, torch.zeros(2))
    corrector.corrected(0.6, 0.6, torch.zeros(2))
    assert corrector.computed(0.4, 0.4, torch.zeros(2)).tolist() == [0.0, 0.0]


def test_nothing_is_owed_where_all_is_computed():
    corrector = Corrector()
    for sigma in SIGMAS[:-1]:
        assert corrector.computed(sigma, sigma, torch.randn(2, 3)) is None
    latent = torch.randn(2, 3)
    assert corrector.shifted(latent, 0.5) is latent


def test_a_stopped_corrector_owes_nothing_and_holds_nothing():
    corrector = Corrector()
    corrector.computed(0.8, 0.8, torch.ones(1))
    corrector.corrected(0.6, 0.6, torch.ones(1))
    corrector.stop()
    assert corrector.computed(0.4, 0.4, torch.full((1,), 3.0)) is None
    assert corrector.shift is None
    assert corrector.tensors == [None] * 3


def test_velocities_are_left_alone():
    corrector, held = Corrector(), torch.ones(2)
    for sigma in (0.8, 0.6, 0.5):
        corrector.corrected(sigma, sigma, held)
    assert torch.equal(held, torch.ones(2))


@pytest.mark.parametrize("is_flow", [True, False])
@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.5])
def test_last_response_is_that_of_gaussian_data(sigma, is_flow):
    """Least squares of clean on noisy numbers, drawn from the model that the formula is for."""
    generator = torch.Generator().manual_seed(0)
    clean = DETAIL_VARIANCE**0.5 * torch.randn(200_000, generator=generator)
    noisy = (1 - sigma if is_flow else 1.0) * clean + sigma * torch.randn(200_000, generator=generator)
    slope = float((noisy @ clean) / (noisy @ noisy))
    assert last_response(sigma, is_flow) == pytest.approx(slope, rel=0.05, abs=1e-3)
