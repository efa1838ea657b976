"""Decision rules: whether a step is computed, from what the noise level and the probe show.

`RiskRule` is AdaCorrection's own; those of other caches are in base_rules.py.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from .risk import Budget, Schedule


@dataclass(frozen=True)
class Signals:
    """What a rule may look at before a step.

    Attributes:
        step_index: sampler step, from 0.
        drift: relative movement of the probe since the last full pass, or before the probe has been looked
            at, how far the velocity should have turned.
        expected_error: relative error that a corrected step is expected to make.
        lag: evaluations since the last full pass, 1 or more.
        is_probed: whether the probe has been looked at.
        can_probe: whether it can be.
    """

    step_index: int
    drift: float
    expected_error: float
    lag: int
    is_probed: bool = True
    can_probe: bool = True

    @property
    def should_probe_first(self) -> bool:
        """Whether a rule that goes by the probe has to ask for it."""
        return self.can_probe and not self.is_probed


class Rule(Protocol):
    """A decision rule of one run.

    Attributes:
        risk: what has accumulated since the last computed step, in the unit of the tolerance.
        tolerance: the bound that the risk is held against now.
    """

    risk: float
    tolerance: float

    def should_compute(self, signals: Signals) -> bool | None:
        """Whether to compute; where not, the step counts as corrected. None asks for the probe."""
        ...

    def computed(self, step_index: int) -> None:
        """Take note that a step was computed, for whatever reason."""
        ...


@runtime_checkable
class StepwiseRule(Protocol):
    """A rule whose drift is the probe's movement since the step before, not since the last full pass."""

    is_stepwise: bool


@runtime_checkable
class LatentRule(Protocol):
    """A rule that also looks at what the model is given, before each call."""

    def look(self, latent: Tensor, sigma: Tensor | float) -> Tensor | None:
        """Numbers of any shape that `saw` is to have; None where there is nothing to compare with yet.

        Args:
            latent: (B, ...) input of the model; only what is made from it is kept.
            sigma: noise level, a number or a tensor with it in first place.
        """
        ...

    def saw(self, numbers: list[float]) -> None:
        """Take in what `look` returned, before the decision is asked for."""
        ...


@dataclass(frozen=True)
class FullPass:
    """How the guided velocity has moved between two full passes.

    Attributes:
        norm, norm_before: its norm now and at the full pass before.
        moved: norm of the difference.
        lag: evaluations between them, 1 or more.
    """

    norm: float
    norm_before: float
    moved: float
    lag: int


@runtime_checkable
class OutputRule(Protocol):
    """A rule that also goes by what full passes return."""

    def measured(self, full_pass: FullPass) -> None:
        """Take in a full pass that had one before it."""
        ...


# Between these shares of the tolerance the probe is asked (bench/RESULTS.md, "When the probe pays").
IN_DOUBT = (0.7, 1.2)


@dataclass
class RiskRule:
    """Compute when the expected error of the stretch, weighted by its effect, passes the tolerance.

    The noise level alone tells most of it. Where that leaves the decision in doubt, the probe is asked.
    With a budget the tolerance is steered so that the number of computed steps comes out as asked. Some
    samplers evaluate the model several times a step: each evaluation then counts as its share of a step.
    """

    schedule: Schedule
    tolerance: float
    budget: Budget | None = None
    risk: float = 0.0
    num_computed: int = 0
    evaluations: Counter[int] = field(default_factory=Counter)

    def should_compute(self, signals: Signals) -> bool | None:
        step_risk = self.schedule.step_weight(signals.step_index) * signals.expected_error
        if self.budget is not None:
            self.tolerance = self.steer(self.budget, signals)
        low, high = (share * self.tolerance for share in IN_DOUBT)
        if signals.should_probe_first and low <= self.risk + step_risk < high:
            return None
        if self.risk + step_risk >= self.tolerance:
            return True
        self.risk += step_risk
        self.evaluations[signals.step_index] += 1
        return False

    def computed(self, step_index: int) -> None:
        self.risk = 0.0
        self.num_computed += 1
        self.evaluations[step_index] += 1

    def evaluations_per_step(self, step_index: int) -> float:
        """Mean over the steps before this one, at least 1."""
        done = sum(count for step, count in self.evaluations.items() if step < step_index)
        return max(done / step_index, 1.0) if step_index else 1.0

    def steer(self, budget: Budget, signals: Signals) -> float:
        """The tolerance that spends the computed steps that are left."""
        rates = self.schedule.growth_rates(signals.step_index, signals.expected_error / signals.lag)
        steps_computed = self.num_computed / self.evaluations_per_step(signals.step_index)
        steps_ahead = self.schedule.num_steps - signals.step_index
        forced = steps_ahead - len(rates)
        steps_left = budget.computed_steps - steps_computed - forced
        return budget.tolerance(rates, steps_left)
