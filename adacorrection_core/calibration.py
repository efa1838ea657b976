"""What full passes teach a run: how much error comes with drift, and how far to trust the forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .correction import WeightPosterior
from .drift import probe_drift
from .evaluation import Evaluation
from .risk import ErrorModel
from .rules import FullPass

# Error over drift before anything is measured: the most that trained models show at their second step, where
# there is but one full pass to go by. With less, tolerances from 0.06 on lose up to 4 dB by leaving it out.
FIRST_TIME_RATIO = 20.0
FIRST_PROBE_RATIO = 4.0


@dataclass
class Calibration:
    """What the full passes of one run have shown so far.

    Attributes:
        time_error: error for the drift as the noise level tells it.
        probe_error: error for the movement of the probe.
        posterior: of the correction weight.
    """

    time_error: ErrorModel = field(default_factory=lambda: ErrorModel(FIRST_TIME_RATIO))
    probe_error: ErrorModel = field(default_factory=lambda: ErrorModel(FIRST_PROBE_RATIO))
    posterior: WeightPosterior = field(default_factory=WeightPosterior)

    def observe(self, evaluation: Evaluation, values: Sequence[float], lag: int) -> FullPass | None:
        """Learn from truth against forecast.

        Args:
            evaluation: a computed one; its records take the error.
            values: the (3, 3) inner products of [v, v - v_1, f - v_1], then squared size and movement of the
                probe, for each branch that has one.
            lag: evaluations since the full pass before it.

        Returns:
            how the guided velocity has moved; None where a number is not finite.
        """
        size, moved, agreement, reach = values[0], values[4], values[5], values[8]
        weight = evaluation.weight
        squared = moved - 2 * weight * agreement + weight**2 * reach
        if not size > 0 or not squared < float("inf"):
            return None
        error = max(squared / size, 0.0) ** 0.5
        self.time_error.observe(error, evaluation.time_drift)
        probe = values[9:]
        if probe:
            self.probe_error.observe(error, probe_drift(probe))
        if reach > 0:
            self.posterior.observe(agreement / reach)
        for record in evaluation.records:
            record.measured_error = error
        norm_before = max(size - 2 * values[1] + moved, 0.0) ** 0.5
        return FullPass(size**0.5, norm_before, max(moved, 0.0) ** 0.5, lag)
