"""The ways of sampling that the demo compares: in full, fewer steps, a plain cache, AdaCorrection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adacorrection_core.base_rules import FirstBlockRule
from adacorrection_core.config import CorrectionConfig
from adacorrection_core.risk import Schedule
from adacorrection_core.rules import Rule


@dataclass(frozen=True)
class Method:
    """One way of sampling.

    Attributes:
        name: what it is.
        detail: its setting, in a word or two.
        group: preset at whose compute it runs; methods of one group are compared.
        num_steps: steps of the sampler; None for as many as the full run.
        config: setting of the cache; None runs the model as it is.
        make_rule: decision rule of the cache, AdaCorrection's own where None.
        is_correcting: False holds the cached velocity, as a plain cache does.
    """

    name: str
    detail: str
    group: str = ""
    num_steps: int | None = None
    config: CorrectionConfig | None = None
    make_rule: Callable[[Schedule], Rule] | None = None
    is_correcting: bool = True

    @property
    def label(self) -> str:
        """Name and setting in one line."""
        return f"{self.name}, {self.detail}"


def full(num_steps: int) -> Method:
    """Every block at every step: what the others are measured against."""
    return Method("Full", f"{num_steps} steps")


def fewer_steps(num_steps: int, group: str = "") -> Method:
    """The same sampler with fewer steps, what an artist can always do instead."""
    return Method("Fewer steps", f"{num_steps} steps", group, num_steps=num_steps)


def first_block_cache(threshold: float, group: str = "") -> Method:
    """A plain first-block cache: same hooks, same warm-up, no correction, no longest stretch."""
    return Method(
        "First-block cache",
        f"threshold {threshold:.3f}",
        group,
        config=CorrectionConfig(max_consecutive=50),
        make_rule=lambda schedule: FirstBlockRule(threshold),
        is_correcting=False,
    )


def adaptive(preset: str) -> Method:
    """AdaCorrection at a preset."""
    return Method("AdaCorrection", preset, preset, config=CorrectionConfig.from_preset(preset))


def adaptive_target(speedup: float) -> Method:
    """AdaCorrection with 1 / speedup of the block executions asked for."""
    config = CorrectionConfig(target_speedup=speedup)
    return Method("AdaCorrection", f"target {speedup:g}x", f"target {speedup:g}x", config=config)
