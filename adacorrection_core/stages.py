"""Where the image tokens are in the blocks of a model family: data, which the hooks read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

Part = Literal["image", "text"]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """Where the image tokens are in one list of blocks.

    Attributes:
        blocks: attribute of the model that holds the list.
        image: position and name of the image tokens (B, N, D) among forward's arguments.
        text: the same for the text tokens where the block returns them too.
        returns: what forward returns, in order; a single part is returned bare.
        order: "image_only", or where the image lies in a joint sequence: "text_first", "image_first".
    """

    blocks: str
    image: tuple[int, str]
    text: tuple[int, str] | None = None
    returns: tuple[Part, ...] = ("image",)
    order: Literal["image_only", "text_first", "image_first"] = "image_only"

    def argument(self, part: Part, arguments: Arguments) -> Any:
        """The image or text tokens that a block was called with."""
        position, name = self.image if part == "image" or self.text is None else self.text
        args, kwargs = arguments
        return kwargs[name] if name in kwargs else args[position]

    def output(self, result: Any) -> Tensor:
        """The image tokens that a block returned."""
        tokens: Tensor = result[self.returns.index("image")] if len(self.returns) > 1 else result
        return tokens

    def make_result(self, arguments: Arguments, image: Tensor) -> Any:
        """What a block would return, with these image tokens and the text it was called with."""
        parts = [image if part == "image" else self.argument(part, arguments) for part in self.returns]
        return tuple(parts) if len(parts) > 1 else parts[0]

    def span(self, sequence: Tensor, num_image: int, arguments: Arguments) -> slice:
        """Where the image tokens lie in a sequence; the host's own word for it counts first."""
        if self.order == "image_only":
            return slice(0, num_image)
        options = arguments[1].get("transformer_options") or {}
        image_slice = options.get("img_slice") if isinstance(options, dict) else None
        if image_slice is not None:
            return slice(image_slice[0], image_slice[0] + num_image)
        start = 0 if self.order == "image_first" else sequence.shape[1] - num_image
        return slice(start, start + num_image)


@dataclass(frozen=True)
class Layer:
    """One block of a model, and the stage it belongs to."""

    block: nn.Module
    stage: Stage


def find_layers(model: nn.Module, stages: Sequence[Stage]) -> list[Layer]:
    """All blocks of a model in the order in which it calls them."""
    return [Layer(block, stage) for stage in stages for block in getattr(model, stage.blocks)]
