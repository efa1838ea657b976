"""When to compute: the error that the corrected steps of a stretch are expected to leave behind.

At the next full pass the velocity between it and the pass before is interpolated, and what corrected steps
missed is settled (`corrector.py`). What an interpolation misses grows with the distance to the pass behind
times the distance to the pass ahead: the relative error of holding the velocity from either side, multiplied,
over the way that the sampler goes. That pass itself saw the latent before anything was settled, and takes a
step with what it saw: what the forecasts missed, which grows with the square of the distance behind, counts
for the share of the way to the clean latent that this step goes. The risk of a stretch of corrected steps is
the root of both together.

Where the sampler adds noise of its own nothing is settled, and each corrected step's error stays: it counts
as well, for the share of the way that the step goes itself, which is most of it at the end.

Distances are in turns of the velocity, which the noise level tells; how much error a turn makes is measured
at every full pass, where the truth is at hand. A step that would carry the risk past the tolerance is
computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

# How fast the velocity of trained models turns along a run (bench/RESULTS.md, "How the velocity turns").
MIDDLE_GROWTH = 0.06
GROWTH_POWER = 5.0
LAST_GROWTH = 0.016  # over the noise level, which is small at the end
LEAST_TIME = 0.04


def sigma_to_time(sigma: float, is_flow: bool) -> float:
    """Noise level on the flow's scale, 0 (clean) to 1 (noise).

    Args:
        sigma: the sampler's noise level.
        is_flow: True where sigma is that scale already (rectified flow), False for sigma = noise / signal.
    """
    return sigma if is_flow else sigma / (1.0 + sigma)


def error_growth(time: float) -> float:
    """How fast the velocity turns at this noise level, relative to pure noise."""
    early = MIDDLE_GROWTH + (1.0 - MIDDLE_GROWTH) * math.pow(min(max(time, 0.0), 1.0), GROWTH_POWER)
    return early + LAST_GROWTH / max(time, LEAST_TIME)


def turned(time: float) -> float:
    """How far the velocity has yet to turn at this noise level: the integral of `error_growth` from 0.

    Between two full passes the velocity moves more evenly by this measure than by the noise level.
    """
    beyond = max(time - 1.0, 0.0)  # schedules may begin above pure noise; two levels are never one place
    time, power = min(max(time, 0.0), 1.0), GROWTH_POWER + 1.0
    early = MIDDLE_GROWTH * time + (1.0 - MIDDLE_GROWTH) * math.pow(time, power) / power
    late = math.log(time / LEAST_TIME) + 1.0 if time > LEAST_TIME else time / LEAST_TIME
    return early + LAST_GROWTH * late + beyond * error_growth(1.0)


def time_drift(time: float, anchor_time: float) -> float:
    """How far the velocity is expected to have turned since a full pass, as far as the noise level tells.

    Args:
        time, anchor_time: noise levels now and at the full pass, on the flow's scale.
    """
    return max(turned(anchor_time) - turned(time), 0.0)


@dataclass(frozen=True)
class Schedule:
    """The noise levels of a run.

    Attributes:
        sigmas: the sampler's levels, one more than steps.
        is_flow: whether sigma is the flow's own scale.
        first_sigma, last_sigma: steps may be corrected between these levels.
        warmup_steps: first steps that are always computed.
        rounding: by what share of itself a level may be off when it comes back, in half precision; 0 where it
            comes back as it was.
    """

    sigmas: tuple[float, ...]
    is_flow: bool = True
    first_sigma: float = math.inf
    last_sigma: float = 0.0
    warmup_steps: int = 0
    rounding: float = 0.0

    @property
    def num_steps(self) -> int:
        """Sampler steps."""
        return max(len(self.sigmas) - 1, 0)

    def time(self, sigma: float) -> float:
        """Noise level of a sigma on the flow's scale."""
        return sigma_to_time(sigma, self.is_flow)

    def step_index(self, sigma: float) -> int:
        """Step that an evaluation at sigma belongs to: the last level at or above it.

        Samplers also evaluate between levels and a little off them, hence the relative slack.
        """
        if self.rounding and self.num_steps:
            return min(range(self.num_steps), key=lambda i: abs(self.sigmas[i] - sigma))
        reached = [i for i, level in enumerate(self.sigmas[:-1]) if level >= sigma * (1 - 1e-6)]
        return reached[-1] if reached else 0

    def place(self, sigma: float, before: int | None = None) -> tuple[int, float]:
        """Step of a new evaluation and its noise level: the sampler's own where it comes back rounded.

        Half precision is coarse beside short steps and makes several of their levels the same number; of
        those the one after the last step is meant, since samplers go down one by one.

        Args:
            sigma: noise level as it came.
            before: step of the evaluation before; None where there was none.
        """
        if not self.rounding or not self.num_steps:
            return self.step_index(sigma), sigma
        following = 0 if before is None else before + 1
        is_next = following < self.num_steps and self.rounds_to(self.sigmas[following], sigma)
        step = following if is_next else self.step_index(sigma)
        return step, self.sigmas[step]

    def rounds_to(self, level: float, sigma: float) -> bool:
        """Whether a level of the sampler may have come back as this number."""
        return abs(level - sigma) <= self.rounding * level

    def has(self, sigma: float) -> bool:
        """Whether a noise level is one of the sampler's, and not one between them."""
        level = self.sigmas[self.step_index(sigma)] if self.num_steps else sigma
        return self.rounding > 0 or abs(level - sigma) <= 1e-4 * level

    def is_last(self, step_index: int) -> bool:
        """Whether a step is the last one of the run."""
        return step_index >= self.num_steps - 1

    def is_eligible(self, step_index: int) -> bool:
        """Whether a step may be corrected at all."""
        is_inside = self.last_sigma <= self.sigmas[step_index] <= self.first_sigma
        return is_inside and step_index >= self.warmup_steps and not self.is_last(step_index)

    def eligible_from(self, step_index: int) -> list[int]:
        """The steps from this one on that may be corrected."""
        return [i for i in range(step_index, self.num_steps) if self.is_eligible(i)]

    def step_length(self, step_index: int) -> float:
        """How far the sampler moves in a step, on the flow's scale."""
        if not 0 <= step_index < self.num_steps:
            return 0.0
        return abs(self.time(self.sigmas[step_index]) - self.time(self.sigmas[step_index + 1]))

    def growth_at(self, step_index: int) -> float:
        """How far the velocity is expected to turn in a step."""
        if not 0 <= step_index < self.num_steps:
            return 0.0
        return max(self.turned[step_index] - self.turned[step_index + 1], 0.0)

    @cached_property
    def lengths(self) -> list[float]:
        """`step_length` of each step."""
        return [self.step_length(step) for step in range(self.num_steps)]

    @cached_property
    def shares(self) -> list[float]:
        """How much of the way that is left to the clean latent each step goes; the last one usually all."""
        left = [self.time(sigma) for sigma in self.sigmas[:-1]]
        return [step / way if step < way else 1.0 for step, way in zip(self.lengths, left, strict=True)]

    @cached_property
    def eligible(self) -> list[bool]:
        """`is_eligible` of each step."""
        return [self.is_eligible(step) for step in range(self.num_steps)]

    @cached_property
    def turned(self) -> list[float]:
        """`turned` at each of the sampler's levels."""
        return [turned(self.time(sigma)) for sigma in self.sigmas]


