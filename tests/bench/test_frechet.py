"""Frechet distance by hand, its features, and solvers that find the same picture."""

import math

import pytest
import torch

from bench.frechet import FEATURES, frechet_distance, picture_features
from bench.solvers import MULTISTEP, SOLVERS, integrate
from demo.flux import simple_sigmas


def test_distance_of_two_normal_distributions():
    # The first feature moves by 3 and spreads twice as far, from a variance of 2/3; the second stays.
    first = [[-1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 2.0]]
    second = [[3.0 + 2 * a, b] for a, b in first]
    variance = 2 / 3
    expected = 9 + (math.sqrt(4 * variance) - math.sqrt(variance)) ** 2
    assert frechet_distance(first, second) == pytest.approx(expected)
    assert frechet_distance(first, first) == pytest.approx(0.0, abs=1e-9)


def test_features_are_the_same_every_time_and_see_contrast():
    picture = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = picture_features(picture)
    assert len(features) == FEATURES
    assert features == picture_features(picture)
    assert features != picture_features(picture / 2)


def test_solvers_reach_the_same_picture_and_the_better_ones_sooner():
    def velocity(latent, sigma):
        """Of data that are normal with spread 2: the flow that leads there is known."""
        clean, noise = (1 - sigma) * 4, sigma
        return latent * (noise - clean) / ((1 - sigma) * clean + sigma * noise)

    noise = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    errors = {
        (solver, steps): float((integrate(solver, velocity, noise, simple_sigmas(steps)) - 2 * noise).norm())
        for solver in SOLVERS
        for steps in (10, 40)
    }
    assert errors["euler", 40] < 0.3 * errors["euler", 10]
    for solver in MULTISTEP:
        assert errors[solver, 40] < 0.12 * errors[solver, 10]
        assert errors[solver, 40] < 0.12 * errors["euler", 40]
