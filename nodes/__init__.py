"""The pack's nodes. Thin: a schema, one call, an output."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .apply import AdaCorrection
from .demo_nodes import AdaCorrectionDemoDecode, AdaCorrectionDemoPrompt
from .report import AdaCorrectionReport


class AdaCorrectionExtension(ComfyExtension):
    """What ComfyUI asks for the nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [AdaCorrection, AdaCorrectionReport, AdaCorrectionDemoPrompt, AdaCorrectionDemoDecode]