@dataclass
class Stretch:
    """Corrected steps in a row, in turns of the velocity.

    Kept as sums over the steps, so that the full pass at their end can move on. Behind is the turn since the
    full pass before.

    Attributes:
        area: of length * behind.
        moment: of length * behind * place, the place as in `Schedule.turned`.
        missed: of length * behind squared, as the forecasts' errors grow.
        unsettled: of share * behind squared, the share of the way that is left that each step goes itself.
    """

    area: float = 0.0
    moment: float = 0.0
    missed: float = 0.0
    unsettled: float = 0.0

    def extended(self, length: float, behind: float, place: float, share: float) -> Stretch:
        """The stretch with one more step."""
        area = length * behind
        return Stretch(
            self.area + area,
            self.moment + area * place,
            self.missed + area * behind,
            self.unsettled + share * behind**2,
        )

    def risk(self, ahead: float, share: float, is_stochastic: bool = False) -> float:
        """The risk at a ratio of one.

        Args:
            ahead: place of the full pass at the end.
            share: how much of the way that is left the step of that pass goes, as in `Schedule.shares`.
            is_stochastic: whether the sampler adds noise of its own, so that nothing is settled.
        """
        loss = max(self.moment - ahead * self.area, 0.0) + share * self.missed
        return math.sqrt(loss + self.unsettled if is_stochastic else loss)


@dataclass
class ErrorModel:
    """Expected relative error = ratio * drift, the ratio measured at full passes.

    Attributes:
        ratio: running mean of measured error over drift, before the first measurement a guess.
    """

    ratio: float
    is_measured: bool = False

    def observe(self, error: float, drift: float) -> None:
        """Take in the error that the forecast would have made, and the drift that was seen then."""
        if not 0 < drift < math.inf:
            return
        ratio = error / drift
        self.ratio = 0.5 * (self.ratio + ratio) if self.is_measured else ratio
        self.is_measured = True

    def expected(self, drift: float) -> float:
        """Relative error to expect at this drift."""
        return self.ratio * drift
