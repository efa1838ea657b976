"""Adaptive correction: where the velocity will have moved, and how far to trust that.

The anchors are the last two full passes: noise levels t_1 < t_2 and velocities v_1, v_2. The forecast is the
cached velocity and a step along its last movement, as long as the noise level says,

    f = v_1 + g (v_1 - v_2),    g = (u - u_1) / (u_1 - u_2),

where u(t) is how far the velocity of trained models turns below a noise level (`risk.turned`): it turns
fast at first, so that a step as long as the noise level alone says would overshoot.

The correction weight w blends it with the cached one, as the paper's ACM blends cached and fresh
(arXiv 2602.13357, Eq. 6): v_hat = (1 - w) v_1 + w f. At each full pass the truth is at hand, so the best
weight is measured there, w* = <v - v_1, f - v_1> / |f - v_1|^2, and steers the steps to come.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_GAIN = 4.0


def time_gain(now: float, newest: float, older: float) -> float:
    """How many of the last movements lie between the newest full pass and now; at most 4.

    Args:
        now, newest, older: u, how far the velocity has yet to turn, rising.
    """
    moved = newest - older
    return min(max((now - newest) / moved, 0.0), MAX_GAIN) if moved else 0.0


@dataclass
class WeightPosterior:
    """How far the forecast is to be trusted: running mean of the weights that would have been best.

    It begins at 0, the cached velocity: in the first steps the velocity turns, and a forecast overshoots.

    Attributes:
        mean: of what was measured, within 0 and 1.
        decay: share of the past in the mean.
    """

    mean: float = 0.0
    decay: float = 0.5

    def observe(self, best_weight: float) -> None:
        """Take in the best weight measured at a full pass."""
        mean = self.decay * self.mean + (1.0 - self.decay) * best_weight
        self.mean = min(max(mean, 0.0), 1.0)

    def weight(self, sensitivity: float) -> float:
        """Correction weight: clip(gamma * measured weight, 0, 1)."""
        return min(max(sensitivity * self.mean, 0.0), 1.0)
