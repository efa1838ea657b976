"""A given number of computed steps, laid out over the run so that no stretch risks more than it must."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .risk import Schedule
from .sentences import Sentence, say

BISECTIONS = 24  # the tolerance to a ten-millionth of its range; each costs a fifth of a microsecond a step


@dataclass(frozen=True)
class Budget:
    """A given number of computed steps, laid out over the run.

    Attributes:
        computed_steps: steps to compute in all, those that are always computed included.
        max_consecutive: longest stretch of corrected steps.
        note: why that is more than was asked for; empty where it is not.
    """

    computed_steps: int
    max_consecutive: int
    note: Sentence = Sentence("")

    @classmethod
    def for_speedup(cls, speedup: float, schedule: Schedule, max_consecutive: int) -> Budget:
        """The budget whose block executions come nearest to 1 / speedup of the full run.

        Args:
            speedup: asked for, 1 or more.
            schedule: noise levels of the run.
            max_consecutive: longest stretch of corrected steps.
        """
        steps, wanted = schedule.num_steps, round(schedule.num_steps / speedup)
        eligible = len(schedule.eligible_from(0))
        least = steps - eligible + eligible // (max_consecutive + 1)
        if wanted >= least:
            return cls(min(wanted, steps), max_consecutive)
        asked, most = f"{speedup:g}", f"{steps / least:.2f}"
        return cls(least, max_consecutive, say("targetTooHigh", speedup=asked, reachable=most, steps=steps))

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
        """Computed steps from a step on, if each stretch is bounded by a tolerance.

        The sums are those of `Stretch`, as bare numbers: this is the inner loop of the bisection.
        """
        places, lengths, eligible = schedule.turned, schedule.lengths, schedule.eligible
        count, lag, area, moment, bound = 0, 1, 0.0, 0.0, tolerance**2
        for step in range(step_index, schedule.num_steps):
            place = places[step]
            part = lengths[step] * max(anchor - place, 0.0)
            longer_area, longer_moment = area + part, moment + part * place
            is_short = lag <= self.max_consecutive and longer_moment - places[step + 1] * longer_area < bound
            if is_short and eligible[step]:
                area, moment, lag = longer_area, longer_moment, lag + 1
            else:
                count, lag, area, moment, anchor = count + 1, 1, 0.0, 0.0, place
        return count
