"""The one hooking mechanism: stand in for `forward` of each transformer block during a model call.

Each block gets an instance attribute `forward` for the length of one call, as diffusers' own hooks do, so
that whatever calls the block (the model, another pack's replacement, a compiled wrapper) calls ours. What is
done there is for the call's `Walk` to say.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from .stages import Arguments, Layer
from .walks import Walk

# Blocks can be stood in for by one call at a time: a second thread with the same model waits for its turn.
TURNS: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()


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
