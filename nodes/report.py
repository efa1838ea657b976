"""The AdaCorrectionReport node: what the last run did, as text, numbers and a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from ..adacorrection_core.config import ConfigError
from ..adacorrection_core.figure import NARROWEST, WIDEST, draw_message, draw_timeline
from .compat import make_schema
from .host.events import show_text
from .host.session import report_of

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from torch import Tensor

THEMES = ("dark", "light")


class AdaCorrectionReport(io.ComfyNode):
    """Shows and hands on the report of the run that made a latent.

    It runs again whenever the sampler does, because what comes from the sampler is part of the host's cache
    key; nothing more is needed, and running more often would ask a model that was not sampled anew.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="AdaCorrectionReport",
            display_name="AdaCorrection Report",
            category="model/patch",
            description=(
                "Says what AdaCorrection did in the last run: how many steps were computed, corrected and "
                "held, how long it took, and if nothing was reused, why."
            ),
            search_aliases=["cache report", "hit rate", "timeline", "teacache"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model output of AdaCorrection, the one that was sampled."
                ),
                io.Latent.Input(
                    "latent", tooltip="The sampler's latent. It only makes the report wait for the sampler."
                ),
                io.Int.Input(
                    "width",
                    optional=True,
                    default=1024,
                    min=NARROWEST,
                    max=WIDEST,
                    step=64,
                    tooltip="Width of the picture in pixels; its writing grows with it.",
                ),
                io.Combo.Input(
                    "theme",
                    optional=True,
                    options=list(THEMES),
                    default=THEMES[0],
                    tooltip="Ground of the picture: dark for the screen, light for a page.",
                ),
            ],
            outputs=outputs(),
        )

    @classmethod
    def execute(
        cls, model: ModelPatcher, latent: dict[str, Any], width: int = 1024, theme: str = THEMES[0]
    ) -> io.NodeOutput:
        is_dark = theme == THEMES[0]
        try:
            report = report_of(model)
        except ConfigError as problem:
            # With AdaCorrection bypassed the picture is as good as ever: an error here would lose the run.
            message = str(problem)
            picture = draw_message("Nothing to report", message, width, is_dark=is_dark)
            return cls.show(message, 0.0, 0.0, picture, "{}")
        picture = draw_timeline(report, width, is_dark=is_dark)
        return cls.show(report.summary(), report.hit_rate, report.seconds, picture, report.to_json())

    @classmethod
    def show(
        cls, summary: str, hit_rate: float, seconds: float, picture: Tensor, record: str
    ) -> io.NodeOutput:
        """The outputs, and the same on the node. `picture` is (H, W, 3), `record` JSON."""
        # A node has room for three lines; the picture says the rest. Full stops, as Nodes 2.0 joins lines.
        show_text(".\n".join(summary.splitlines()[-3:]), cls.hidden.unique_id if cls.hidden else None)
        timeline = picture.unsqueeze(0)
        shown = {**ui.PreviewImage(timeline, cls=cls).as_dict(), **ui.PreviewText(summary).as_dict()}
        return io.NodeOutput(summary, hit_rate, seconds, timeline, record, ui=shown)


def outputs() -> list[io.Output]:
    """The run as text, numbers, picture and record."""
    return [
        io.String.Output(display_name="summary", tooltip="The run in a few lines."),
        io.Float.Output(
            display_name="hit_rate",
            tooltip="Steps that were not computed, over all steps, 0 to 1, counted by branch.",
        ),
        io.Float.Output(display_name="seconds", tooltip="Measured time of the whole sampling run."),
        io.Image.Output(
            display_name="timeline",
            tooltip="The run as a picture: what was done to which blocks at each step, and why.",
        ),
        io.String.Output(
            display_name="json", tooltip="The whole record, one entry a step and branch, for scripts."
        ),
    ]
