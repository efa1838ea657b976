"""What a setting can do to a run: in words, before it begins, with the better option where there is one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .budget import Budget
from .config import CorrectionConfig
from .risk import Schedule
from .sentences import Sentence, say

LITTLE = 0.2  # a run that can save no more than this share of its blocks is told what would save more
USUAL_TIME_RATIO = 12.0  # of error over drift, in most of a run; more than that it seldom is
FEWEST_STEPS = 12  # with fewer, little is left between warm-up and last step


@dataclass(frozen=True)
class Outlook:
    """The bounds of a run.

    Attributes:
        config: the setting.
        schedule: noise levels of the run.
    """

    config: CorrectionConfig
    schedule: Schedule

    @property
    def eligible(self) -> list[int]:
        """Steps that may be corrected, from 0."""
        return self.schedule.eligible_from(0)

    @property
    def most_corrected(self) -> int:
        """Steps that can be corrected at most: a long stretch is broken off by a computed step."""
        eligible = len(self.eligible)
        return eligible - eligible // (self.config.max_consecutive + 1)

    @property
    def most_saved(self) -> float:
        """Share of the block executions that can be left out at most, 0 to 1. A look at the probe costs."""
        steps = self.schedule.num_steps
        return self.most_corrected / steps if steps else 0.0

    @property
    def expected_saved(self) -> float:
        """Share of the block executions that a tolerance is expected to leave out, 0 to 1.

        By a usual error for the drift.
        """
        if self.config.target_speedup is not None or not self.schedule.num_steps:
            return self.most_saved
        layout = Budget(self.schedule.num_steps, self.config.max_consecutive)
        at_ratio_one = self.config.tolerance / USUAL_TIME_RATIO
        computed = layout.needed(self.schedule, 0, self.schedule.turned[0], at_ratio_one)
        return 1 - computed / self.schedule.num_steps

    @property
    def is_poor(self) -> bool:
        """Whether the setting leaves next to nothing to save; `describe` says what would."""
        is_plain = self.config.is_off or self.config.mode == "paper"
        return is_plain or min(self.most_saved, self.expected_saved) < LITTLE

    def describe(self) -> str:
        """One line for the artist."""
        return " ".join(self.sentences())

    def sentences(self) -> list[Sentence]:
        """The sentences of that line."""
        if self.config.is_off:
            return [say("off")]
        if self.config.mode == "paper":
            return [say("paper")]
        return [self.bounds(), *self.target(), *([self.advice()] if self.is_poor else [])]

    def bounds(self) -> Sentence:
        """Which steps may be corrected."""
        steps, eligible = self.schedule.num_steps, self.eligible
        if not eligible:
            return say("noStep", steps=steps)
        first, last, saved = eligible[0] + 1, eligible[-1] + 1, f"{self.most_saved:.0%}"
        if first == last:
            return say("oneStep", first=first, steps=steps, saved=saved)
        if self.config.target_speedup is not None:
            return say("range", first=first, last=last, steps=steps)
        return say("steps", first=first, last=last, steps=steps, most=self.most_corrected, saved=saved)

    def target(self) -> list[Sentence]:
        """What a speed-up that was asked for comes to."""
        if self.config.target_speedup is None or not self.schedule.num_steps:
            return []
        speedup = self.config.target_speedup
        budget = Budget.for_speedup(speedup, self.schedule, self.config.max_consecutive)
        return [budget.note or say("target", computed=budget.computed_steps, speedup=f"{speedup:g}")]

    def advice(self) -> Sentence:
        """What would save more: the change of one setting that helps most, or more steps."""
        if self.most_saved >= LITTLE:
            return say("lowTolerance", tolerance=f"{self.config.tolerance:g}")
        before, after = self.schedule.warmup_steps, max(self.schedule.num_steps // 4, 1)
        whole = replace(self.schedule, first_sigma=math.inf, last_sigma=0.0)
        options = [
            (replace(self.schedule, warmup_steps=after), say("betterWarmup", before=before, after=after)),
            (whole, say("betterRange")),
        ]
        saved = [replace(self, schedule=schedule).most_saved for schedule, _ in options]
        if max(saved) >= max(LITTLE, 1.5 * self.most_saved):
            return options[saved.index(max(saved))][1]
        return say("betterSteps", steps=FEWEST_STEPS)
