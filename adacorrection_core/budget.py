"""A given number of computed steps, laid out over the run so that no stretch risks more than it must."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .config import USUAL_STEPS
from .risk import Schedule, Stretch
from .sentences import Sentence, say

BISECTIONS = 24  # the tolerance to a ten-millionth of its range; all take 1 ms at 50 steps


@dataclass(frozen=True)
class Budget:
    """A given number of computed steps, laid out over the run.

    Attributes:
        computed_steps: steps to compute in all, those that are always computed included.
        max_consecutive: longest stretch of corrected steps.
        note: why that is more than was asked for, or what it costs with so few steps; empty where there is
            nothing to say.
        is_stochastic: whether the sampler adds noise of its own, so that nothing is settled.
    """

    computed_steps: int
    max_consecutive: int
    note: Sentence = Sentence("")
    is_stochastic: bool = False

    @classmethod
    def for_speedup(cls, speedup: float, schedule: Schedule, max_consecutive: int) -> Budget:
        """The budget whose block executions come nearest to 1 / speedup of the full run.

        Args:
            speedup: asked for, 1 or more.
            schedule: noise levels of the run.
            max_consecutive: longest stretch of corrected steps.
        """
        if not schedule.num_steps:  # a sampler may evaluate the model at the only level that there is
            return cls(0, max_consecutive)
        steps, wanted = schedule.num_steps, round(schedule.num_steps / speedup)
        eligible = len(schedule.eligible_from(0))
        least = steps - eligible + eligible // (max_consecutive + 1)
        budget = cls(min(max(wanted, least), steps), max_consecutive)
        asked, most = f"{speedup:g}", f"{steps / least:.3g}"
        too_high = say("targetTooHigh", speedup=asked, reachable=most, steps=steps)
        note = budget.few_steps(speedup, schedule) or (too_high if wanted < least else budget.note)
        return replace(budget, note=note)

    def few_steps(self, speedup: float, schedule: Schedule) -> Sentence:
        """What to say where a run is so short that the speed-up costs more than it usually does."""
        steps = schedule.num_steps
        kept = self.kept(speedup, schedule) if steps <= USUAL_STEPS // 2 else 0
        if kept <= self.computed_steps:
            return Sentence("")
        reached = f"{steps / self.computed_steps:.2g}"
        told = {"reached": reached, "steps": steps, "speedup": f"{speedup:g}", "usual": USUAL_STEPS}
        return (
            say("fewSteps", kept=f"{steps / kept:.2g}", **told)
            if kept < steps
            else say("fewStepsAll", **told)
        )

    def kept(self, speedup: float, schedule: Schedule) -> int:
        """Computed steps, these or more, that stay as near to the full run as the speed-up usually does.

        Near is told by the risk that the layout leaves. From 8 to 50 steps that agrees with what was measured
        on trained models (bench/RESULTS.md, "Few steps").
        """
        usual = Schedule(
            tuple(1 - i / USUAL_STEPS for i in range(USUAL_STEPS + 1)), warmup_steps=schedule.warmup_steps
        )
        bound = replace(self, computed_steps=round(USUAL_STEPS / speedup)).risk(usual)
        counts = range(self.computed_steps, schedule.num_steps)
        near = (count for count in counts if replace(self, computed_steps=count).risk(schedule) <= bound)
        return next(near, schedule.num_steps)

    def risk(self, schedule: Schedule) -> float:
        """Root of the summed squares of the stretches' risks, at a ratio of one, as `RunReport.risk`."""
        anchor = schedule.turned[0]
        tolerance = self.tolerance(schedule, 0, anchor, self.computed_steps)
        return math.hypot(*self.stretches(schedule, 0, anchor, tolerance))

    def tolerance(self, schedule: Schedule, step_index: int, anchor: float, steps_left: float) -> float:
        """The tolerance, at a ratio of one, at which the steps to come need just the computed steps left.

        Args:
            schedule: noise levels of the run.
            step_index: the next step.
            anchor: place of the last full pass, as in `Schedule.turned`.
            steps_left: computed steps left, the last step included.

        Returns:
            0 where all steps can be computed, inf where none can.
        """
        if steps_left >= schedule.num_steps - step_index:
            return 0.0
        low, high = 0.0, 1.0
        if self.needed(schedule, step_index, anchor, high) > steps_left:
            return math.inf
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            if self.needed(schedule, step_index, anchor, middle) > steps_left:
                low = middle
            else:
                high = middle
        return high

    def needed(self, schedule: Schedule, step_index: int, anchor: float, tolerance: float) -> int:
        """Computed steps from a step on, if each stretch is bounded by a tolerance."""
        return len(self.stretches(schedule, step_index, anchor, tolerance))

    def stretches(self, schedule: Schedule, step_index: int, anchor: float, tolerance: float) -> list[float]:
        """Risk of the stretch before each computed step, from a step on, each bounded by a tolerance."""
        places, shares, risks, lag, stretch = schedule.turned, schedule.shares, [], 1, Stretch()
        for step in range(step_index, schedule.num_steps):
            if lag <= self.max_consecutive and schedule.eligible[step]:
                behind = max(anchor - places[step], 0.0)
                longer = stretch.extended(schedule.lengths[step], behind, places[step], shares[step])
                if longer.risk(places[step + 1], shares[step + 1], self.is_stochastic) < tolerance:
                    stretch, lag = longer, lag + 1
                    continue
            risks.append(stretch.risk(places[step], shares[step], self.is_stochastic))
            lag, stretch, anchor = 1, Stretch(), places[step]
        return risks
