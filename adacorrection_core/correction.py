"""Adaptive correction: a forecast of the deep residual from two witnesses, and how far to trust it.

Anchors are the last full passes, newest first: noise levels t_1 > ..., probe residuals p_i, deep
residuals r_i. The forecast is r_1 + a (r_1 - r_2) + b (r_2 - r_3), with (a, b) the ridge least squares
solution of what both witnesses say about the present:

    probe        p - p_1  ~  a (p_1 - p_2) + b (p_2 - p_3)
    noise level  t - t_1  ~  a (t_1 - t_2) + b (t_2 - t_3)

The correction weight w blends it with the cached residual, as the paper's ACM blends cached and fresh
(arXiv 2602.13357, Eq. 6): r_hat = (1 - w) r_1 + w forecast. Its prior is clip(gamma * S, 0, 1); at each
full pass the best weight is measured, w* = <r - r_1, f - r_1> / |f - r_1|^2, and steers later steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Matrix = Sequence[Sequence[float]]

RIDGE = 0.03
TIME_WITNESS = 0.1
MAX_GAIN = 4.0


def time_moves(time: float, anchor_times: Sequence[float]) -> list[float]:
    """Noise level moves, present first: [t - t_1, t_1 - t_2, ...].

    Args:
        time: present noise level on the flow's scale, 0 (clean) to 1 (noise).
        anchor_times: levels of the anchors, newest first.
    """
    levels = [time, *anchor_times]
    return [now - before for now, before in zip(levels, levels[1:], strict=False)]


def forecast_gains(probe_gram: Matrix, moves: Sequence[float]) -> list[float]:
    """Gains (a, b, ...) of the past movements of the residual that the two witnesses agree on.

    Args:
        probe_gram: (k + 1, k + 1) inner products of [p - p_1, p_1 - p_2, ...].
        moves: k + 1 noise level moves in the same order.

    Returns:
        k gains, clamped to +-4; all 0 where the past shows no movement (hold).
    """
    size = len(probe_gram) - 1
    probe_scale = sum(probe_gram[i][i] for i in range(1, size + 1)) / max(size, 1)
    time_scale = sum(move * move for move in moves[1:]) / max(size, 1)
    if size == 0 or probe_scale <= 0:
        return [0.0] * size
    witness = TIME_WITNESS / time_scale if time_scale > 0 else 0.0

    def entry(i: int, j: int) -> float:
        return probe_gram[i][j] / probe_scale + witness * moves[i] * moves[j]

    past = range(1, size + 1)
    normal = [[entry(i, j) + (RIDGE if i == j else 0.0) for j in past] for i in past]
    gains = solve(normal, [entry(i, 0) for i in past])
    return [min(max(gain, -MAX_GAIN), MAX_GAIN) for gain in gains]


def solve(matrix: Matrix, right: Sequence[float]) -> list[float]:
    """Solve a small positive definite system by elimination on the host: no tensor, no sync."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for pivot in range(size):
        for below in range(pivot + 1, size):
            factor = rows[below][pivot] / rows[pivot][pivot]
            rows[below] = [low - factor * high for low, high in zip(rows[below], rows[pivot], strict=True)]
    solution = [0.0] * size
    for i in reversed(range(size)):
        known = sum(rows[i][j] * solution[j] for j in range(i + 1, size))
        solution[i] = (rows[i][size] - known) / rows[i][i]
    return solution


def anchor_multipliers(gains: Sequence[float], weight: float) -> list[float]:
    """Multipliers of r_1, r_2, ... that make (1 - w) r_1 + w forecast; they sum to 1."""
    scaled = [weight * gain for gain in gains]
    padded = [1.0, *scaled, 0.0]
    # r_i enters movement i with +, movement i - 1 with -; the first one also carries r_1 itself.
    return [padded[1] + 1.0, *(padded[i + 1] - padded[i] for i in range(1, len(padded) - 1))]


def combine(residuals: Sequence[Tensor], multipliers: Sequence[float], base: Tensor | None = None) -> Tensor:
    """base + sum of multiplier * residual, in a fresh tensor.

    Args:
        residuals: (B, N, D) each, newest first.
        multipliers: one a residual.
        base: (B, N, D), or None for 0.
    """
    if base is None:
        total = residuals[0] * multipliers[0]
    else:
        total = torch.add(base, residuals[0].to(base.device, non_blocking=True), alpha=multipliers[0])
    for residual, multiplier in zip(residuals[1:], multipliers[1:], strict=False):
        if multiplier != 0:
            total.add_(residual.to(total.device, non_blocking=True), alpha=multiplier)
    return total


def prior_weight(drift: float, sensitivity: float) -> float:
    """clip(gamma * S, 0, 1), Eq. 6 of the paper with the scale-free drift for S."""
    return min(max(sensitivity * drift, 0.0), 1.0)


@dataclass
class WeightPosterior:
    """Best correction weight as measured at full passes: evidence decays, the prior counts once.

    Attributes:
        agreement: decayed sum of <r - r_1, f - r_1> / |f - r_1|^2, each clipped to [0, 1].
        evidence: decayed number of measurements.
    """

    agreement: float = 0.0
    evidence: float = 0.0
    decay: float = 0.5

    def observe(self, best_weight: float) -> None:
        """Take in the best weight measured at a full pass."""
        self.agreement = self.decay * self.agreement + min(max(best_weight, 0.0), 1.0)
        self.evidence = self.decay * self.evidence + 1.0

    def weight(self, prior: float) -> float:
        """Prior and evidence together, in [0, 1]."""
        return (prior + self.agreement) / (1.0 + self.evidence)
