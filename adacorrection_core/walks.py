"""One model call seen from its blocks: what each is given, whether it runs, what it hands on.

The first blocks run as they are and their output is the probe. At a computed step all others run as well;
where the probe says that they need not, they hand on their input, and what the model makes of that is thrown
away. What differs between model families is where the image tokens are; a `Stage` says so, as data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .controller import ModelCall
from .paper import PaperCall
from .stages import Arguments, Layer


class Walk:
    """One model call whose blocks are counted and otherwise left alone.

    Args:
        layers: all blocks in order.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self.blocks_run = 0
        self.num_image = 0
        self.num_kept = 0

    def before(self, index: int, arguments: Arguments) -> Any | None:
        """Before block `index`: what to hand on in its place, None where it must run."""
        return None

    def after(self, index: int, result: Any, arguments: Arguments) -> Any:
        """After block `index` has run: what to hand on. A block may be called again in the same call."""
        self.blocks_run += 1
        return result

    def kept_span(self, index: int, sequence: Tensor, arguments: Arguments) -> slice:
        """Where the image tokens that count lie in a sequence."""
        span = self.layers[index].stage.span(sequence, self.num_image, arguments)
        return slice(span.start, span.start + self.num_kept)

    def kept(self, index: int, sequence: Tensor, arguments: Arguments) -> Tensor:
        """View of the image tokens that count."""
        return sequence[:, self.kept_span(index, sequence, arguments)]


class ProbeWalk(Walk):
    """One model call in accelerated mode.

    Args:
        layers: all blocks in order.
        call: what the controller does with it.
        probe_blocks: blocks that are the probe, at least one and fewer than all.
        num_latent: image tokens that the head reads, where others (of reference pictures) may follow them;
            those are not looked at. None where all are read.
        is_asked: whether the decision hangs on the probe.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        call: ModelCall,
        probe_blocks: int,
        num_latent: int | None = None,
        is_asked: bool = False,
    ) -> None:
        super().__init__(layers)
        self.call = call
        self.probe_blocks = probe_blocks
        self.num_latent = num_latent
        self.is_asked = is_asked
        self.should_compute = True
        self.has_entered = False
        self.has_probed = False

    def before(self, index: int, arguments: Arguments) -> Any | None:
        """Look at what the first block is given; past the probe, leave out blocks that need not run."""
        if index == 0 and not self.has_entered:
            self.enter(arguments)
        if not self.should_compute and index >= self.probe_blocks:
            return self.layers[index].stage.make_result(arguments)
        return None

    def after(self, index: int, result: Any, arguments: Arguments) -> Any:
        """Show the controller what the last probe block returned; it may decide by that."""
        if index == self.probe_blocks - 1 and self.has_entered and not self.has_probed:
            self.has_probed = True
            tokens = self.kept(index, self.layers[index].stage.output(result), arguments)
            self.should_compute = self.call.probe(tokens, self.is_asked)
        return super().after(index, result, arguments)

    def enter(self, arguments: Arguments) -> None:
        """Before the first block: how many image tokens there are, and what they look like."""
        tokens = self.layers[0].stage.input(arguments)
        self.num_image = tokens.shape[1]
        self.num_kept = min(self.num_latent or self.num_image, self.num_image)
        self.has_entered = True
        self.call.enter(self.kept(0, tokens, arguments))


class PaperWalk(Walk):
    """One model call in paper mode: the image tokens that a block returns are blended with the cached ones.

    Args:
        layers: all blocks in order.
        call: that blends.
    """

    def __init__(self, layers: Sequence[Layer], call: PaperCall) -> None:
        super().__init__(layers)
        self.call = call
        self.block_input: Tensor | None = None

    def before(self, index: int, arguments: Arguments) -> None:
        """Keep the block's image tokens, which it may write into."""
        sequence = self.layers[index].stage.input(arguments)
        if index == 0:
            self.num_image = self.num_kept = sequence.shape[1]
        self.block_input = self.kept(index, sequence, arguments).clone()

    def after(self, index: int, result: Any, arguments: Arguments) -> Any:
        """What the block returned, with the blended image tokens in it."""
        assert self.block_input is not None
        stage = self.layers[index].stage
        sequence = stage.output(result)
        tokens = self.call.layer(index, self.block_input, self.kept(index, sequence, arguments))
        blended = stage.with_image(result, self.replaced(index, sequence, tokens, arguments))
        return super().after(index, blended, arguments)

    def replaced(self, index: int, sequence: Tensor, tokens: Tensor, arguments: Arguments) -> Tensor:
        """A copy of a sequence with other image tokens in it."""
        if tokens.shape[1] == sequence.shape[1]:
            return tokens
        copy = sequence.clone()
        copy[:, self.kept_span(index, sequence, arguments)] = tokens
        return copy
