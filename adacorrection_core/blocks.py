"""The one hooking mechanism: stand in for `forward` of each transformer block during a model call.

Each block gets an instance attribute `forward` for the length of one call, as diffusers' own hooks do, so
that whatever calls the block (the model, another pack's replacement, a compiled wrapper) calls ours. The
first blocks run as they are and their output is the probe. At a computed step all others run as well; where
the probe says that they need not, they hand on their input, and what the model makes of that is thrown away.

What differs between model families is where the image tokens are; a `Stage` says so, as data.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .controller import ModelCall
from .paper import PaperCall
from .stages import Arguments, Layer

# Blocks can be stood in for by one call at a time: a second thread with the same model waits for its turn.
TURNS: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()


class Walk:
    """One model call seen from its blocks.

    Args:
        layers: all blocks in order.
        call: what the controller does with it.
        probe_blocks: blocks that are the probe.
        num_latent: image tokens that the head reads, where others (of reference pictures) may follow them;
            those are not looked at. None where all are read.
        is_asked: whether the decision hangs on the probe.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        call: ModelCall | PaperCall,
        probe_blocks: int,
        num_latent: int | None = None,
        is_asked: bool = False,
    ) -> None:
        self.layers = layers
        self.call = call
        self.probe_blocks = min(probe_blocks, len(layers) - 1)
        self.num_latent = num_latent
        self.is_asked = is_asked
        self.should_compute = True
        self.has_entered = False
        self.has_probed = False
        self.blocks_run = 0
        self.num_image = 0
        self.num_kept = 0
        self.block_input: Tensor | None = None

    def before(self, index: int, arguments: Arguments) -> Any | None:
        """Before block `index`: what to hand on in its place, None where it must run."""
        if isinstance(self.call, PaperCall):
            self.keep_input(index, arguments)
            return None
        if index == 0 and not self.has_entered and self.probe_blocks:
            self.enter(self.call, arguments)
        if not self.should_compute and index >= self.probe_blocks:
            return self.layers[index].stage.make_result(arguments)
        return None

    def after(self, index: int, result: Any, arguments: Arguments) -> Any:
        """After block `index` has run: what to hand on. A block may be called again in the same call."""
        self.blocks_run += 1
        if isinstance(self.call, PaperCall):
            return self.blended(self.call, index, result, arguments)
        if index == self.probe_blocks - 1 and self.has_entered and not self.has_probed:
            self.has_probed = True
            tokens = self.kept(index, self.output(index, result), arguments)
            self.should_compute = self.call.probe(tokens, self.is_asked)
        return result

    def enter(self, call: ModelCall, arguments: Arguments) -> None:
        """Before the first block: how many image tokens there are, and what they look like."""
        tokens = self.layers[0].stage.input(arguments)
        self.num_image = tokens.shape[1]
        self.num_kept = min(self.num_latent or self.num_image, self.num_image)
        self.has_entered = True
        call.enter(self.kept(0, tokens, arguments))

    def output(self, index: int, result: Any) -> Tensor:
        """The token sequence that a block returned."""
        return self.layers[index].stage.output(result)

    def kept_span(self, index: int, sequence: Tensor, arguments: Arguments) -> slice:
        """Where the image tokens that count lie in a sequence."""
        span = self.layers[index].stage.span(sequence, self.num_image, arguments)
        return slice(span.start, span.start + self.num_kept)

    def kept(self, index: int, sequence: Tensor, arguments: Arguments) -> Tensor:
        """View of the image tokens that count."""
        return sequence[:, self.kept_span(index, sequence, arguments)]

    def replaced(self, index: int, sequence: Tensor, tokens: Tensor, arguments: Arguments) -> Tensor:
        """A copy of a sequence with other image tokens in it."""
        if tokens.shape[1] == sequence.shape[1]:
            return tokens
        copy = sequence.clone()
        copy[:, self.kept_span(index, sequence, arguments)] = tokens
        return copy

    def keep_input(self, index: int, arguments: Arguments) -> None:
        """Paper mode, before a block: its image tokens, which it may write into."""
        sequence = self.layers[index].stage.input(arguments)
        if index == 0:
            self.num_image = self.num_kept = sequence.shape[1]
        self.block_input = self.kept(index, sequence, arguments).clone()

    def blended(self, call: PaperCall, index: int, result: Any, arguments: Arguments) -> Any:
        """Paper mode, after a block: what it returned, its image tokens blended with the cached ones."""
        assert self.block_input is not None
        sequence = self.output(index, result)
        tokens = call.layer(index, self.block_input, self.kept(index, sequence, arguments))
        image = self.replaced(index, sequence, tokens, arguments)
        return self.layers[index].stage.with_image(result, image)


