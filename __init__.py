"""AdaCorrection: ComfyUI's door to the pack. No logic; importable without ComfyUI."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"
__version__ = "0.1.0"
__all__ = ["WEB_DIRECTORY", "__version__", "comfy_entrypoint"]


async def comfy_entrypoint() -> ComfyExtension:
    """ComfyUI calls this once, when it loads the pack."""
    from .nodes import AdaCorrectionExtension

    return AdaCorrectionExtension()
