"""One call of the model: plan, probe where that is in doubt, correct or compute, record.

The seam (a host's, or the diffusers adapter) opens a `ModelCall` with `plan`. Where nothing has to run it
asks for `corrected` at once. Else it runs the model, and its blocks tell of two moments: `enter` before the
first block and `probe` after the last probe block, which says whether the others must run. At the end comes
either `complete` with the model's output, or `corrected`.

None of it is part of an autograd graph: what is kept would keep the graph of a whole pass with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum

import torch
from torch import Tensor

from .anchors import make_anchor
from .call import CountedCall
from .decision import Decision
from .drift import probe_drift
from .evaluation import Branch, BranchState
from .forecast import Forecast
from .probe import Probe, branch_rows
from .readings import Reading
from .rules import LatentRule, StepwiseRule
from .state import RunState
from .stats import Outcome, Reason


class Plan(Enum):
    """What a call has to run."""

    SKIP = "nothing"
    PROBE = "the first blocks, which decide"
    COMPUTE = "all"


class ModelCall(CountedCall):
    """One call of the model in accelerated mode; `plan` comes before all else.

    Args:
        run, sigma, branches: as for `CountedCall`.
        reading: how the output is read.
    """

    decision: Decision

    def __init__(
        self, run: RunState, sigma: Tensor | float, branches: Sequence[Branch], reading: Reading
    ) -> None:
        super().__init__(run, sigma, branches)
        self.reading = reading
        self.shown = Probe()

    @torch.no_grad()
    def plan(self, can_probe: bool) -> Plan:
        """Read the noise level and decide, as far as it can be decided without the probe.

        Args:
            can_probe: whether the first blocks can be run alone.
        """
        self.run.close_if_over([branch.key for branch in self.branches])
        self.let_rule_look()
        sigma, _ = self.run.transfer.read(self.sigma)
        self.open(sigma)
        states = [self.branch_state(i) for i in range(len(self.branches))]
        self.decision = Decision(self.run, self.evaluation, states, self.records)
        reason = self.decision.forced_reason()
        self.decision.weigh()
        if reason is None:
            can_probe = can_probe and all(state.history.newest.probe is not None for state in states)
            should_compute = self.decision.ask_rule(None, can_probe)
            if should_compute is None:
                return Plan.PROBE
            reason = Reason.RISK if should_compute else None
        self.note(reason)
        return Plan.SKIP if reason is None else Plan.COMPUTE

    def let_rule_look(self) -> None:
        """Show the model's input to a rule that goes by it; the noise level is not read yet."""
        if isinstance(self.run.rule, LatentRule):
            numbers = self.run.rule.look(self.reading.like, self.sigma)
            if numbers is not None:
                self.run.transfer.when_read(numbers, self.run.rule.saw)

    def note(self, reason: Reason | None) -> None:
        """Note why the call is computed; None where it is not."""
        for record in self.records:
            record.reason = reason

    def branch_state(self, index: int) -> BranchState:
        """State of a branch, made anew where shape, dtype or device have changed."""
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
        return tensor[branch_rows(tensor, index, len(self.branches))]

    @property
    def forecast(self) -> Forecast:
        """What the anchors say of the velocity now."""
        return Forecast(
            self.reading, self.decision.states, self.decision.time, self.run.settlement.is_stochastic
        )

    @torch.no_grad()
    def enter(self, hidden_states: Tensor) -> None:
        """Before the first block.

        Args:
            hidden_states: (B, N, D) image tokens; only copies of them are kept.
        """
        with self.run.memory_guard():
            self.shown.enter(hidden_states)

    @torch.no_grad()
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
                    self.shown.keep_for_next_step(self.decision.states, self.reading.dtype)
                return should_compute
        return True

    def decide_by_probe(self) -> bool:
        """Whether to compute, now that the probe has been looked at."""
        look = self.shown.look(self.decision.states, isinstance(self.run.rule, StepwiseRule))
        if look is None:  # a probe of another shape: nothing to compare with
            self.note(Reason.RISK)
            return True
        _, values = self.run.transfer.read(self.evaluation.sigma, look)
        if not all(map(math.isfinite, values)):
            self.decision.forget()
            self.note(Reason.NOT_FINITE)
            return True
        should_compute = self.decision.ask_rule(probe_drift(values), can_probe=False)
        self.note(Reason.RISK if should_compute else None)
        return should_compute is not False

    @torch.no_grad()
    def corrected(self) -> Tensor | None:
        """The output of a call that is not computed.

        Returns:
            (B, ...) cached velocity and its forecast, blended, as the model's output; a fresh tensor. None
            where memory runs out.
        """
        weight = self.evaluation.weight
        if self.run.has_given_up:  # in another call, meanwhile
            return None
        with self.run.memory_guard():
            output = self.forecast.output(weight)
            for record in self.records:
                record.outcome = Outcome.CORRECT if weight > 0 else Outcome.HOLD
            self.shown.drop()
            return output
        return None

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

    @torch.no_grad()
    def keep(self, output: Tensor) -> None:
        """See `complete`."""
        if self.evaluation.should_compute is None:
            self.evaluation.should_compute = True
        run, states = self.run, self.decision.states
        look = self.shown.look(states)
        if look is not None:
            self.evaluation.probe_looks.append(look)
        velocity, denoised = self.reading.velocity(output), self.reading.denoised(output)
        norms = torch.linalg.vector_norm(velocity, dim=tuple(range(1, velocity.ndim)), dtype=torch.float32)
        run.transfer.when_read(norms, lambda values: run.drop_if_not_finite(states, values))
        for i, state in enumerate(states):
            self.remember(i, state, velocity, denoised)
        run.note_bytes_held()

    def remember(self, index: int, state: BranchState, velocity: Tensor, denoised: Tensor | None) -> None:
        """Measure and keep one branch of a computed call."""
        own = self.rows(velocity, index).clone()
        if len(state.history):
            self.evaluation.measured.add(self.forecast.measure(index, self.branches[index].role, own))
        probe, weights = self.shown.kept(index, len(self.branches), self.run.config.spatial_weight)
        clean = None if denoised is None else self.rows(denoised, index).clone()
        anchor = make_anchor(self.decision.time, own, clean, probe, weights, self.reading.dtype)
        state.history.push(self.run.placed(anchor, state.history))
        state.was_reset = False
