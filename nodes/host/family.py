"""What a model family is to the seam, and which one a model belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ...adacorrection_core.stages import Arguments, Layer, Stage, find_layers


@dataclass(frozen=True)
class Family:
    """A model family.

    Attributes:
        name: as artists know it.
        classes: qualified names of its diffusion model's classes, below comfy.ldm.
        stages: its lists of blocks, in the order in which they run.
        trailing_tokens: image tokens at the end that the head does not read; None where there are none.
    """

    name: str
    classes: tuple[str, ...]
    stages: tuple[Stage, ...]
    trailing_tokens: Callable[[Arguments], int] | None = None

    def layers(self, diffusion_model: nn.Module) -> list[Layer]:
        """All blocks of a model of this family, in order."""
        return find_layers(diffusion_model, self.stages)

    def describe(self, diffusion_model: nn.Module) -> str:
        """For reports: "Flux: 19 double + 38 single blocks"."""
        counts = [f"{len(stage.blocks_of(diffusion_model))} {kind_of(stage)}" for stage in self.stages]
        return f"{self.name}: {' + '.join(counts)}".removesuffix(" blocks") + " blocks"


def kind_of(stage: Stage) -> str:
    """How blocks of a stage are called in a report: "double" of "double_stream_blocks"."""
    name = stage.blocks.rpartition(".")[2]
    for ending in ("_blocks", "_layers", "_stream"):
        name = name.removesuffix(ending)
    return "blocks" if name == "layers" else name
