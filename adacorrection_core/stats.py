"""What happened in a run: one record a step and branch, and the numbers a person asks for. No tensors."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum


class Outcome(str, Enum):
    """What was done at a step: all blocks, the velocity forecast, or the cached one held."""

    COMPUTE = "computed"
    CORRECT = "corrected"
    HOLD = "held"


class Reason(str, Enum):
    """Why a step was computed."""

    OFF = "cache switched off"
    WARMUP = "warm-up"
    LAST_STEP = "last step"
    OUTSIDE = "outside start and end"
    NEW_BRANCH = "nothing remembered of this branch"
    SIGMA_ROSE = "noise level went up"
    RISK = "risk above the tolerance"
    MAX_CONSECUTIVE = "longest stretch reached"
    NOT_FINITE = "NaN or infinity"
    UNKNOWN_MODEL = "the run used another model, of an unknown architecture"
    BLOCKS_CHANGED = "the number of blocks has changed since the node ran"
    PAPER = "paper mode computes every block"
    OWN_STATE = "the model keeps state of its own over these calls"
    NO_MEMORY = "memory for the cache ran out"
    OTHER_CACHE = "another cache is at work on this model"
    TRAINING = "gradients were asked for, as in training"


# What to do where a reason left nothing to reuse.
REMEDIES = {
    Reason.WARMUP.value: "Take more steps, or lower warmup_steps (preset Custom).",
    Reason.RISK.value: "Raise tolerance, or take more steps.",
    Reason.OUTSIDE.value: "Lower start_percent or raise end_percent.",
}


@dataclass
class StepRecord:
    """One branch at one evaluation of the model.

    Attributes:
        step_index: sampler step, from 0.
        evaluation: evaluation of the model, from 0; samplers may evaluate twice a step.
        sigma: noise level.
        branch: "cond", "uncond" or another name of the branch.
        outcome: what was done.
        reason: why it was computed; None where it was not.
        drift: relative movement of the probe since the last full pass, or, where the noise level was enough
            to decide, how far the velocity should have turned; None where nothing was to be decided.
        expected_error: relative error expected of a corrected step.
        measured_error: relative error that the forecast would have made, measured at full passes.
        risk: of the stretch of corrected steps, in the unit of the tolerance.
        tolerance: the bound that the risk was held against.
        weight: correction weight.
        blocks_run: transformer blocks run for this branch: all, the probe's, or none.
        blocks_total: blocks of the model.
        seconds: time from the call's decision to the next one's, shared among its branches.
    """

    step_index: int
    evaluation: int
    sigma: float
    branch: str
    outcome: Outcome = Outcome.COMPUTE
    reason: Reason | None = None
    drift: float | None = None
    expected_error: float | None = None
    measured_error: float | None = None
    risk: float = 0.0
    tolerance: float = 0.0
    weight: float | None = None
    blocks_run: int = 0
    blocks_total: int = 0
    seconds: float = 0.0


@dataclass
class RunReport:
    """The record of one sampling run.

    Attributes:
        config_name: canonical name of the setting.
        family: model family and its blocks, in words.
        num_steps: steps of the sampler.
        records: one a step and branch, in order.
        seconds: measured time of the whole run.
        bytes_held: most bytes that the anchors and the corrector held at one time.
        bytes_expected: bytes that they were expected to hold before the run; 0 where nothing was known.
        is_offloaded: whether the anchors were kept in RAM.
        has_spilled: whether some of them were, since more came than the device had room for.
        resets: how often a branch started afresh because of NaN or infinity.
        note: what the artist should know of the setting; empty where there is nothing.
        is_finished: False where the run was interrupted or failed.
        groups: name and number of the model's blocks, in the order in which they run.
    """

    config_name: str
    family: str
    num_steps: int
    records: list[StepRecord] = field(default_factory=list)
    seconds: float = 0.0
    bytes_held: int = 0
    bytes_expected: int = 0
    is_offloaded: bool = False
    has_spilled: bool = False
    resets: int = 0
    note: str = ""
    is_finished: bool = False
    groups: tuple[tuple[str, int], ...] = ()

    @property
    def blocks_run(self) -> int:
        """Block executions of the run."""
        return sum(record.blocks_run for record in self.records)

    @property
    def blocks_total(self) -> int:
        """Block executions of the same calls in full."""
        return sum(record.blocks_total for record in self.records)

    @property
    def block_fraction(self) -> float:
        """Block executions over those of the full run, 1 where nothing ran."""
        return self.blocks_run / self.blocks_total if self.blocks_total else 1.0

    @property
    def reused(self) -> list[StepRecord]:
        """Records of steps that were not computed."""
        return [record for record in self.records if record.outcome is not Outcome.COMPUTE]

    @property
    def hit_rate(self) -> float:
        """Steps not computed over all steps, counted by branch; 0 where nothing ran."""
        return len(self.reused) / len(self.records) if self.records else 0.0

    @property
    def risk(self) -> float:
        """Root of the summed squares of the stretches' risks; it ranks runs by their error, and is none."""
        total, last = 0.0, 0.0
        for record in self.records:
            if record.outcome is Outcome.COMPUTE:
                total, last = total + last**2, 0.0
            else:
                last = record.risk
        return math.sqrt(total + last**2)

    @property
    def reasons(self) -> dict[str, int]:
        """How often each reason made a step computed."""
        return dict(Counter(record.reason.value for record in self.records if record.reason is not None))

    def mean_seconds(self, outcomes: Sequence[Outcome]) -> float | None:
        """Mean measured seconds of the calls with one of these outcomes; None where there were none."""
        seconds = [record.seconds for record in self.records if record.outcome in outcomes]
        return sum(seconds) / len(seconds) if seconds else None

    @property
    def seconds_saved(self) -> float:
        """Seconds saved in the model's calls: mean of the computed calls less each of the others."""
        full = self.mean_seconds((Outcome.COMPUTE,))
        return sum(full - record.seconds for record in self.reused) if full is not None else 0.0

    def summary(self) -> str:
        """A few lines that a person reads in ten seconds."""
        lines = [
            f"AdaCorrection {self.config_name} on {self.family}",
            f"{self.num_steps} steps: {self.done()}",
            f"{self.block_fraction:.0%} of the block executions, hit rate {self.hit_rate:.0%}",
            f"{self.seconds:.2f} s, about {self.seconds_saved:.2f} s saved, "
            f"cache {in_words(self.bytes_held)}{self.where()}",
        ]
        if self.note:
            lines.append(self.note)
        if not self.reused:
            lines.append(f"Nothing was reused: {self.why_nothing()}")
        if self.resets:
            lines.append(f"NaN or infinity in the model's activations: {self.resets} fresh starts")
        if not self.is_finished:
            lines.append("The run did not finish.")
        return "\n".join(lines)

    def where(self) -> str:
        """Where the anchors were kept, if not all on the device."""
        if self.is_offloaded:
            return " in RAM"
        return " partly in RAM" if self.has_spilled else ""

    def counts(self) -> tuple[dict[Outcome, int], bool]:
        """How often each outcome came about, and whether that is counted by steps and not by branch.

        It is where every branch has one evaluation a step, and where the counts allow it.
        """
        counts = Counter(record.outcome for record in self.records)
        branches = len({record.branch for record in self.records})
        is_even = len(self.records) == self.num_steps * branches
        is_by_step = is_even and not any(count % branches for count in counts.values())
        share = branches if is_by_step and branches else 1
        return {outcome: counts[outcome] // share for outcome in Outcome}, is_by_step

    def done(self) -> str:
        """What was done, in words."""
        counts, is_by_step = self.counts()
        done = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items() if count)
        return f"{done}{'' if is_by_step else ' (counted by branch)'}" if done else "no model call"

    def why_nothing(self) -> str:
        """The reasons why steps were computed, most frequent first, and what to do."""
        _, is_by_step = self.counts()
        share = len({record.branch for record in self.records}) if is_by_step else 1
        ranked = sorted(self.reasons.items(), key=lambda item: -item[1])
        if not ranked:
            return "the model was never called"
        told = ", ".join(f"{reason} ({math.ceil(count / share)})" for reason, count in ranked)
        remedy = next((f". {REMEDIES[reason]}" for reason, _ in ranked if reason in REMEDIES), "")
        return told + remedy

    def to_json(self) -> str:
        """The whole record as JSON."""
        summary: dict[str, object] = {
            "block_fraction": self.block_fraction,
            "hit_rate": self.hit_rate,
            "reasons": self.reasons,
            "risk": self.risk,
        }
        return json.dumps(finite({**asdict(self), **summary}))


def in_words(size: int) -> str:
    """Bytes as "0.25 MB", "67 MB" or "2.3 GB"."""
    number, unit = (size / 2**30, "GB") if size >= 2**30 else (size / 2**20, "MB")
    return f"{number:.2g} {unit}" if number < 10 else f"{number:.0f} {unit}"


def finite(value: object) -> object:
    """The same with None for what JSON has no number for: a budget that is spent has no tolerance left."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
