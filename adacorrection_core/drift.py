"""Offset estimation: how far the probe has moved since the last full pass, from a few inner products.

The paper's module (arXiv 2602.13357, "OEM") adds a squared mean token movement and a mean channel
spread, S = delta_temp^2 + lambda * delta_spatial (that form is in paper.py). It mixes units, so its
threshold depends on width, precision and model. Here both signals are kept and made scale-free: the
temporal one is the movement relative to the probe's own size, the spatial one weighs the tokens.

The probe is looked at only where the noise level leaves the decision in doubt (rules.py). A look costs
two inner products a branch and one transfer of as many numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MAX_SAMPLED_TOKENS = 1024


def token_stride(num_tokens: int) -> int:
    """Distance between the tokens that the statistics look at: all of them up to 1024, then every n-th."""
    return max(1, math.ceil(num_tokens / MAX_SAMPLED_TOKENS))


def num_sampled(num_tokens: int) -> int:
    """How many tokens of a sequence the statistics look at."""
    return math.ceil(num_tokens / token_stride(num_tokens))


def sample_tokens(hidden_states: Tensor) -> Tensor:
    """Float32 copy of the tokens that the statistics look at.

    Args:
        hidden_states: (B, N, D) tokens.

    Returns:
        (B, n, D) with n at most 1024; never a view, since blocks may write into their input.
    """
    sampled = hidden_states[:, :: token_stride(hidden_states.shape[1])]
    return sampled.to(torch.float32, copy=True)


def token_spread(tokens: Tensor) -> Tensor:
    """Channel spread inside each token, sqrt(Var_d): the paper's delta_spatial before its mean.

    Args:
        tokens: (B, n, D).

    Returns:
        (B, n).
    """
    return tokens.std(dim=-1, correction=0)


def token_weights(tokens: Tensor, spatial_weight: float) -> Tensor | None:
    """How much each token counts in the drift; mean 1 over a sample.

    Args:
        tokens: (B, n, D) probe residual of the last full pass.
        spatial_weight: 0 counts all tokens alike, 1 in proportion to their spread.

    Returns:
        (B, n, 1), or None where all count alike.
    """
    if spatial_weight == 0:
        return None
    spread = token_spread(tokens)
    relative = spread / spread.mean(dim=-1, keepdim=True).clamp_min(torch.finfo(spread.dtype).tiny)
    return (1 + spatial_weight * (relative - 1)).unsqueeze(-1)


def gram(vectors: Sequence[Tensor], weights: Tensor | None = None) -> Tensor:
    """Inner products of token tensors with one another, in float32.

    Args:
        vectors: k tensors (B, n, D).
        weights: (B, n, 1) weight of each token, or None.

    Returns:
        (k, k).
    """
    stacked = torch.stack(list(vectors))
    rows = stacked.flatten(1)
    weighted = rows if weights is None else (stacked * weights).flatten(1)
    return weighted @ rows.T


def relative_drift(moved: float, size: float) -> float:
    """Relative movement of the probe, from squared norms; 0 where nothing moved, inf where size is 0.

    Args:
        moved: squared norm of the movement since the last full pass.
        size: squared norm of the probe residual at that pass.
    """
    if moved <= 0:
        return 0.0
    return math.sqrt(moved / size) if size > 0 else math.inf


def probe_drift(looks: Sequence[float]) -> float:
    """Relative movement of the probe over all branches.

    Args:
        looks: of each branch, squared size of the probe at the last full pass and of its movement since.
    """
    return relative_drift(sum(looks[1::2]), sum(looks[0::2]))
