"""What a model family is to the seam, and which one a model belongs to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

from torch import nn

from ...adacorrection_core.stages import Layer, Stage, find_layers

Shape = Sequence[int]


@dataclass(frozen=True)
class Tokens:
    """How many tokens of a latent a family's cache keeps, and how wide they are.

    Attributes:
        width: attribute of the model that holds a token's width, dotted where it lies deeper.
        patch: attribute that holds how many of the latent's elements a token spans: one number for height
            and width, or one for each of the last axes; several attributes, or the number itself.
        has_text: whether the prompt's tokens are kept with the image's.
        multiple: attribute that holds of what number the tokens of text and image are made multiples, if any.
        more: tokens beside those of the first latent, from the model and the shapes of all latents.
        is_sequence: whether the latent is a sequence of tokens already, (B, N, C).
    """

    width: str = "hidden_size"
    patch: str | int | tuple[str, ...] = "patch_size"
    has_text: bool = False
    multiple: str | None = None
    more: Callable[[nn.Module, Sequence[Shape]], int] | None = None
    is_sequence: bool = False

    def width_of(self, model: nn.Module) -> int:
        """Numbers a token."""
        return int(attrgetter(self.width)(model))

    def count(self, model: nn.Module, latent_shapes: Sequence[Shape], text_length: int) -> int:
        """Tokens a picture or video.

        Args:
            model: the diffusion model.
            latent_shapes: (B, C, ...) of each latent.
            text_length: tokens of the prompt.
        """
        tokens = latent_shapes[0][1] if self.is_sequence else self.of_latent(model, latent_shapes[0])
        more = self.more(model, latent_shapes) if self.more else 0
        multiple = (self.multiple and attrgetter(self.multiple)(model)) or 1
        parts = (tokens + more, text_length if self.has_text else 0)
        return sum(math.ceil(part / multiple) * multiple for part in parts)

    def of_latent(self, model: nn.Module, latent: Shape) -> int:
        """Tokens of a (B, C, ...) latent."""
        sides, patch = list(latent[2:]), self.patch_of(model)
        spans = [1] * (len(sides) - len(patch)) + patch[-len(sides) :]
        return math.prod(math.ceil(side / span) for side, span in zip(sides, spans, strict=True))

    def patch_of(self, model: nn.Module) -> list[int]:
        """Elements of the latent that a token spans, along the last axes."""
        if isinstance(self.patch, tuple):
            return [attrgetter(name)(model) for name in self.patch]
        patch = self.patch if isinstance(self.patch, int) else attrgetter(self.patch)(model)
        return [patch, patch] if isinstance(patch, int) else list(patch)


@dataclass(frozen=True)
class Example:
    """A published model of a family, for the table in the documentation.

    Attributes:
        name: as artists know it.
        width: numbers a token.
        makes: what its cache is counted for.
        latent: (C, ...) of a minute of sound or of a shape; what pictures and videos have follows from their
            size.
    """

    name: str
    width: int
    makes: Literal["picture", "video", "minute", "shape"] = "picture"
    latent: Shape = ()


@dataclass(frozen=True)
class Family:
    """A model family.

    Attributes:
        name: as artists know it.
        classes: qualified names of its diffusion model's classes, below comfy.ldm.
        stages: its lists of blocks, in the order in which they run; none where it is looked after as a whole.
        tokens: how many tokens are kept, and how wide they are.
        has_references: whether tokens of reference pictures may stand beside the latent's, cut off by the
            head. As many as the latent has are looked at, from the first on.
        own_state: transformer option that is there when calls change state of the model's own, so that none
            may be left out; None where that never is.
        example: a published model, None where its sizes are not known here.
    """

    name: str
    classes: tuple[str, ...]
    stages: tuple[Stage, ...]
    tokens: Tokens = Tokens()
    has_references: bool = False
    own_state: str | None = None
    example: Example | None = None

    @property
    def has_blocks(self) -> bool:
        """Whether the blocks are known; else the model is looked after as a whole."""
        return bool(self.stages)

    def layers(self, diffusion_model: nn.Module) -> list[Layer]:
        """All blocks of a model of this family, in order."""
        return find_layers(diffusion_model, self.stages)

    def num_latent(self, diffusion_model: nn.Module, latent: Shape) -> int | None:
        """Tokens of a (B, C, ...) latent where others may stand beside them; None where none do."""
        return self.tokens.count(diffusion_model, [latent], 0) if self.has_references else None

    def describe(self, diffusion_model: nn.Module) -> str:
        """For reports: "Flux: 19 double + 38 single blocks"."""
        if not self.has_blocks:
            return f"{self.name}: whole model, no blocks known"
        counts = [f"{len(stage.blocks_of(diffusion_model))} {kind_of(stage)}" for stage in self.stages]
        return f"{self.name}: {' + '.join(counts)}".removesuffix(" blocks") + " blocks"


def kind_of(stage: Stage) -> str:
    """How blocks of a stage are called in a report: "double" of "double_stream_blocks"."""
    name = stage.blocks.rpartition(".")[2]
    for ending in ("_blocks", "_layers", "_stream"):
        name = name.removesuffix(ending)
    return "blocks" if name == "layers" else name
