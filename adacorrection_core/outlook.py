"""What a setting can do to a run: in words, before it begins, with the better option where there is one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .config import CorrectionConfig
from .risk import Budget, Schedule

LITTLE = 0.2  # a run that can save no more than this share of its blocks is told what would save more
FEWEST_STEPS = 12  # with fewer, little is left between warm-up and last step


@dataclass(frozen=True)
class Outlook:
    """The bounds of a run.

    Attributes:
        config: the setting.
        schedule: noise levels of the run.
        probe_share: part of a full pass that a probe costs.
    """

    config: CorrectionConfig
    schedule: Schedule
    probe_share: float

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
    def is_poor(self) -> bool:
        """Whether the setting leaves next to nothing to save; `describe` says what would."""
        return self.config.is_off or self.config.mode == "paper" or self.most_saved < LITTLE

    def describe(self) -> str:
        """One line for the artist."""
        if self.config.is_off:
            return "Tolerance 0: every step is computed, exactly as without this node."
        if self.config.mode == "paper":
            return "Paper mode computes every block and saves no time. Mode accelerated does."
        if self.is_poor:
            return f"{self.bounds()} {self.advice()}"
        return f"{self.bounds()} {self.target()}".rstrip()

    def bounds(self) -> str:
        """Which steps may be corrected."""
        steps, eligible = self.schedule.num_steps, self.eligible
        if not eligible:
            return f"None of the {steps} steps can be corrected."
        first, last = eligible[0] + 1, eligible[-1] + 1
        span = f"Step {first}" if first == last else f"Steps {first} to {last}"
        return (
            f"{span} of {steps} can be corrected, at most {self.most_corrected}: "
            f"up to {self.most_saved:.0%} of the blocks saved."
        )

    def target(self) -> str:
        """What a speed-up that was asked for comes to."""
        if self.config.target_speedup is None:
            return ""
        speedup = self.config.target_speedup
        budget = Budget.for_speedup(speedup, self.schedule, self.probe_share, self.config.max_consecutive)
        return budget.note or f"About {budget.computed_steps} are computed for {speedup:g}x."

    def advice(self) -> str:
        """What would save more: the change of one setting that helps most, or more steps."""
        warmup = max(self.schedule.num_steps // 4, 1)
        whole = replace(self.schedule, first_sigma=math.inf, last_sigma=0.0)
        options = {
            f"lower warmup_steps from {self.schedule.warmup_steps} to {warmup} (preset Custom)": replace(
                self, schedule=replace(self.schedule, warmup_steps=warmup)
            ),
            "lower start_percent or raise end_percent": replace(self, schedule=whole),
        }
        best = max(options, key=lambda option: options[option].most_saved)
        if options[best].most_saved >= max(LITTLE, 1.5 * self.most_saved):
            return f"Better: {best}."
        return f"Better: sample with {FEWEST_STEPS} steps or more."
