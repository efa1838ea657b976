"""Decision rules: whether a step is computed, from what the probe shows.

`RiskRule` is AdaCorrection's own. The others are the rules of other caches, each in a few lines, so
that each can run with and without the correction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from .risk import Budget, Schedule


@dataclass(frozen=True)
class Signals:
    """What a rule may look at before a step.

    Attributes:
        step_index: sampler step, from 0.
        drift: relative movement of the probe since the last full pass.
        expected_error: relative error that a corrected step is expected to make.
        lag: evaluations since the last full pass, 1 or more.
    """

    step_index: int
    drift: float
    expected_error: float
    lag: int


class Rule(Protocol):
    """A decision rule of one run.

    Attributes:
        risk: what has accumulated since the last computed step, in the unit of the tolerance.
        tolerance: the bound that the risk is held against now.
    """

    risk: float
    tolerance: float

    def should_compute(self, signals: Signals) -> bool:
        """Whether to compute; where not, the step counts as corrected."""
        ...

    def computed(self, step_index: int) -> None:
        """Take note that a step was computed, for whatever reason."""
        ...


@dataclass
class RiskRule:
    """Compute when the expected error of the stretch, weighted by its effect, passes the tolerance.

    With a budget the tolerance is steered so that the number of computed steps comes out as asked.
    """

    schedule: Schedule
    tolerance: float
    budget: Budget | None = None
    risk: float = 0.0
    steps_computed: set[int] = field(default_factory=set)

    def should_compute(self, signals: Signals) -> bool:
        step_risk = self.schedule.step_weight(signals.step_index) * signals.expected_error
        if self.budget is not None:
            self.tolerance = self.steer(self.budget, signals)
        if self.risk + step_risk >= self.tolerance:
            return True
        self.risk += step_risk
        return False

    def computed(self, step_index: int) -> None:
        self.risk = 0.0
        self.steps_computed.add(step_index)

    def steer(self, budget: Budget, signals: Signals) -> float:
        """The tolerance that spends the computed steps that are left."""
        last = self.schedule.num_steps - 1
        weights = [self.schedule.step_weight(i) for i in range(signals.step_index, last)]
        steps_left = budget.computed_steps - len(self.steps_computed) - 1
        return budget.tolerance(weights, signals.expected_error / signals.lag, steps_left)


@dataclass
class FirstBlockRule:
    """First-block cache: compute when the probe has moved by more than a threshold since the last full pass.

    The rule of ParaAttention's first-block cache, with the L2 norm in place of the mean absolute value
    (https://github.com/chengzeyi/ParaAttention/tree/4de137c).
    """

    tolerance: float
    risk: float = 0.0

    def should_compute(self, signals: Signals) -> bool:
        self.risk = signals.drift
        return signals.drift >= self.tolerance

    def computed(self, step_index: int) -> None:
        self.risk = 0.0


@dataclass
class AccumulatedDriftRule:
    """Compute when the drifts of a stretch add up to more than a threshold.

    As TeaCache (arXiv 2411.19108) and DiCache (arXiv 2508.17356) add theirs.
    """

    tolerance: float
    risk: float = 0.0

    def should_compute(self, signals: Signals) -> bool:
        self.risk += signals.drift
        return self.risk >= self.tolerance

    def computed(self, step_index: int) -> None:
        self.risk = 0.0


@dataclass
class FixedIntervalRule:
    """Compute every n-th step, as FORA does (arXiv 2407.01425)."""

    tolerance: float
    risk: float = 0.0

    def should_compute(self, signals: Signals) -> bool:
        self.risk = float(signals.lag)
        return signals.lag >= self.tolerance

    def computed(self, step_index: int) -> None:
        self.risk = 0.0
