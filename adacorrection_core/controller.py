"""One call of the model: probe, decide, correct or compute, record. What is learnt of it is in state.py.

The seam (a host's, or the diffusers adapter) walks the blocks and tells a `ModelCall` of three moments:
`enter` before the first block, `probe` after the last probe block, and then either `complete` after the
last block, or `corrected` in its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .anchors import make_anchor
from .correction import corrected_tokens, forecast_gains, forecast_move, prior_weight, time_moves
from .drift import gram, relative_drift, sample_tokens
from .rules import Signals
from .state import Branch, BranchState, Evaluation, Measurement, RunState
from .stats import Outcome, Reason, StepRecord


class ModelCall:
    """One call of the model in accelerated mode.

    Args:
        run: state of the sampling run.
        sigma: noise level of the call; a tensor of one number is read together with the signals, so
            that a call waits for the device once.
        branches: one a conditioning in the batch, in order; each has an equal share of the rows.
    """

    def __init__(self, run: RunState, sigma: Tensor | float, branches: Sequence[Branch]) -> None:
        self.run = run
        self.sigma = sigma
        self.branches = list(branches)
        self.evaluation = Evaluation(-1, 0, math.nan)
        self.records: list[StepRecord] = []
        self.time = math.nan
        self.gains: list[list[float]] = []
        self.states: list[BranchState] = []
        self.entered: Tensor | None = None
        self.probed: Tensor | None = None
        self.probe_residual: Tensor | None = None

    def open(self, sigma: float) -> None:
        """Take the call's place in the run, once its noise level is known."""
        self.evaluation = self.run.enter_evaluation(sigma, [branch.key for branch in self.branches])
        self.time = self.run.schedule.time(sigma)
        place = (self.evaluation.step_index, self.evaluation.index, sigma)
        self.records = [StepRecord(*place, branch.role) for branch in self.branches]
        self.evaluation.records.extend(self.records)
        self.run.report.records.extend(self.records)
        self.run.mark(self.records)
        for state in self.states:
            state.last_seen = self.evaluation.index

    def enter(self, hidden_states: Tensor) -> None:
        """Before the first block.

        Args:
            hidden_states: (B, N, D) image tokens; only copies of them are kept.
        """
        self.entered = sample_tokens(hidden_states)

    def probe(self, hidden_states: Tensor) -> bool:
        """After the last probe block: decide.

        Args:
            hidden_states: (B, N, D) image tokens; only a copy is kept.

        Returns:
            Whether the other blocks must run.
        """
        try:
            return self.examine(hidden_states)
        except (RuntimeError, MemoryError) as error:
            self.run.give_up(error)
            return True

    def examine(self, hidden_states: Tensor) -> bool:
        """See `probe`."""
        assert self.entered is not None, "enter comes before probe"
        self.probed = hidden_states.clone()
        self.probe_residual = sample_tokens(hidden_states).sub_(self.entered)
        self.states = [self.branch_state(i) for i in range(len(self.branches))]
        sigma, values = self.run.read(self.sigma, self.look())
        self.open(sigma)
        reason = self.decide(values)
        for record in self.records:
            record.reason = reason
        return reason is not None

    def branch_state(self, index: int) -> BranchState:
        """State of a branch, made anew where shape, dtype or device have changed."""
        assert self.probed is not None
        rows = self.rows(self.probed, index)
        signature = (tuple(rows.shape), rows.dtype, rows.device)
        key = self.branches[index].key
        state = self.run.branches.get(key)
        if state is None or state.signature != signature:
            state = self.run.branches[key] = BranchState(signature)
        return state

    def rows(self, tensor: Tensor, index: int) -> Tensor:
        """The rows of a batched tensor that belong to a branch."""
        return tensor.chunk(len(self.branches))[index]

    def look(self) -> Tensor | None:
        """What the probe shows; None where a branch has no past.

        Returns:
            the norm of all tokens, for the sake of NaN and infinity, then of each branch the k * k inner
            products of [p_1, p - p_1, p_1 - p_2, ...].
        """
        if not all(len(state.history) for state in self.states):
            return None
        assert self.probe_residual is not None and self.probed is not None
        numbers = [torch.linalg.vector_norm(self.probed, dtype=torch.float32).reshape(1)]
        for i, state in enumerate(self.states):
            newest = state.history.newest
            moves = state.history.probe_moves(self.rows(self.probe_residual, i))
            numbers.append(gram([newest.probe, *moves], newest.weights).reshape(-1))
        return torch.cat(numbers)

    def decide(self, values: list[float]) -> Reason | None:
        """Why to compute, or None to correct. Signals are taken in even where the answer is known before."""
        if any(state.history.is_below(self.time) for state in self.states):
            self.forget()
            return Reason.SIGMA_ROSE
        # Reading may have found the last residual not finite, and then nothing is left of it; a probe that
        # is not finite makes a residual that is not: both are counted once, where residuals are read.
        if not all(len(state.history) for state in self.states) and values:
            return Reason.NOT_FINITE
        if not all(map(math.isfinite, values)):
            self.forget()
            return Reason.NOT_FINITE
        forced = self.forced_reason()
        if not values:
            return forced or Reason.NEW_BRANCH
        self.weigh(values)
        return forced or self.ask_rule()

    def forced_reason(self) -> Reason | None:
        """Why the step must be computed whatever the signals say."""
        run, step, sigma = self.run, self.evaluation.step_index, self.evaluation.sigma
        if run.schedule.is_last(step):
            return Reason.LAST_STEP
        if step < run.config.warmup_steps:
            return Reason.WARMUP
        if not run.schedule.last_sigma <= sigma <= run.schedule.first_sigma:
            return Reason.OUTSIDE
        if run.lag > run.config.max_consecutive:
            return Reason.MAX_CONSECUTIVE
        return None

    def forget(self) -> None:
        """Let the branches of this call start afresh."""
        for state in self.states:
            state.history.anchors.clear()

    def weigh(self, values: list[float]) -> None:
        """Gains of each branch, drift and correction weight of the call, from what `look` returned."""
        moved = size = 0.0
        start = 1
        for state in self.states:
            length = len(state.history) + 1
            block = values[start : start + length * length]
            matrix = [block[i * length : (i + 1) * length] for i in range(length)]
            start += length * length
            size, moved = size + matrix[0][0], moved + matrix[1][1]
            self.gains.append(self.forecast(state, matrix))
        drift = relative_drift(moved, size)
        prior = prior_weight(drift, self.run.config.sensitivity)
        if self.evaluation.should_compute is None:
            self.evaluation.drift = drift
            self.evaluation.weight = self.run.posterior.weight(prior, drift) if any(self.gains) else 0.0
        for record in self.records:
            record.drift, record.weight = drift, self.evaluation.weight
            record.expected_error = self.run.error_model.expected(drift)

    def forecast(self, state: BranchState, matrix: list[list[float]]) -> list[float]:
        """Gains of a branch's past movements; none where the cached residual is held."""
        if not self.run.is_correcting:
            return []
        moves = [row[1:] for row in matrix[1:]]
        return forecast_gains(moves, time_moves(self.time, state.history.times))

    def ask_rule(self) -> Reason | None:
        """The decision of this evaluation, made once and kept by the calls that follow in it."""
        rule, drift = self.run.decision_rule, self.evaluation.drift
        if self.evaluation.should_compute is None:
            expected = self.run.error_model.expected(drift)
            signals = Signals(self.evaluation.step_index, drift, expected, self.run.lag)
            self.evaluation.should_compute = rule.should_compute(signals)
        for record in self.records:
            record.risk, record.tolerance = rule.risk, rule.tolerance
        return Reason.RISK if self.evaluation.should_compute else None

    def corrected(self) -> Tensor:
        """What the last block hands on at a step that is not computed.

        Returns:
            (B, N, D) probe output plus the corrected residual, a fresh tensor.
        """
        assert self.probed is not None
        weight = self.evaluation.weight
        parts = [
            corrected_tokens(self.rows(self.probed, i), state.history.residuals, gains, weight)
            for i, (state, gains) in enumerate(zip(self.states, self.gains, strict=True))
        ]
        outcome = Outcome.CORRECT if weight > 0 and any(map(any, self.gains)) else Outcome.HOLD
        for record in self.records:
            record.outcome = outcome
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def complete(self, hidden_states: Tensor) -> None:
        """After the last block of a computed step: measure the forecast against the truth, keep an anchor.

        Where memory runs out the run goes on without the cache.

        Args:
            hidden_states: (B, N, D) image tokens; only what is made from them is kept.
        """
        try:
            self.keep(hidden_states)
        except (RuntimeError, MemoryError) as error:
            self.run.give_up(error)
        # The call is kept until its norms are read; the tokens need not be.
        self.entered = self.probed = self.probe_residual = None

    def keep(self, hidden_states: Tensor) -> None:
        """See `complete`."""
        if self.probed is None or hidden_states.shape != self.probed.shape:
            return
        if self.evaluation.should_compute is None:
            self.evaluation.should_compute = True
        # In the place of the probe's copy, so that a call needs no more than one tensor beside the anchors.
        residual = self.probed.neg_().add_(hidden_states)
        norms = torch.linalg.vector_norm(residual, dim=tuple(range(1, residual.ndim)), dtype=torch.float32)
        self.run.unread.append((norms, self.drop_if_not_finite))
        for i, state in enumerate(self.states):
            self.remember(i, state, self.rows(residual, i))
        self.run.note_bytes_held()

    def remember(self, index: int, state: BranchState, residual: Tensor) -> None:
        """Measure and keep one branch of a computed step."""
        assert self.probe_residual is not None
        # One branch fills the tensor: it is already ours alone. A share of it is copied, not to pin the rest.
        is_whole = len(self.branches) == 1
        probe, sample = self.rows(self.probe_residual, index), sample_tokens(residual)
        if self.gains:
            self.measure(index, state, sample)
        state.history.make_room(self.time)
        anchor = make_anchor(
            self.time,
            probe if is_whole else probe.clone(),
            residual if is_whole else residual.clone(),
            sample,
            self.run.config.spatial_weight,
            self.run.is_offloaded,
        )
        state.history.push(anchor)

    def measure(self, index: int, state: BranchState, truth: Tensor) -> None:
        """Hold what the forecast of a branch would have been against the truth at the sampled tokens."""
        gains = self.gains[index]
        moved = truth - state.history.newest.residual_sample
        past = state.history.residual_sample_moves()
        reach = forecast_move(past, gains) if gains else torch.zeros_like(moved)
        self.evaluation.measurements.append(Measurement(self.branches[index].role, [truth, moved, reach]))

    def drop_if_not_finite(self, norms: list[float]) -> None:
        """Forget the branches whose residual turned out to hold NaN or infinity."""
        per_branch = len(norms) // max(len(self.branches), 1)
        for i, state in enumerate(self.states):
            if not all(map(math.isfinite, norms[i * per_branch : (i + 1) * per_branch])):
                state.history.anchors.clear()
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
