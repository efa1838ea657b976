"""When to compute: the error a corrected step is expected to make, and what it does to the picture.

The error of the forecast is measured at every full pass, where the truth is at hand, and related to
the drift that was expected there from the noise level, and to the drift that the probe has seen; such a
ratio times the drift now is the expected error. It counts by the length of the sampler's step and by how
early it comes, since early errors live longest. The sum over a stretch of corrected steps is the risk; a
step that would carry it past the tolerance is computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .sentences import Sentence, say

# Measured on a trained model: one step corrected, the final error over the error of that step alone
# (bench/RESULTS.md, "What an error does to the picture").
LATE_GAIN = 0.8
EARLY_GAIN = 1.0
GAIN_POWER = 3.0
# How fast the velocity of trained models turns along a run (bench/RESULTS.md, "How the velocity turns").
MIDDLE_GROWTH = 0.06
GROWTH_POWER = 5.0
LAST_GROWTH = 0.016  # over the noise level, which is small at the end
LEAST_TIME = 0.04
UNBOUNDED = 10**9
PROBED_SHARE = 0.3  # of the corrected steps: those whose decision hangs on the probe
BISECTIONS = 24  # the tolerance to a ten-millionth of its range; each costs microseconds a step


def sigma_to_time(sigma: float, is_flow: bool) -> float:
    """Noise level on the flow's scale, 0 (clean) to 1 (noise).

    Args:
        sigma: the sampler's noise level.
        is_flow: True where sigma is that scale already (rectified flow), False for sigma = noise / signal.
    """
    return sigma if is_flow else sigma / (1.0 + sigma)


def error_gain(time: float) -> float:
    """How much an error made at this noise level counts in the final picture."""
    return LATE_GAIN + EARLY_GAIN * math.pow(min(max(time, 0.0), 1.0), GAIN_POWER)


def error_growth(time: float) -> float:
    """How fast the velocity turns at this noise level, relative to pure noise."""
    early = MIDDLE_GROWTH + (1.0 - MIDDLE_GROWTH) * math.pow(min(max(time, 0.0), 1.0), GROWTH_POWER)
    return early + LAST_GROWTH / max(time, LEAST_TIME)


def turned(time: float) -> float:
    """How far the velocity has yet to turn at this noise level: the integral of `error_growth` from 0.

    Between two full passes the velocity moves more evenly by this measure than by the noise level.
    """
    time, power = min(max(time, 0.0), 1.0), GROWTH_POWER + 1.0
    early = MIDDLE_GROWTH * time + (1.0 - MIDDLE_GROWTH) * math.pow(time, power) / power
    late = math.log(time / LEAST_TIME) + 1.0 if time > LEAST_TIME else time / LEAST_TIME
    return early + LAST_GROWTH * late


def time_drift(time: float, anchor_time: float) -> float:
    """How far the velocity is expected to have turned since a full pass, as far as the noise level tells.

    Args:
        time, anchor_time: noise levels now and at the full pass, on the flow's scale.
    """
    return max(anchor_time - time, 0.0) * error_growth(0.5 * (time + anchor_time))


@dataclass(frozen=True)
class Schedule:
    """The noise levels of a run.

    Attributes:
        sigmas: the sampler's levels, one more than steps.
        is_flow: whether sigma is the flow's own scale.
        first_sigma, last_sigma: steps may be corrected between these levels.
        warmup_steps: first steps that are always computed.
        is_rounded: whether noise levels come back in half precision, so that the nearest one is meant.
    """

    sigmas: tuple[float, ...]
    is_flow: bool = True
    first_sigma: float = math.inf
    last_sigma: float = 0.0
    warmup_steps: int = 0
    is_rounded: bool = False

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
        if self.is_rounded and self.num_steps:
            return min(range(self.num_steps), key=lambda i: abs(self.sigmas[i] - sigma))
        reached = [i for i, level in enumerate(self.sigmas[:-1]) if level >= sigma * (1 - 1e-6)]
        return reached[-1] if reached else 0

    def exact(self, sigma: float) -> float:
        """The sampler's own level where it comes back in half precision, which is coarse beside its steps."""
        return self.sigmas[self.step_index(sigma)] if self.is_rounded and self.num_steps else sigma

    def has(self, sigma: float) -> bool:
        """Whether a noise level is one of the sampler's, and not one between them."""
        level = self.sigmas[self.step_index(sigma)] if self.num_steps else sigma
        return self.is_rounded or abs(level - sigma) <= 1e-4 * level

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

    def growth_rates(self, step_index: int, growth: float) -> list[float]:
        """Weight times expected growth of the error, for the steps from this one on that may be corrected.

        Args:
            step_index: the step.
            growth: expected error per step of lag there.
        """
        # A step of no length, or one that rises, has no growth of its own.
        scale = growth / max(self.growth_at(step_index), 1e-6)
        steps = self.eligible_from(step_index)
        return [self.step_weight(i) * scale * self.growth_at(i) for i in steps]

    def growth_at(self, step_index: int) -> float:
        """How much a step is expected to add to the error of a stretch, relative to pure noise."""
        return time_drift(self.time(self.sigmas[step_index + 1]), self.time(self.sigmas[step_index]))

    def step_weight(self, step_index: int) -> float:
        """What a relative error in this step adds to the relative error of the picture."""
        if not 0 <= step_index < self.num_steps:
            return 0.0
        return self.step_length(step_index) * error_gain(self.time(self.sigmas[step_index]))


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
        if not drift > 0:
            return
        ratio = error / drift
        self.ratio = 0.5 * (self.ratio + ratio) if self.is_measured else ratio
        self.is_measured = True

    def expected(self, drift: float) -> float:
        """Relative error to expect at this drift."""
        return self.ratio * drift


