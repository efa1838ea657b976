"""The probe of one model call: what its first blocks show, held against the last full pass."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .drift import gram, sample_tokens, token_weights
from .evaluation import BranchState
from .kept import keep


def branch_rows(tensor: Tensor, index: int, count: int) -> slice:
    """Where the rows of one of `count` branches lie in a batch that they share equally."""
    share = math.ceil(len(tensor) / count)
    return slice(index * share, (index + 1) * share)


class Probe:
    """What the first blocks of a call have added to its image tokens.

    Attributes:
        residual: (B, n, D) float32, at the sampled tokens; None until the last probe block has run.
    """

    def __init__(self) -> None:
        self.entered: Tensor | None = None
        self.residual: Tensor | None = None

    def enter(self, hidden_states: Tensor) -> None:
        """Before the first block.

        Args:
            hidden_states: (B, N, D) image tokens; only a copy of some is kept.
        """
        self.entered = sample_tokens(hidden_states)

    def leave(self, hidden_states: Tensor) -> None:
        """After the last probe block; arguments as for `enter`."""
        assert self.entered is not None, "enter comes before leave"
        self.residual = sample_tokens(hidden_states).sub_(self.entered)
        self.entered = None

    def rows(self, index: int, count: int) -> Tensor | None:
        """(b, n, D) the residual of one of `count` branches; b need not be that of the latent."""
        return None if self.residual is None else self.residual[branch_rows(self.residual, index, count)]

    def look(self, states: Sequence[BranchState], is_stepwise: bool = False) -> Tensor | None:
        """Squared size of the probe at the last full pass and of its movement since, for each branch.

        Args:
            states: of the call's branches, in order.
            is_stepwise: since the step before instead.

        Returns:
            (2 * branches,), or None where a branch has no probe to compare with.
        """
        numbers = []
        for i, state in enumerate(states):
            probe = self.rows(i, len(states))
            if probe is None or not len(state.history):
                return None
            newest = state.history.newest
            before, weights = state.probe_before if is_stepwise else newest.probe, newest.weights
            if before is None or before.tensor.shape != probe.shape:
                return None
            size = before.near(probe)
            counts = None if weights is None else weights.near(probe)
            numbers.append(gram([size, probe - size], counts).diagonal())
        return torch.cat(numbers)

    def keep_for_next_step(self, states: Sequence[BranchState], dtype: torch.dtype) -> None:
        """Remember it, in the model's precision, for a rule that compares with the step before."""
        for i, state in enumerate(states):
            rows = self.rows(i, len(states))
            state.probe_before = None if rows is None else keep(rows.clone(), dtype)

    def kept(self, index: int, count: int, spatial_weight: float) -> tuple[Tensor | None, Tensor | None]:
        """What an anchor keeps of one branch: (b, n, D) the residual and (b, n, 1) its tokens' weights."""
        rows = self.rows(index, count)
        if rows is None:
            return None, None
        residual = rows.clone()
        return residual, token_weights(residual, spatial_weight)

    def drop(self) -> None:
        """Nothing is asked of it any more."""
        self.entered = self.residual = None