class CountingWalk(Walk):
    """One model call whose blocks are counted and otherwise left alone."""

    def before(self, index: int, arguments: Arguments) -> None:
        """Every block runs."""

    def after(self, index: int, result: Any, arguments: Arguments) -> Any:
        """What the block returned."""
        self.blocks_run += 1
        return result


def entry_of(block: nn.Module) -> str:
    """The attribute that a call of a block goes through: `forward`, or the whole call where that is compiled.

    Standing in before the compiled call leaves its graph whole, and a block that is skipped costs no guard.
    """
    is_compiled = getattr(block, "_compiled_call_impl", None) is not None
    return "_compiled_call_impl" if is_compiled else "forward"


class BlockHooks:
    """The stand-ins of one model, the same function objects for a whole run (compiled graphs guard on them).

    Args:
        layers: all blocks of the model in order.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)
        self.walk: Walk | None = None
        self.thread = 0
        self.originals: list[Callable[..., Any]] = []
        self.turn = TURNS.setdefault(self.layers[0].block, threading.RLock())
        self.stand_ins = [self.stand_in(i) for i in range(len(self.layers))]

    def stand_in(self, index: int) -> Callable[..., Any]:
        """The function that takes the place of one block's forward.

        The decision is data: what is ours stays outside any compiled graph, the block itself inside.
        """
        before, after = torch.compiler.disable(self.before), torch.compiler.disable(self.after)

        def forward(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != self.thread:  # somebody else's call of the same model
                return self.originals[index](*args, **kwargs)
            instead = before(index, (args, kwargs))
            if instead is not None:
                return instead
            return after(index, self.originals[index](*args, **kwargs), (args, kwargs))

        stand_in: Callable[..., Any] = torch.compiler.disable(forward, recursive=False)
        return stand_in

    def before(self, index: int, arguments: Arguments) -> Any | None:
        """See `Walk.before`."""
        assert self.walk is not None
        return self.walk.before(index, arguments)

    def after(self, index: int, result: Any, arguments: Arguments) -> Any:
        """See `Walk.after`."""
        assert self.walk is not None
        return self.walk.after(index, result, arguments)

    @contextmanager
    def during(self, walk: Walk) -> Iterator[None]:
        """Stand in for the blocks; afterwards each has the forward that it had before."""
        with self.turn:
            blocks = [layer.block for layer in self.layers]
            entries = [entry_of(block) for block in blocks]
            own = [
                {k: v for k, v in block.__dict__.items() if k == entry}
                for block, entry in zip(blocks, entries, strict=True)
            ]
            self.originals = [getattr(block, entry) for block, entry in zip(blocks, entries, strict=True)]
            self.walk, self.thread = walk, threading.get_ident()
            try:
                for block, entry, stand_in in zip(blocks, entries, self.stand_ins, strict=True):
                    setattr(block, entry, stand_in)
                yield
            finally:
                for block, entry, before in zip(blocks, entries, own, strict=True):
                    block.__dict__.pop(entry, None)
                    block.__dict__.update(before)
                self.walk = None