@dataclass(frozen=True)
class Budget:
    """A given number of computed steps, laid out over the run.

    Attributes:
        computed_steps: steps to compute in all, those that are always computed included.
        note: why that is more than was asked for; empty where it is not.
    """

    computed_steps: int
    note: Sentence = Sentence("")

    @classmethod
    def for_speedup(
        cls, speedup: float, schedule: Schedule, probe_share: float, max_consecutive: int
    ) -> Budget:
        """The budget whose block executions come nearest to 1 / speedup of the full run.

        Args:
            speedup: asked for, 1 or more.
            schedule: noise levels of the run.
            probe_share: part of a full pass that a probe costs.
            max_consecutive: longest stretch of corrected steps.
        """
        steps, probe_share = schedule.num_steps, PROBED_SHARE * probe_share
        wanted = round((steps / speedup - steps * probe_share) / (1.0 - probe_share))
        eligible = len(schedule.eligible_from(0))
        least = steps - eligible + eligible // (max_consecutive + 1)
        if wanted >= least:
            return cls(min(wanted, steps))
        reachable = steps / (least + (steps - least) * probe_share)
        asked, most = f"{speedup:g}", f"{reachable:.2f}"
        return cls(least, say("targetTooHigh", speedup=asked, reachable=most, steps=steps))

    def tolerance(self, rates: Sequence[float], steps_left: float) -> float:
        """The tolerance at which the steps to come would need just the computed steps that are left.

        The risk of a stretch of g steps grows as rate * g (g + 1) / 2, so at tolerance T one step in
        1 + g(T) is computed, g the whole steps that T allows. Solved by bisection.

        Args:
            rates: step weight times error per step of lag, of the steps to come but the last one, which
                is always computed.
            steps_left: computed steps left for them.

        Returns:
            0 where all of them can be computed, inf where none can.
        """
        if steps_left >= len(rates):
            return 0.0
        if steps_left <= 0:
            return float("inf")
        low, high = 0.0, max(*rates, 1e-12) * (len(rates) + 1) ** 2
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            if sum(1.0 / (1.0 + stretch(middle, rate)) for rate in rates) > steps_left:
                low = middle
            else:
                high = middle
        return high


def stretch(tolerance: float, rate: float) -> int:
    """Corrected steps in a row that a tolerance allows when the risk grows as rate * g (g + 1) / 2."""
    if rate <= 0:
        return UNBOUNDED
    steps = 0.5 * (math.sqrt(1.0 + 8.0 * tolerance / rate) - 1.0)
    return min(int(steps + 1e-9), UNBOUNDED)
