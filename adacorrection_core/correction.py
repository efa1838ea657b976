"""Adaptive correction: a forecast of the deep residual from two witnesses, and how far to trust it.

Anchors are the last full passes, newest first: noise levels t_1 < t_2 < t_3, probe residuals p_i, deep
residuals r_i. The forecast is r_1 + a (r_1 - r_2) + b (r_2 - r_3), with (a, b) the ridge least squares
solution of what both witnesses say about the present:

    probe        p - p_1  ~  a (p_1 - p_2) + b (p_2 - p_3)
    noise level  t - t_1  ~  a (t_1 - t_2) + b (t_2 - t_3)

The correction weight w blends it with the cached residual, as the paper's ACM blends cached and fresh
(arXiv 2602.13357, Eq. 6): r_hat = (1 - w) r_1 + w forecast. Its prior is clip(gamma * S, 0, 1). At each
full pass the best weight is measured, w* = <r - r_1, f - r_1> / |f - r_1|^2, and how fast it wanes with the
drift limits the weight of later steps.
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


def forecast_move(moves: Sequence[Tensor], gains: Sequence[float]) -> Tensor:
    """How far the forecast lies from the newest residual: sum of gain * movement.

    Args:
        moves: (B, n, D) past movements of the residual, newest first; at least one.
        gains: one a movement.
    """
    total = moves[0] * gains[0]
    for move, gain in zip(moves[1:], gains[1:], strict=False):
        total.add_(move, alpha=gain)
    return total


def corrected_tokens(
    base: Tensor, residuals: Sequence[Tensor], gains: Sequence[float], weight: float
) -> Tensor:
    """base + (1 - w) r_1 + w forecast, in a fresh tensor.

    Added up as base + r_1 and then the small movements, so that no partial sum is much larger than the
    result: in float16 it would overflow, in bfloat16 lose digits.

    Args:
        base: (B, N, D) tokens behind the probe.
        residuals: (B, N, D) each, newest first, on any device.
        gains: one a past movement; none holds the newest residual.
        weight: correction weight.
    """
    now = residuals[0].to(base.device, non_blocking=True)
    total = base + now
    for gain, residual in zip(gains, residuals[1:], strict=False):
        if weight * gain == 0:
            now = residual
            continue
        before = residual.to(base.device, non_blocking=True)
        total.add_(now.to(base.device, non_blocking=True) - before, alpha=weight * gain)
        now = before  # of those in RAM only two at a time are on the device
    if total.dtype == torch.float16:
        total.clamp_(torch.finfo(total.dtype).min, torch.finfo(total.dtype).max)
    return total


def prior_weight(drift: float, sensitivity: float) -> float:
    """clip(gamma * S, 0, 1), Eq. 6 of the paper with the scale-free drift for S."""
    return min(max(sensitivity * drift, 0.0), 1.0)


@dataclass
class WeightPosterior:
    """How fast trust in the forecast wanes with the drift, as measured at full passes.

    A full pass measures the best weight w* at the drift S of a whole stretch; the steps to be corrected
    have drifted less. So what is learnt is not the weight but the slope: w = 1 - distrust * S.

    Attributes:
        distrust: decayed sum of (1 - w*) / S.
        evidence: decayed number of measurements; the prior, a full trust, counts as a third of one.
    """

    distrust: float = 0.0
    evidence: float = 1.0 / 3.0
    decay: float = 0.5

    def observe(self, best_weight: float, drift: float) -> None:
        """Take in the best weight measured at a full pass, and the drift that was seen then."""
        if drift <= 0:
            return
        waned = 1.0 - min(max(best_weight, 0.0), 1.0)
        self.distrust = self.decay * self.distrust + waned / drift
        self.evidence = self.decay * (self.evidence - 1.0 / 3.0) + 4.0 / 3.0

    def weight(self, prior: float, drift: float) -> float:
        """Correction weight at a drift: no more than the prior, and no more than what was measured."""
        trust = 1.0 - self.distrust / self.evidence * drift
        return min(prior, max(trust, 0.0))
