"""The AdaCorrectionCompare node: how near two pictures, videos or latents are to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from ..adacorrection_core.comparison import Comparison
from .compat import make_schema
from .host.events import show_text

if TYPE_CHECKING:
    from torch import Tensor


class AdaCorrectionCompare(io.ComfyNode):
    """Measures and shows what changed between two samplings of one seed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="AdaCorrectionCompare",
            display_name="AdaCorrection Compare",
            category="model/patch",
            description=(
                "How near two pictures, videos or latents are: PSNR, SSIM, a heat map of where they differ, "
                "and both side by side. Sample the same seed with and without AdaCorrection to see its price."
            ),
            search_aliases=["psnr", "ssim", "a/b test", "difference", "quality", "image compare"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.MultiType.Input(
                    "reference",
                    types=[io.Image, io.Latent],
                    tooltip="Measured against: picture, video frames or latent without AdaCorrection.",
                ),
                io.MultiType.Input(
                    "compared",
                    types=[io.Image, io.Latent],
                    tooltip="What is measured, of the same kind and size: the one with AdaCorrection.",
                ),
                io.Float.Input(
                    "full_scale",
                    optional=True,
                    default=0.0,
                    min=0.0,
                    max=1000.0,
                    step=0.01,
                    tooltip=(
                        "Difference shown in the lightest colour of the heat map. 0 takes the largest there "
                        "is; set it to see several comparisons on one scale."
                    ),
                ),
            ],
            outputs=outputs(),
        )

    @classmethod
    def execute(cls, reference: Any, compared: Any, full_scale: float = 0.0) -> io.NodeOutput:
        comparison = Comparison.of(contents(reference), contents(compared))
        measured = comparison.measured
        summary = measured.summary()
        show_text(summary.replace("\n", ".\n"), cls.hidden.unique_id if cls.hidden else None)
        difference, both = comparison.draw_difference(full_scale), comparison.draw_side_by_side()
        worst = both[measured.worst : measured.worst + 1]  # a video's frames would fill the node and the disk
        shown = {**ui.PreviewImage(worst, cls=cls).as_dict(), **ui.PreviewText(summary).as_dict()}
        return io.NodeOutput(measured.mean_psnr, measured.mean_ssim, difference, both, summary, ui=shown)


def outputs() -> list[io.Output]:
    """What is measured, as numbers, pictures and text."""
    return [
        io.Float.Output(
            display_name="psnr",
            tooltip="Peak signal-to-noise ratio in decibels, mean over pictures; 100 if identical.",
        ),
        io.Float.Output(
            display_name="ssim",
            tooltip="Structural similarity, mean over the pictures. 1 if identical.",
        ),
        io.Image.Output(
            display_name="difference",
            tooltip="Heat map of the absolute difference, mean over the channels, with its scale.",
        ),
        io.Image.Output(
            display_name="side_by_side",
            tooltip="Reference left, compared right, with the numbers. Latents in false colours.",
        ),
        io.String.Output(display_name="summary", tooltip="The numbers in a line or two."),
    ]


def contents(given: Tensor | dict[str, Any]) -> tuple[str, Any]:
    """What has been connected: its type in the host, and the tensor in it."""
    return ("LATENT", given["samples"]) if isinstance(given, dict) else ("IMAGE", given)
