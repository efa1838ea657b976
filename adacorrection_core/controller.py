"""One call of the model: plan, probe where that is in doubt, correct or compute, record.

The seam (a host's, or the diffusers adapter) opens a `ModelCall` with `plan`. Where nothing has to run it
asks for `corrected` at once. Else it runs the model, and its blocks tell of two moments: `enter` before the
first block and `probe` after the last probe block, which says whether the others must run. At the end comes
either `complete` with the model's output, or `corrected`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum

import torch
from torch import Tensor

from .anchors import make_anchor
from .drift import probe_drift
from .evaluation import Branch, BranchState, Evaluation, Measurement
from .probe import Probe, branch_rows
from .readings import Reading
from .risk import time_drift
from .rules import LatentRule, Signals, StepwiseRule
from .state import RunState
from .stats import Outcome, Reason, StepRecord

LEAST_DRIFT = 0.2  # of what a whole step adds


class Plan(Enum):
    """What a call has to run."""

    SKIP = "nothing"
    PROBE = "the first blocks, which decide"
    COMPUTE = "all"


class ModelCall:
    """One call of the model in accelerated mode.

    Args:
        run: state of the sampling run.
        sigma: noise level of the call, a number or a tensor with it in first place.
        branches: one a conditioning in the batch, in order; each has an equal share of the rows.
        reading: how the output is read; None for a call that is only counted.
    """

    def __init__(
        self,
        run: RunState,
        sigma: Tensor | float,
        branches: Sequence[Branch],
        reading: Reading | None = None,
    ) -> None:
        self.run = run
        self.sigma = sigma
        self.branches = list(branches)
        self.reading = reading
        self.evaluation = Evaluation(-1, 0, math.nan)
        self.records: list[StepRecord] = []
        self.time = math.nan
        self.states: list[BranchState] = []
        self.shown = Probe()

    def open(self, sigma: float) -> None:
        """Take the call's place in the run, once its noise level is known."""
        sigma = self.run.schedule.exact(sigma)
        self.evaluation = self.run.enter_evaluation(sigma, [branch.key for branch in self.branches])
        self.time = self.run.schedule.time(sigma)
        place = (self.evaluation.step_index, self.evaluation.index, sigma)
        self.records = [StepRecord(*place, branch.role) for branch in self.branches]
        self.evaluation.records.extend(self.records)
        self.run.report.records.extend(self.records)
        self.run.mark(self.records)

    def plan(self, can_probe: bool) -> Plan:
        """Read the noise level and decide, as far as it can be decided without the probe.

        Args:
            can_probe: whether the first blocks can be run alone.
        """
        self.run.close_if_over([branch.key for branch in self.branches])
        self.let_rule_look()
        sigma, _ = self.run.read(self.sigma)
        self.open(sigma)
        self.states = [self.branch_state(i) for i in range(len(self.branches))]
        reason = self.forced_reason()
        if reason is None:
            self.weigh()
            can_probe = can_probe and all(state.history.newest.probe is not None for state in self.states)
            should_compute = self.ask_rule(None, can_probe)
            if should_compute is None:
                return Plan.PROBE
            reason = Reason.RISK if should_compute else None
        elif any(len(state.history) for state in self.states):
            self.weigh()
        return self.settle(reason)

    def let_rule_look(self) -> None:
        """Show the model's input to a rule that goes by it; the noise level is not read yet."""
        assert self.reading is not None
        if isinstance(self.run.rule, LatentRule):
            numbers = self.run.rule.look(self.reading.like, self.sigma)
            if numbers is not None:
                self.run.unread.append((numbers, self.run.rule.saw))

    def settle(self, reason: Reason | None) -> Plan:
        """Note why the call is computed; None where it is not."""
        for record in self.records:
            record.reason = reason
        return Plan.SKIP if reason is None else Plan.COMPUTE

    def branch_state(self, index: int) -> BranchState:
        """State of a branch, made anew where shape, dtype or device have changed."""
        assert self.reading is not None
        rows = self.rows(self.reading.like, index)
        signature = (tuple(rows.shape), rows.dtype, rows.device)
        key = self.branches[index].key
        state = self.run.branches.get(key)
        if state is None or state.signature != signature:
            state = self.run.branches[key] = BranchState(signature)
        state.last_seen = self.evaluation.index
        return state

    def row_slice(self, tensor: Tensor, index: int) -> slice:
        """Where the rows of a batched tensor lie that belong to a branch."""
        return branch_rows(tensor, index, len(self.branches))

    def rows(self, tensor: Tensor, index: int) -> Tensor:
        """Those rows."""
        return tensor[self.row_slice(tensor, index)]

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
        """Drift as the noise level tells it, and correction weight, once an evaluation."""
        run, evaluation = self.run, self.evaluation
        if math.isnan(evaluation.time_drift):
            anchored = max(state.history.newest.time for state in self.states if len(state.history))
            # Samplers also evaluate twice at one level, at different latents: never is there no drift at all.
            least = LEAST_DRIFT * run.schedule.growth_at(evaluation.step_index)
            evaluation.time_drift = max(time_drift(self.time, anchored), least)
            has_movement = run.is_correcting and any(state.history.gain(self.time) for state in self.states)
            evaluation.weight = run.posterior.weight(run.config.sensitivity) if has_movement else 0.0
        for record in self.records:
            record.weight = evaluation.weight

    def ask_rule(self, drift: float | None, can_probe: bool) -> bool | None:
        """The decision of this evaluation, made once and kept by the calls that follow in it.

        Args:
            drift: relative movement of the probe; None where it has not been looked at.
            can_probe: whether it can be.

        Returns:
            whether to compute; None where the probe has to say.
        """
        run, evaluation = self.run, self.evaluation
        is_probed, rule = drift is not None, run.decision_rule
        drift = evaluation.time_drift if drift is None else drift
        expected = (run.probe_error if is_probed else run.time_error).expected(drift)
        if evaluation.should_compute is None:
            signals = Signals(
                evaluation.step_index,
                drift,
                expected,
                run.lag,
                is_probed,
                can_probe,
                evaluation.time_drift,
                run.time_error.ratio,
            )
            evaluation.should_compute = rule.should_compute(signals)
        for record in self.records:
            record.drift, record.expected_error = drift, expected
            record.risk, record.tolerance = rule.risk, rule.tolerance
        return evaluation.should_compute

    def enter(self, hidden_states: Tensor) -> None:
        """Before the first block.

        Args:
            hidden_states: (B, N, D) image tokens; only copies of them are kept.
        """
        with self.run.memory_guard():
            self.shown.enter(hidden_states)

    def probe(self, hidden_states: Tensor, is_asked: bool) -> bool:
        """After the last probe block.

        Args:
            hidden_states: (B, N, D) image tokens; only a copy is kept.
            is_asked: whether the decision hangs on it.

        Returns:
            whether the other blocks must run.
        """
        if self.run.has_given_up:
            return True
        with self.run.memory_guard():
            self.shown.leave(hidden_states)
            with self.run.lock:
                should_compute = self.decide_by_probe() if is_asked else True
                if isinstance(self.run.rule, StepwiseRule):
                    self.shown.keep_for_next_step(self.states)
                return should_compute
        return True

    def decide_by_probe(self) -> bool:
        """Whether to compute, now that the probe has been looked at."""
        look = self.shown.look(self.states, isinstance(self.run.rule, StepwiseRule))
        if look is None:  # a probe of another shape: nothing to compare with
            self.settle(Reason.RISK)
            return True
        _, values = self.run.read(self.evaluation.sigma, look)
        if not all(map(math.isfinite, values)):
            self.forget()
            self.settle(Reason.NOT_FINITE)
            return True
        should_compute = self.ask_rule(probe_drift(values), can_probe=False)
        self.settle(Reason.RISK if should_compute else None)
        return should_compute is not False

    def corrected(self) -> Tensor | None:
        """The output of a call that is not computed.

        Returns:
            (B, ...) cached velocity and its forecast, blended, as the model's output; a fresh tensor. None
            where memory runs out.
        """
        with self.run.memory_guard():
            return self.forecast()
        return None

    def forecast(self) -> Tensor:
        """See `corrected`."""
        assert self.reading is not None
        weight, parts = self.evaluation.weight, []
        for i in range(len(self.branches)):
            velocity, movement, gain = self.extrapolation(i, weight)
            parts.append(velocity if movement is None else torch.add(velocity, movement, alpha=gain))
        output = self.reading.output(torch.cat(parts))
        for record in self.records:
            record.outcome = Outcome.CORRECT if weight > 0 else Outcome.HOLD
        self.shown.drop()
        return output

    def extrapolation(self, index: int, weight: float = 1.0) -> tuple[Tensor, Tensor | None, float]:
        """What the anchors of one branch say of its velocity now.

        Returns:
            (b, ...) cached velocity, its last movement, and how many of these to add at this correction
            weight; None and 0 where it is to be held.
        """
        assert self.reading is not None
        history, is_stochastic = self.states[index].history, self.run.settlement.is_stochastic
        rows = self.row_slice(self.reading.like, index)
        held, gain = self.reading.hold(history.newest, rows, is_stochastic), weight * history.gain(self.time)
        return held, self.reading.movement(history, rows, is_stochastic) if gain else None, gain

    def complete(self, output: Tensor) -> Tensor:
        """A computed call: measure the forecast against the truth, keep an anchor.

        Where memory runs out the run goes on without the cache.

        Args:
            output: (B, ...) of the model; only what is made from it is kept.

        Returns:
            the same.
        """
        if not self.run.has_given_up:
            with self.run.memory_guard():
                self.keep(output)
        self.shown.drop()
        return output

    def keep(self, output: Tensor) -> None:
        """See `complete`."""
        assert self.reading is not None
        if self.evaluation.should_compute is None:
            self.evaluation.should_compute = True
        look = self.shown.look(self.states)
        if look is not None:
            self.evaluation.probe_looks.append(look)
        velocity, denoised = self.reading.velocity(output), self.reading.denoised(output)
        dims = tuple(range(1, velocity.ndim))
        self.run.unread.append(
            (torch.linalg.vector_norm(velocity, dim=dims, dtype=torch.float32), self.drop_if_not_finite)
        )
        for i, state in enumerate(self.states):
            self.remember(i, state, velocity, denoised)
        self.run.note_bytes_held()

    def remember(self, index: int, state: BranchState, velocity: Tensor, denoised: Tensor | None) -> None:
        """Measure and keep one branch of a computed call."""
        own = self.rows(velocity, index).clone()
        if len(state.history):
            self.measure(index, own)
        probe, weights = self.shown.kept(index, len(self.branches), self.run.config.spatial_weight)
        clean = None if denoised is None else self.rows(denoised, index).clone()
        state.history.push(make_anchor(self.time, own, clean, probe, weights, self.run.is_offloaded))
        state.was_reset = False

    def measure(self, index: int, truth: Tensor) -> None:
        """Hold the cached velocity, and how far the forecast would have reached, against the truth."""
        held, movement, gain = self.extrapolation(index)
        reach = torch.zeros_like(truth, dtype=torch.float32)
        if movement is not None:
            reach.add_(movement, alpha=gain)
        vectors = [truth.float(), truth.float() - held.float(), reach]
        self.evaluation.measurements.append(Measurement(self.branches[index].role, vectors))

    def drop_if_not_finite(self, norms: list[float]) -> None:
        """Forget the branches whose velocity turned out to hold NaN or infinity."""
        per_branch = max(len(norms) // max(len(self.branches), 1), 1)
        for i, state in enumerate(self.states):
            if not all(map(math.isfinite, norms[i * per_branch : (i + 1) * per_branch])):
                state.history.anchors.clear()
                state.was_reset = True
                self.run.report.resets += 1

    def close(self, blocks_run: int, blocks_total: int, reason: Reason | None = None) -> None:
        """End of the call, as the seam saw it.

        Args:
            blocks_run: blocks that ran.
            blocks_total: blocks of the model.
            reason: why the call was computed, where that was not for the controller to decide.
        """

        def note() -> None:
            self.run.close_call(self.records, blocks_run, blocks_total, reason)

        def open_and_note(values: list[float]) -> None:
            self.open(values[0])
            note()

        if self.records:
            note()
        else:
            self.run.when_read(self.sigma, open_and_note)
