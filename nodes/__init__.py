"""The pack's nodes. Thin: a schema, one call, an output."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .apply import AdaCorrection
from .compare import AdaCorrectionCompare
from .demo_nodes import AdaCorrectionDemoDecode, AdaCorrectionDemoPrompt
from .host.events import add_route
from .report import AdaCorrectionReport


class AdaCorrectionExtension(ComfyExtension):
    """What ComfyUI asks for the nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        add_route()  # not in on_load, which ComfyUI 0.8.0 does not call
        return [
            AdaCorrection,
            AdaCorrectionReport,
            AdaCorrectionCompare,
            AdaCorrectionDemoPrompt,
            AdaCorrectionDemoDecode,
        ]
