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

from .anchors import make_anchor, near
from .drift import gram, relative_drift, sample_tokens, token_weights
from .readings import Reading
from .risk import time_drift
from .rules import LatentRule, Signals, StepwiseRule
from .state import Branch, BranchState, Evaluation, Measurement, RunState
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
        self.entered: Tensor | None = None
        self.probed: Tensor | None = None

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

    def rows(self, tensor: Tensor, index: int) -> Tensor:
        """The rows of a batched tensor that belong to a branch."""
        return tensor[self.row_slice(tensor, index)]

    def row_slice(self, tensor: Tensor, index: int) -> slice:
        """Where those rows lie."""
        count = math.ceil(len(tensor) / len(self.branches))
        return slice(index * count, (index + 1) * count)

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
            signals = Signals(evaluation.step_index, drift, expected, run.lag, is_probed, can_probe)
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
        self.entered = sample_tokens(hidden_states)

    def probe(self, hidden_states: Tensor, is_asked: bool) -> bool:
        """After the last probe block.

        Args:
            hidden_states: (B, N, D) image tokens; only a copy is kept.
            is_asked: whether the decision hangs on it.

        Returns:
            whether the other blocks must run.
        """
        assert self.entered is not None, "enter comes before probe"
        try:
            self.probed = sample_tokens(hidden_states).sub_(self.entered)
            self.entered = None
            with self.run.lock:
                should_compute = self.decide_by_probe() if is_asked else True
                self.keep_for_next_step(self.probed)
                return should_compute
        except (RuntimeError, MemoryError) as error:
            self.run.give_up(error)
            return True

    def decide_by_probe(self) -> bool:
        """Whether to compute, now that the probe has been looked at."""
        look = self.look(isinstance(self.run.rule, StepwiseRule))
        if look is None:  # a probe of another shape: nothing to compare with
            self.settle(Reason.RISK)
            return True
        _, values = self.run.read(self.evaluation.sigma, look)
        if not all(map(math.isfinite, values)):
            self.forget()
            self.settle(Reason.NOT_FINITE)
            return True
        should_compute = self.ask_rule(self.probe_drift(values), can_probe=False)
        self.settle(Reason.RISK if should_compute else None)
        return should_compute is not False

    def keep_for_next_step(self, probed: Tensor) -> None:
        """Remember the probe of this step where the rule compares with the step before."""
        if isinstance(self.run.rule, StepwiseRule):
            for i, state in enumerate(self.states):
                state.probe_before = self.rows(probed, i).clone()

    def look(self, is_stepwise: bool = False) -> Tensor | None:
        """Squared size of the probe at the last full pass and of its movement since, for each branch.

        Args:
            is_stepwise: since the step before instead.

        Returns:
            (2 * branches,), or None where a branch has no probe to compare with.
        """
        if self.probed is None:
            return None
        numbers = []
        for i, state in enumerate(self.states):
            if not len(state.history):
                return None
            newest, probe = state.history.newest, self.rows(self.probed, i)
            kept = state.probe_before if is_stepwise else newest.probe
            if kept is None or kept.shape != probe.shape:
                return None
            before = near(kept, probe)
            weights = None if newest.weights is None else near(newest.weights, probe)
            numbers.append(gram([before, probe - before], weights).diagonal())
        return torch.cat(numbers)

    def probe_drift(self, values: Sequence[float]) -> float:
        """Relative movement of the probe over all branches, from what `look` returned."""
        return relative_drift(sum(values[1::2]), sum(values[0::2]))

    def corrected(self) -> Tensor | None:
        """The output of a call that is not computed.

        Returns:
            (B, ...) cached velocity and its forecast, blended, as the model's output; a fresh tensor. None
            where memory runs out.
        """
        try:
            return self.forecast()
        except (RuntimeError, MemoryError) as error:
            self.run.give_up(error)
            return None

    def forecast(self) -> Tensor:
        """See `corrected`."""
        assert self.reading is not None
        weight, parts = self.evaluation.weight, []
        for i, state in enumerate(self.states):
            rows = self.row_slice(self.reading.like, i)
            velocity = self.reading.hold(state.history.newest, rows, self.run.is_stochastic)
            gain = weight * state.history.gain(self.time)
            if gain:
                movement = self.reading.movement(state.history, rows, self.run.is_stochastic)
                velocity = torch.add(velocity, movement, alpha=gain)
            parts.append(velocity)
        for record in self.records:
            record.outcome = Outcome.CORRECT if weight > 0 else Outcome.HOLD
        self.probed = None
        return self.reading.output(torch.cat(parts))

    def complete(self, output: Tensor) -> Tensor:
        """A computed call: measure the forecast against the truth, keep an anchor.

        Where memory runs out the run goes on without the cache.

        Args:
            output: (B, ...) of the model; only what is made from it is kept.

        Returns:
            the same.
        """
        try:
            self.keep(output)
        except (RuntimeError, MemoryError) as error:
            self.run.give_up(error)
        self.probed = None
        return output

    def keep(self, output: Tensor) -> None:
        """See `complete`."""
        assert self.reading is not None
        if self.evaluation.should_compute is None:
            self.evaluation.should_compute = True
        drift = self.look()
        if drift is not None:
            self.evaluation.probe_looks.append(drift)
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
            self.measure(index, state, own)
        probe = None if self.probed is None else self.rows(self.probed, index).clone()
        weights = None if probe is None else token_weights(probe, self.run.config.spatial_weight)
        clean = None if denoised is None else self.rows(denoised, index).clone()
        state.history.push(make_anchor(self.time, own, clean, probe, weights, self.run.is_offloaded))
        state.was_reset = False

    def measure(self, index: int, state: BranchState, truth: Tensor) -> None:
        """Hold the cached velocity, and how far the forecast would have reached, against the truth."""
        assert self.reading is not None
        rows = self.row_slice(self.reading.like, index)
        held = self.reading.hold(state.history.newest, rows, self.run.is_stochastic)
        gain = state.history.gain(self.time)
        reach = torch.zeros_like(truth, dtype=torch.float32)
        if gain:
            reach.add_(self.reading.movement(state.history, rows, self.run.is_stochastic), alpha=gain)
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
