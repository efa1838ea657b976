"""Decision rules of other caches, a few lines each, so that each can run with and without the correction.

What each cache reuses is left out: here it is always the cached velocity. Distances are L2 norms in place of
mean absolute values, from the numbers that the package takes anyway where that will do. Nothing is fitted to
a model beforehand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from .rules import FullPass, Signals


@dataclass
class StretchRule:
    """What all have: the risk of the stretch of corrected steps, which ends at a computed one."""

    risk: float = field(default=0.0, init=False)

    def computed(self, step_index: int) -> None:
        self.risk = 0.0


@dataclass
class FixedIntervalRule(StretchRule):
    """Compute every n-th evaluation (FORA, https://github.com/prathebaselva/FORA).

    Attributes:
        interval: n, on average where it is no whole number.
    """

    interval: float
    waited: float = 0.0
    tolerance: float = 1.0

    def should_compute(self, signals: Signals) -> bool | None:
        self.waited += 1.0
        self.risk = self.waited / self.interval
        return self.waited >= self.interval

    def computed(self, step_index: int) -> None:
        self.risk, self.waited = 0.0, max(self.waited - self.interval, 0.0)


@dataclass
class FirstBlockRule(StretchRule):
    """First-block cache: compute when the probe has moved by more than a threshold since the last full pass.

    The rule of ParaAttention's first-block cache (https://github.com/chengzeyi/ParaAttention/tree/4de137c).
    """

    tolerance: float

    def should_compute(self, signals: Signals) -> bool | None:
        if signals.should_probe_first:
            return None
        self.risk = signals.drift
        return signals.drift >= self.tolerance


@dataclass
class TeaCacheRule(StretchRule):
    """Compute when movements from step to step, added up over the stretch, pass a threshold.

    TeaCache (https://github.com/ali-vilab/TeaCache) adds up the movement of the first block's modulated
    input, rescaled by a polynomial fitted to each model. Here it is the movement of the probe, what the first
    block makes of that input, as in DiCache (https://github.com/Bujiazi/DiCache/tree/dd7f0de), and there is
    no polynomial.
    """

    tolerance: float
    is_stepwise: bool = True

    def should_compute(self, signals: Signals) -> bool | None:
        if signals.should_probe_first:
            return None
        self.risk += signals.drift
        return self.risk >= self.tolerance


@dataclass
class FastCacheRule(StretchRule):
    """Compute where the change since the step before is more than noise, by a chi-square test.

    FastCache (https://github.com/NoakLiu/FastCache-xDiT/tree/7d894fc) reuses a block where the squared
    relative change of its input is at most chi2(n, 1 - alpha) / n, n the count of numbers. That quantile is
    next to 1 for as many numbers as there are, so the change is measured in units of `tolerance`, the
    relative size of what counts as noise. The test is made once, on the probe, and the linear map that
    FastCache puts in a block's place is left out.

    Attributes:
        num_numbers: n.
    """

    tolerance: float
    num_numbers: int = 10**5
    is_stepwise: bool = True

    def should_compute(self, signals: Signals) -> bool | None:
        if signals.should_probe_first:
            return None
        self.risk = signals.drift
        statistic = (signals.drift / self.tolerance) ** 2
        return statistic > chi2_quantile_share(self.num_numbers)


def chi2_quantile_share(degrees: int, z: float = 1.6449) -> float:
    """The 95 % quantile of chi-square over its degrees of freedom, by Wilson and Hilferty's approximation.

    Args:
        degrees: of freedom.
        z: the same quantile of the normal distribution.
    """
    spread = 2.0 / (9.0 * degrees)
    return (1.0 - spread + z * math.sqrt(spread)) ** 3


@dataclass
class AdaCacheRule(StretchRule):
    """How fast the output has moved decides, by a table, for how many steps it is reused.

    AdaCache (https://github.com/AdaCache-DiT/AdaCache, arXiv 2411.02397): distance of two full passes, a step
    between them, to the interval of a codebook. Its fast one for 30 steps is used, its rates in units of
    `scale`; no motion term.

    Attributes:
        scale: 1 takes the rates as they are, more reuses for longer.
    """

    CODEBOOK: ClassVar[tuple[tuple[float, int], ...]] = ((0.08, 6), (0.16, 5), (0.24, 4), (0.32, 3), (0.4, 2))

    scale: float
    interval: int = 1
    tolerance: float = 1.0

    def measured(self, full_pass: FullPass) -> None:
        rate = full_pass.moved / max(full_pass.norm_before, 1e-30) / full_pass.lag
        fitting = (interval for bound, interval in self.CODEBOOK if rate < bound * self.scale)
        self.interval = next(fitting, 1)

    def should_compute(self, signals: Signals) -> bool | None:
        self.risk = signals.lag / self.interval
        return signals.lag >= self.interval


@dataclass
class MagCacheRule(StretchRule):
    """Compute when the size of the output is expected to be off, added up over the stretch, or after k steps.

    MagCache (https://github.com/Zehong-Ma/MagCache) multiplies ratios of output sizes from step to step,
    measured on a run beforehand, and adds up how far the product is from 1. Here the ratio is that of the
    last two full passes, to the power of one over the steps between them.

    Attributes:
        max_skips: k.
    """

    tolerance: float
    max_skips: int = 5
    ratio: float = math.inf

    def measured(self, full_pass: FullPass) -> None:
        if full_pass.norm > 0 and full_pass.norm_before > 0:
            self.ratio = (full_pass.norm / full_pass.norm_before) ** (1.0 / full_pass.lag)

    def should_compute(self, signals: Signals) -> bool | None:
        self.risk += abs(1.0 - self.ratio**signals.lag)
        return self.risk >= self.tolerance or signals.lag > self.max_skips


@dataclass
class EasyCacheRule(StretchRule):
    """Compute when the change of the output, as told by that of the input, adds up to a threshold.

    EasyCache (https://github.com/H-EmbodVis/EasyCache/tree/95e2b19): the input's movement from step to step,
    times the rate at which output followed input between the last two full passes, over the output's norm.
    """

    tolerance: float
    before: Tensor | None = None
    path: float = 0.0
    step: float = 0.0
    rate: float = math.inf

    def look(self, latent: Tensor, sigma: Tensor | float) -> Tensor | None:
        before, self.before = self.before, latent.to(torch.float32, copy=True)
        if before is None or before.shape != latent.shape:
            return None
        moved: Tensor = torch.linalg.vector_norm(self.before - before)
        return moved

    def saw(self, numbers: list[float]) -> None:
        self.step = numbers[0]
        self.path += self.step

    def measured(self, full_pass: FullPass) -> None:
        if self.path > 0 and full_pass.norm > 0:
            self.rate = full_pass.moved / self.path / full_pass.norm
        self.path = 0.0

    def should_compute(self, signals: Signals) -> bool | None:
        self.risk += self.rate * self.step
        return not self.risk < self.tolerance  # nor where the input has not moved at all


@dataclass
class SeaCacheRule(StretchRule):
    """Compute when movements of the signal part of the input, added up over the stretch, pass a threshold.

    SeaCache (https://github.com/jiwoogit/SeaCache/tree/802d7cd, arXiv 2602.18993): the input goes through
    the Wiener filter of a signal whose power falls as frequency^-POWER, in noise as strong as the noise level
    says, its mean gain 1. Here it is the model's own input, and the distance is taken in the spectrum, where
    norms are the same. Flow models only: signal and noise have the shares 1 - sigma and sigma.
    """

    POWER: ClassVar[float] = 2.0

    tolerance: float
    before: Tensor | None = None
    step: float = 0.0

    def look(self, latent: Tensor, sigma: Tensor | float) -> Tensor | None:
        level = sigma.reshape(-1)[0].to(latent.device) if isinstance(sigma, Tensor) else sigma
        before, self.before = self.before, signal_spectrum(latent, level, self.POWER)
        if before is None or before.shape != self.before.shape:
            return None
        share: Tensor = torch.linalg.vector_norm(self.before - before) / torch.linalg.vector_norm(before)
        return share

    def saw(self, numbers: list[float]) -> None:
        self.step = numbers[0]

    def should_compute(self, signals: Signals) -> bool | None:
        self.risk += self.step
        return self.risk >= self.tolerance


def signal_spectrum(latent: Tensor, sigma: Tensor | float, power: float) -> Tensor:
    """Spectrum of the signal part of a latent.

    Args:
        latent: (B, C, ...) picture or video, or (B, N, C) tokens of a square.
        sigma: noise level, 0 to 1.
        power: the signal's power falls as frequency to this power.

    Returns:
        (B, C, ...) complex.
    """
    grid = latent.float()
    if grid.ndim == 3:
        side = math.isqrt(grid.shape[1])
        if side * side != grid.shape[1]:
            raise ValueError(f"{grid.shape[1]} tokens are no square. Give the rule a latent (B, C, h, w).")
        grid = grid.movedim(1, -1).unflatten(-1, (side, side))
    squared = torch.zeros((), device=grid.device)
    for length in grid.shape[2:]:
        squared = squared.unsqueeze(-1) + torch.fft.fftfreq(length, device=grid.device).square()
    # Power over signal power at frequency 0; the signal's own share falls out with the mean.
    power_there = (1.0 - sigma) ** 2 + sigma**2 * squared ** (power / 2)
    gain = 1.0 / power_there.clamp_min(1e-12)
    spectrum: Tensor = torch.fft.fftn(grid, dim=tuple(range(2, grid.ndim)))
    return spectrum * (gain / gain.mean())
