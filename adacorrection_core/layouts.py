"""How a block's image tokens come as (B, N, D), the one form in which the rest of the core knows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Layout:
    """A token layout and the way there and back.

    Attributes:
        name: shape in letters, for documentation.
        flatten: what a block takes or returns as (B, N, D); may be a view.
        unflatten: (B, N, D) tokens in the layout of another value, which is given as well.
    """

    name: str
    flatten: Callable[[Any], Tensor]
    unflatten: Callable[[Tensor, Any], Any]


def streams_to_tokens(streams: tuple[Tensor, Tensor]) -> Tensor:
    """Two streams of different width, such as video and audio, as one sequence of the first one's width.

    The second one is written into rows of that width, the last row filled up with zeros.

    Args:
        streams: (B, N, D) and (B, M, E).

    Returns:
        (B, N + ceil(M * E / D), D).
    """
    first, second = streams
    width = first.shape[-1]
    flat = second.flatten(1)
    rows = pad(flat, (0, -flat.shape[1] % width)).unflatten(1, (-1, width))
    return torch.cat([first, rows.to(first.dtype)], dim=1)


def tokens_to_streams(tokens: Tensor, like: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The inverse of `streams_to_tokens`."""
    first, second = like
    length = first.shape[1]
    flat = tokens[:, length:].flatten(1)[:, : second.shape[1] * second.shape[2]]
    return tokens[:, :length].contiguous(), flat.reshape(second.shape).to(second.dtype)


ROWS = Layout("(B, N, D)", lambda tokens: tokens, lambda tokens, _: tokens)
GRID = Layout(
    "(B, T, H, W, D)", lambda grid: grid.flatten(1, -2), lambda tokens, like: tokens.view(like.shape)
)
BATCH_LAST_GRID = Layout(
    "(T, H, W, B, D)",
    lambda grid: grid.movedim(-2, 0).flatten(1, -2),
    lambda tokens, like: tokens.view(like.movedim(-2, 0).shape).movedim(0, -2),
)
UNBATCHED = Layout("(N, D)", lambda tokens: tokens.unsqueeze(0), lambda tokens, _: tokens.squeeze(0))
STREAMS = Layout("(B, N, D), (B, M, E)", streams_to_tokens, tokens_to_streams)
