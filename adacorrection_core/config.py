"""What the artist asks for: one frozen config, one table of presets, errors that say what to do."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Literal

Mode = Literal["accelerated", "paper"]
Placement = Literal["auto", "device", "offload"]

MODES: tuple[Mode, ...] = ("accelerated", "paper")
PLACEMENTS: tuple[Placement, ...] = ("auto", "device", "offload")


class ConfigError(ValueError):
    """A setting outside what is supported. The message names the value, the range and what to do."""


@dataclass(frozen=True)
class Bound:
    """Allowed range of a numeric setting, and where the interface's slider steps."""

    low: float
    high: float
    step: float


BOUNDS: dict[str, Bound] = {
    "tolerance": Bound(0.0, 1.0, 0.001),
    "sensitivity": Bound(0.0, 100.0, 0.1),
    "spatial_weight": Bound(0.0, 1.0, 0.05),
    "probe_blocks": Bound(0, 8, 1),
    "warmup_steps": Bound(1, 20, 1),
    "max_consecutive": Bound(1, 50, 1),
    "start_percent": Bound(0.0, 1.0, 0.01),
    "end_percent": Bound(0.0, 1.0, 0.01),
    "target_speedup": Bound(1.0, 4.0, 0.05),
}


@dataclass(frozen=True)
class CorrectionConfig:
    """Settings of one AdaCorrection run. Immutable: a run makes its own state from it.

    Args:
        tolerance: bound on the risk of one stretch of corrected steps: how far the velocity is expected to
            turn up to the full passes on either side, over the way that the sampler goes (the formula is in
            `risk.py`). It ranks settings by the error of the result and is not that error. 0 switches the
            cache off: the output is then bit for bit the host's own. Higher is faster and further from full
            sampling.
        sensitivity: gamma of the paper. Accelerated mode multiplies the measured correction weight by it:
            below 1 it holds on to the cached velocity, above 1 it trusts the forecast more. Paper mode
            takes clip(gamma * S, 0, 1) for the weight.
        spatial_weight: lambda of the paper, 0 to 1: how much more the tokens with much structure
            count in the drift than flat ones.
        probe_blocks: transformer blocks that look at the drift where the noise level alone leaves the
            decision in doubt. More blocks see more and cost more; 0 never looks. Not asked with a target.
        warmup_steps: first steps of a run that are always computed.
        max_consecutive: longest stretch of corrected steps in a row.
        start_percent, end_percent: part of the sampling range in which steps may be corrected.
        target_speedup: ask for a fraction of 1 / target_speedup block executions; the tolerance is
            then laid out at each full pass, and `tolerance` is ignored.
        mode: "accelerated" (saves time) or "paper" (the published per-layer blend, for study).
        cache_placement: "device" keeps the anchors where the model computes, "offload" in RAM, "auto"
            in RAM where they would not fit beside the model.
        preset: where the setting comes from, for its name.
    """

    tolerance: float = 0.03
    sensitivity: float = 1.0
    spatial_weight: float = 0.5
    probe_blocks: int = 1
    warmup_steps: int = 1
    max_consecutive: int = 12
    start_percent: float = 0.0
    end_percent: float = 1.0
    target_speedup: float | None = None
    mode: Mode = "accelerated"
    cache_placement: Placement = "auto"
    preset: str = "custom"

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name in BOUNDS and (field.name, getattr(self, field.name)) != ("target_speedup", None):
                check_bound(field.name, getattr(self, field.name))
        check_choice("mode", self.mode, MODES)
        check_choice("cache_placement", self.cache_placement, PLACEMENTS)
        if self.start_percent >= self.end_percent:
            raise ConfigError(
                f"start_percent is {self.start_percent:g} and end_percent is {self.end_percent:g}: "
                "the start must lie before the end. Lower start_percent or raise end_percent."
            )

    @property
    def is_off(self) -> bool:
        """Whether this config can never correct a step, so that nothing need be recorded."""
        return self.mode == "accelerated" and self.tolerance == 0 and self.target_speedup is None

    @property
    def asked_probe_blocks(self) -> int:
        """Blocks that AdaCorrection's own rule may ask: with a target the noise level alone decides."""
        is_by_tolerance = self.mode == "accelerated" and self.target_speedup is None and self.tolerance > 0
        return self.probe_blocks if is_by_tolerance else 0

    @property
    def name(self) -> str:
        """One short string that identifies the setting in logs, file names and tables."""
        base = PRESETS.get(self.preset, CorrectionConfig())
        changed = [
            f"{field.name}={getattr(self, field.name)}"
            for field in fields(self)
            if field.name != "preset" and getattr(self, field.name) != getattr(base, field.name)
        ]
        return ",".join([self.preset, *changed])

    @classmethod
    def from_preset(cls, preset: str, **changes: object) -> CorrectionConfig:
        """The config of a preset: "quality", "balanced" or "fast".

        Raises:
            ConfigError: unknown preset, or a change out of range.
        """
        key = preset.strip().lower()
        if key not in PRESETS:
            raise ConfigError(f"There is no preset {preset!r}. Choose one of: {', '.join(PRESETS)}.")
        return replace(PRESETS[key], **changes)  # type: ignore[arg-type]


def check_bound(name: str, value: object) -> None:
    """Raise ConfigError where a value is no finite number or out of its range."""
    bound = BOUNDS[name]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    if not bound.low <= number <= bound.high:
        raise ConfigError(f"{name} is {value!r}; it must be a number from {bound.low:g} to {bound.high:g}.")
    if isinstance(bound.step, int) and not number.is_integer():
        raise ConfigError(f"{name} is {value!r}; it must be a whole number.")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ConfigError where a choice is not one of those offered."""
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}; choose one of: {', '.join(choices)}.")


USUAL_STEPS = 28  # what a preset costs is measured with so many (README)

# By target: the speed is known before the run, and at equal work it keeps as near or nearer than a tolerance
# (bench/RESULTS.md, "At equal block executions").
PRESETS: dict[str, CorrectionConfig] = {
    "quality": CorrectionConfig(target_speedup=1.5, preset="quality"),
    "balanced": CorrectionConfig(target_speedup=2.0, preset="balanced"),
    "fast": CorrectionConfig(target_speedup=3.0, preset="fast"),
}
