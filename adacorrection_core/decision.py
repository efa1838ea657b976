"""Whether a model call is computed: what forces it, what the signals say, what the rule makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .anchors import AnchorHistory
from .evaluation import BranchState, Evaluation
from .risk import time_drift
from .rules import Signals
from .state import RunState
from .stats import Reason, StepRecord

LEAST_DRIFT = 0.2  # of what a whole step adds


@dataclass(frozen=True)
class Decision:
    """The decision on one model call, shared with the other calls of its evaluation.

    Attributes:
        run: state of the sampling run.
        evaluation: that the call belongs to.
        states: of the call's branches, in order.
        records: of the call, one a branch.
    """

    run: RunState
    evaluation: Evaluation
    states: Sequence[BranchState]
    records: Sequence[StepRecord]

    @property
    def time(self) -> float:
        """Noise level on the flow's scale."""
        return self.run.schedule.time(self.evaluation.sigma)

    def forced_reason(self) -> Reason | None:
        """Why the step must be computed whatever the signals say."""
        run, step, sigma = self.run, self.evaluation.step_index, self.evaluation.sigma
        if any(state.history.is_below(self.time) for state in self.states):
            self.forget()
            return Reason.SIGMA_ROSE
        if run.schedule.is_last(step):
            return Reason.LAST_STEP
        if step < run.config.warmup_steps:
            return Reason.WARMUP
        if not all(len(state.history) for state in self.states):
            return Reason.NOT_FINITE if any(state.was_reset for state in self.states) else Reason.NEW_BRANCH
        if not run.schedule.last_sigma <= sigma <= run.schedule.first_sigma:
            return Reason.OUTSIDE
        if run.lag > run.config.max_consecutive:
            return Reason.MAX_CONSECUTIVE
        return None

    def forget(self) -> None:
        """Let the branches of this call start afresh."""
        for state in self.states:
            state.history.anchors.clear()

    def weigh(self) -> None:
        """Drift as the noise level tells it, and correction weight, once an evaluation with anchors."""
        evaluation, anchored = self.evaluation, [state.history for state in self.states if len(state.history)]
        if not anchored:
            return
        if math.isnan(evaluation.time_drift):
            self.weigh_evaluation(anchored)
        for record in self.records:
            record.weight = evaluation.weight

    def weigh_evaluation(self, anchored: Sequence[AnchorHistory]) -> None:
        """See `weigh`."""
        run, evaluation = self.run, self.evaluation
        # Samplers also evaluate twice at one level, at different latents: never is there no drift at all.
        least = LEAST_DRIFT * run.schedule.growth_at(evaluation.step_index)
        newest = max(history.newest.time for history in anchored)
        evaluation.time_drift = max(time_drift(self.time, newest), least)
        has_movement = run.is_correcting and any(history.gain(self.time) for history in anchored)
        posterior = run.calibration.posterior
        evaluation.weight = posterior.weight(run.config.sensitivity) if has_movement else 0.0

    def ask_rule(self, drift: float | None, can_probe: bool) -> bool | None:
        """The decision of this evaluation, made once and kept by the calls that follow in it.

        Args:
            drift: relative movement of the probe; None where it has not been looked at.
            can_probe: whether it can be.

        Returns:
            whether to compute; None where the probe has to say.
        """
        run, evaluation, is_probed = self.run, self.evaluation, drift is not None
        model = run.calibration.probe_error if is_probed else run.calibration.time_error
        drift = evaluation.time_drift if drift is None else drift
        expected = model.expected(drift)
        if evaluation.should_compute is None:
            signals = Signals(
                evaluation.step_index,
                drift,
                expected,
                run.lag,
                is_probed,
                can_probe,
                evaluation.time_drift,
                run.calibration.time_error.ratio,
                run.settlement.is_stochastic,
            )
            evaluation.should_compute = run.decision_rule.should_compute(signals)
        for record in self.records:
            record.drift, record.expected_error = drift, expected
            record.risk, record.tolerance = run.decision_rule.risk, run.decision_rule.tolerance
        return evaluation.should_compute
