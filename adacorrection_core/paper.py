"""The published algorithm, layer by layer (arXiv 2602.13357; equations as in the authors' notes at
https://github.com/NoakLiu/FastCache-xDiT/blob/7d894fc/docs/methods/adacorrection.md).

For every layer l at every step t, with h = h_t^l the layer's input:

    delta_temp    = mean over tokens of ||h_t - h_(t-1)||_2
    delta_spatial = mean over tokens of sqrt(Var over channels of h_t)
    S             = delta_temp^2 + lambda * delta_spatial
    w             = clip(gamma * S, 0, 1)                                             (Eq. 6)
    h_hat         = (1 - w) * cached output + w * fresh output;  cache <- (h_t, h_hat)

It saves no time on its own: the fresh output is computed at every layer and step, so a run costs a
full run and the blend on top. And S is not scale-free: where activations are large (a wide model, say)
w is 1 everywhere and the output is the fresh one. It is here for study; `controller.py` is the part
that saves time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .call import CountedCall
from .drift import token_spread
from .evaluation import Branch, BranchState
from .state import RunState
from .stats import Reason


def delta_temp(hidden_states: Tensor, previous: Tensor) -> Tensor:
    """Mean L2 norm of the tokens' movement since the step before.

    Args:
        hidden_states, previous: (B, N, D) input of one layer at two steps.

    Returns:
        scalar, float32.
    """
    movement: Tensor = torch.linalg.vector_norm(hidden_states.float() - previous.float(), dim=-1)
    return movement.mean()


def delta_spatial(hidden_states: Tensor) -> Tensor:
    """Mean over tokens of the spread of their channels.

    Args:
        hidden_states: (B, N, D).

    Returns:
        scalar, float32.
    """
    return token_spread(hidden_states.float()).mean()


def offset_score(hidden_states: Tensor, previous: Tensor, spatial_weight: float) -> Tensor:
    """S = delta_temp^2 + lambda * delta_spatial, scalar."""
    return delta_temp(hidden_states, previous) ** 2 + spatial_weight * delta_spatial(hidden_states)


def correction_weight(score: Tensor, sensitivity: float) -> Tensor:
    """w = clip(gamma * S, 0, 1), scalar (Eq. 6)."""
    return (sensitivity * score).clamp(0.0, 1.0)


def blend(cached: Tensor, fresh: Tensor, weight: Tensor) -> Tensor:
    """(1 - w) * cached + w * fresh; the fresh output where that is not finite.

    Args:
        cached, fresh: (B, N, D).
        weight: scalar.
    """
    blended = torch.lerp(cached, fresh, weight.to(fresh.dtype))
    # NaN or infinity of a step before would stay in the cache for ever.
    return torch.where(torch.isfinite(blended).all(), blended, fresh)


class PaperCall(CountedCall):
    """One call of the model in paper mode: the seam hands over every layer.

    Args:
        run, sigma, branches: as for `CountedCall`.
    """

    def __init__(self, run: RunState, sigma: Tensor | float, branches: Sequence[Branch]) -> None:
        super().__init__(run, sigma, branches)
        level, _ = run.transfer.read(sigma)
        self.open(level)

    @torch.no_grad()
    def layer(self, index: int, hidden_states: Tensor, fresh: Tensor) -> Tensor:
        """Correct the output of one layer.

        Args:
            index: which layer.
            hidden_states: (B, N, D) its input, the caller's own copy (blocks write into theirs).
            fresh: (B, N, D) its output.

        Returns:
            (B, N, D) corrected output, a fresh tensor.
        """
        count = len(self.branches)
        pairs = zip(hidden_states.chunk(count), fresh.chunk(count), strict=True)
        return torch.cat([self.layer_of_branch(i, index, *pair) for i, pair in enumerate(pairs)])

    def layer_of_branch(self, branch: int, index: int, hidden_states: Tensor, fresh: Tensor) -> Tensor:
        """Correct one layer of one branch and update its cache."""
        cache = self.cache(branch, (tuple(fresh.shape), fresh.dtype, fresh.device))
        if index not in cache:
            cache[index] = (hidden_states, fresh.clone())
            return fresh
        previous, cached = cache[index]
        config = self.run.config
        score = offset_score(hidden_states, previous, config.spatial_weight)
        corrected = blend(cached, fresh, correction_weight(score, config.sensitivity))
        cache[index] = (hidden_states, corrected)
        return corrected

    def cache(self, branch: int, signature: tuple[object, ...]) -> dict[int, tuple[Tensor, Tensor]]:
        """Layer cache of a branch and stream shape: index -> (input, corrected output) of the step before."""
        key = (self.branches[branch].key, signature)
        state = self.run.branches.setdefault(key, BranchState(signature))
        state.last_seen = self.evaluation.index
        return state.layers

    def close(self, blocks_run: int, blocks_total: int, reason: Reason | None = Reason.PAPER) -> None:
        """End of the call, as the seam saw it."""
        self.run.note_bytes_held()
        super().close(blocks_run, blocks_total, reason)
