"""Decision rules of other caches, a few lines each, so that each can run with and without the correction."""

from __future__ import annotations

from dataclasses import dataclass

from .rules import Signals


@dataclass
class FirstBlockRule:
    """First-block cache: compute when the probe has moved by more than a threshold since the last full pass.

    The rule of ParaAttention's first-block cache, with the L2 norm in place of the mean absolute value
    (https://github.com/chengzeyi/ParaAttention/tree/4de137c).
    """

    tolerance: float
    risk: float = 0.0

    def should_compute(self, signals: Signals) -> bool | None:
        if signals.should_probe_first:
            return None
        self.risk = signals.drift
        return signals.drift >= self.tolerance

    def computed(self, step_index: int) -> None:
        self.risk = 0.0


@dataclass
class FixedIntervalRule:
    """Compute every n-th evaluation (FORA, https://github.com/prathebaselva/FORA).

    Attributes:
        interval: n.
    """

    interval: int
    risk: float = 0.0
    tolerance: float = 1.0

    def should_compute(self, signals: Signals) -> bool | None:
        self.risk = signals.lag / self.interval
        return signals.lag >= self.interval

    def computed(self, step_index: int) -> None:
        self.risk = 0.0


@dataclass
class AccumulatedDriftRule:
    """Compute when the probe's movement, added up over the stretch, passes a threshold.

    How TeaCache and DiCache add up their distances (https://github.com/ali-vilab/TeaCache), without the
    polynomial that TeaCache fits to each model beforehand.
    """

    tolerance: float
    risk: float = 0.0

    def should_compute(self, signals: Signals) -> bool | None:
        if signals.should_probe_first:
            return None
        self.risk += signals.drift
        return self.risk >= self.tolerance

    def computed(self, step_index: int) -> None:
        self.risk = 0.0
