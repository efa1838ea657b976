"""What a tiny model is made of, and what it is fed: the form of an entry in the tables of tiny models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Generator

Conditioning = list[list[Any]]  # as ComfyUI's nodes pass it: [[cross_attn, options]]
MakeConditioning = Callable[[Generator], Conditioning]


@dataclass(frozen=True)
class Family:
    """How to build one tiny model and what to feed it.

    module:        import path of the diffusion model's class
    arguments:     its constructor's arguments, tiny
    latent_shape:  (1, C, H, W) or (1, C, T, H, W), without noise; a list of such where there are several
    conditioning:  makes a random conditioning
    blocks:        names of its block lists, in the order in which they run
    forced:        names of arguments that detection is told, because it may not find them in the checkpoint
    marker:        constructor argument, or field of the class's ...Params, that older hosts lack
    batches_since: first ComfyUI version whose own model takes more than one cond or image at once
    since:         first ComfyUI version whose own model works
    max_rows:      how many conds times images its own model takes in one call
    closeness:     how far a run with some corrected steps may be from the full one: random weights are
                   rougher in some families than in others; noise in place of the picture is at 1.4
    is_whole:      whether it is looked after as a whole, without its blocks
    entry:         method of its blocks that the model calls
    metadata:      the checkpoint's own description of itself, where detection reads that
    prefix:        what the key names of its files begin with
    beside:        makes weights that stand in its files beside the diffusion model's
    defaults:      sizes of parts that no argument reaches, by class in the same module
    constants:     the same where they are numbers in the code, old to new
    """

    module: str
    arguments: dict[str, Any]
    latent_shape: tuple[int, ...] | list[tuple[int, ...]]
    conditioning: MakeConditioning
    blocks: tuple[str, ...]
    forced: tuple[str, ...] = ()
    marker: str | None = None
    batches_since: tuple[int, ...] = ()
    since: tuple[int, ...] = ()
    max_rows: int = 1000
    closeness: float = 0.2
    is_whole: bool = False
    entry: str = "forward"
    metadata: dict[str, str] | None = None
    prefix: str = ""
    beside: Callable[[], dict[str, torch.Tensor]] = dict
    defaults: dict[str, dict[str, int]] = field(default_factory=dict)
    constants: dict[str, dict[int, int]] = field(default_factory=dict)


def conditioning(cross_attn: tuple[int, ...], **options: Any) -> MakeConditioning:
    """An option may be a shape (a random tensor), a function of the generator, or a constant."""

    def make(generator: Generator) -> Conditioning:
        def value(option: Any) -> Any:
            if isinstance(option, tuple):
                return torch.randn(option, generator=generator)
            return option(generator) if callable(option) else option

        tokens = torch.randn(cross_attn, generator=generator)
        return [[tokens, {name: value(option) for name, option in options.items()}]]

    return make


WIDTH = 128  # one attention head; most families fix its size at 128


def attended(length: int) -> Callable[[Generator], torch.Tensor]:
    """The attention mask of a prompt that is all there."""
    return lambda _: torch.ones(1, length, dtype=torch.long)


def vision(**shapes: tuple[int, ...]) -> Callable[[Generator], SimpleNamespace]:
    """What CLIPVisionEncode gives, with these tensors in it."""
    return lambda generator: SimpleNamespace(
        **{name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    )
