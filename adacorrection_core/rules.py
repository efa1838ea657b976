"""Decision rules: whether a step is computed, from what the noise level and the probe show.

`RiskRule` is AdaCorrection's own; those of other caches are in base_rules.py.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from torch import Tensor

from .budget import Budget
from .risk import Schedule, Stretch


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
        turn: how far the velocity should have turned since the last full pass, as the noise level tells it.
        ratio: relative error over turn, as measured so far.
        is_stochastic: whether the sampler adds noise of its own, as far as has been seen.
    """

    step_index: int
    drift: float
    expected_error: float
    lag: int
    is_probed: bool = True
    can_probe: bool = True
    turn: float = 0.0
    ratio: float = 1.0
    is_stochastic: bool = False

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
LEAST_RATIO = 1e-6  # a velocity that does not turn at all still is laid out over the run


@dataclass
class RiskRule:
    """Compute when the risk of the stretch (risk.py) passes the tolerance.

    The noise level alone tells most of it. Where that leaves the decision in doubt, the probe is asked, and
    what it says of the error made so far holds for the stretch. With a budget the noise level alone decides:
    after each full pass the tolerance is laid out anew so that the number of computed steps comes out as
    asked. Some samplers evaluate the model several times a step: to the budget each is its share of a step.
    """

    schedule: Schedule
    tolerance: float
    budget: Budget | None = None
    risk: float = 0.0
    num_computed: int = 0
    evaluations: Counter[int] = field(default_factory=Counter)
    stretch: Stretch = field(default_factory=Stretch)
    seen: float = 1.0  # error that the probe has seen over the error that the noise level led to expect
    is_laid_out: bool = False

    def should_compute(self, signals: Signals) -> bool | None:
        schedule, step, ratio = self.schedule, signals.step_index, max(signals.ratio, LEAST_RATIO)
        if self.budget is not None and not self.is_laid_out:
            self.tolerance = ratio * self.laid_out(self.budget, signals)
        if signals.is_probed and signals.turn > 0:
            self.seen = signals.expected_error / (ratio * signals.turn)
        places, shares = schedule.turned, schedule.shares
        longer = self.stretch.extended(schedule.step_length(step), signals.turn, places[step], shares[step])
        risk = self.seen * ratio * longer.risk(places[step + 1], shares[step + 1], signals.is_stochastic)
        if self.budget is None and signals.should_probe_first and self.is_in_doubt(risk):
            return None
        if not risk < self.tolerance:  # nor where it is no number
            return True
        self.risk, self.stretch = risk, longer
        self.evaluations[signals.step_index] += 1
        return False

    def is_in_doubt(self, risk: float) -> bool:
        """Whether a risk is so near to the tolerance that the probe should be asked."""
        return IN_DOUBT[0] * self.tolerance <= risk < IN_DOUBT[1] * self.tolerance

    def computed(self, step_index: int) -> None:
        self.risk, self.stretch, self.seen = 0.0, Stretch(), 1.0
        self.num_computed += 1
        self.evaluations[step_index] += 1
        self.is_laid_out = False

    def laid_out(self, budget: Budget, signals: Signals) -> float:
        """The tolerance, at a ratio of one, that spends the computed steps that are left."""
        step, self.is_laid_out = signals.step_index, True
        steps_computed = self.num_computed / self.evaluations_per_step(step)
        anchor = self.schedule.turned[step] + signals.turn
        budget = replace(budget, is_stochastic=signals.is_stochastic)
        return budget.tolerance(self.schedule, step, anchor, budget.computed_steps - steps_computed)

    def evaluations_per_step(self, step_index: int) -> float:
        """Mean over the steps before this one, at least 1."""
        done = sum(count for step, count in self.evaluations.items() if step < step_index)
        return max(done / step_index, 1.0) if step_index else 1.0
