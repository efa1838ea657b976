"""How much work the transformer blocks did, counted inside them and never taken from a cache's word."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass
class BlockWork:
    """Multiplications of the linear layers inside each block, call by call of the counted span.

    Every block counts alike, and so does every call: a block that runs whole counts 1, one whose attention
    alone is skipped, or that runs for half of the batch, the share that is left. Attention scores are left
    out; at the demo model's 64 image tokens they are a twelfth of a block's work.

    Attributes:
        done: multiplications done, by block.
        full: multiplications of one run of the block in full: the most that a single call has done.
    """

    done: list[int]
    full: list[int] = field(default_factory=list)
    in_call: list[int] = field(default_factory=list)

    def executions(self) -> float:
        """Block executions so far."""
        return sum(done / full for done, full in zip(self.done, self.full, strict=True) if full)

    def fraction(self, num_calls: int) -> float:
        """Block executions over those of `num_calls` calls in full.

        Args:
            num_calls: model calls of the full run. At least one of the calls counted must have been full.
        """
        return self.executions() / (num_calls * len(self.done))

    def end_call(self) -> None:
        """Take in what the model call that ends here has done."""
        self.done = [done + now for done, now in zip(self.done, self.in_call, strict=True)]
        self.full = [max(full, now) for full, now in zip(self.full, self.in_call, strict=True)]
        self.in_call = [0] * len(self.done)


@contextmanager
def counted(model: nn.Module, blocks: Sequence[nn.Module]) -> Iterator[BlockWork]:
    """Counts what `blocks` do during the `with` block, in the linear layers inside them.

    Enter this before a cache: what it then takes for the forward of a layer is the counting one, so that a
    layer whose call the cache answers by itself is not counted.

    Args:
        model: whose calls are counted one by one; each ends with the model's output.
        blocks: its transformer blocks.
    """
    work = BlockWork([0] * len(blocks), [0] * len(blocks), [0] * len(blocks))

    def counting(layer: nn.Linear, index: int) -> Callable[..., Any]:
        forward, outputs = layer.forward, layer.weight.shape[0]

        def count_and_forward(inputs: Tensor, *args: Any, **kwargs: Any) -> Any:
            work.in_call[index] += inputs.numel() * outputs
            return forward(inputs, *args, **kwargs)

        return count_and_forward

    with ExitStack() as stack:
        for i, block in enumerate(blocks):
            for layer in block.modules():
                if isinstance(layer, nn.Linear):
                    own = {key: value for key, value in layer.__dict__.items() if key == "forward"}
                    layer.forward = counting(layer, i)
                    stack.callback(layer.__dict__.update, own)
                    stack.callback(layer.__dict__.pop, "forward")
        handle = model.register_forward_hook(lambda *_: work.end_call())
        stack.callback(handle.remove)
        yield work
