"""Where the image tokens are in the blocks of a model family: data, which the hooks read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

from torch import Tensor, nn

from .layouts import ROWS, Layout

Part = Literal["image", "text"]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """Where the image tokens are in one list of blocks.

    Attributes:
        blocks: attribute of the model that holds the list, dotted where it lies deeper.
        image: position and name of the image tokens among forward's arguments.
        text: the same for the text tokens where the block returns them too.
        returns: what forward returns, in order; a single part is returned bare.
        order: "all" where the whole sequence is kept, or where the image lies in a joint sequence of which
            only the image is: "text_first", "image_first".
        layout: how the tokens come.
    """

    blocks: str
    image: tuple[int, str]
    text: tuple[int, str] | None = None
    returns: tuple[Part, ...] = ("image",)
    order: Literal["all", "text_first", "image_first"] = "all"
    layout: Layout = ROWS

    def argument(self, part: Part, arguments: Arguments) -> Any:
        """The image or text tokens that a block was called with, in its own layout."""
        position, name = self.image if part == "image" or self.text is None else self.text
        args, kwargs = arguments
        return kwargs[name] if name in kwargs else args[position]

    def input(self, arguments: Arguments) -> Tensor:
        """(B, N, D) token sequence that a block was called with."""
        return self.layout.flatten(self.argument("image", arguments))

    def output(self, result: Any) -> Tensor:
        """(B, N, D) token sequence that a block returned."""
        tokens = result[self.returns.index("image")] if len(self.returns) > 1 else result
        return self.layout.flatten(tokens)

    def make_result(self, arguments: Arguments, tokens: Tensor | None = None) -> Any:
        """What a block would return that hands on what it was called with.

        Args:
            arguments: what it was called with.
            tokens: (B, N, D) sequence in place of the image tokens that it was called with.
        """
        parts: dict[Part, Any] = {part: self.argument(part, arguments) for part in self.returns}
        if tokens is not None:
            parts["image"] = self.layout.unflatten(tokens, parts["image"])
        return tuple(parts.values()) if len(parts) > 1 else parts["image"]

    def with_image(self, result: Any, tokens: Tensor) -> Any:
        """What a block returned, with another (B, N, D) sequence of image tokens in it."""
        if len(self.returns) == 1:
            return self.layout.unflatten(tokens, result)
        parts = list(result)
        index = self.returns.index("image")
        parts[index] = self.layout.unflatten(tokens, parts[index])
        return tuple(parts)

    def span(self, sequence: Tensor, num_image: int, arguments: Arguments) -> slice:
        """Where the image tokens lie in a sequence; the host's own word for it counts first."""
        if self.order == "all":
            return slice(0, num_image)
        options = arguments[1].get("transformer_options") or {}
        image_slice = options.get("img_slice") if isinstance(options, dict) else None
        if image_slice is not None:
            return slice(image_slice[0], image_slice[0] + num_image)
        start = 0 if self.order == "image_first" else sequence.shape[1] - num_image
        return slice(start, start + num_image)

    def blocks_of(self, model: nn.Module) -> list[nn.Module]:
        """The blocks of a model, in order."""
        blocks = attrgetter(self.blocks)(model)
        return list(blocks.values() if isinstance(blocks, nn.ModuleDict) else blocks)


@dataclass(frozen=True)
class Layer:
    """One block of a model, and the stage it belongs to."""

    block: nn.Module
    stage: Stage


def find_layers(model: nn.Module, stages: Sequence[Stage]) -> list[Layer]:
    """All blocks of a model in the order in which it calls them."""
    return [Layer(block, stage) for stage in stages for block in stage.blocks_of(model)]
