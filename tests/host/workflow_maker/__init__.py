"""The workflows that the pack ships, made from the node definitions of a real host.

cd tests/host && python -m workflow_maker     with the host's Python; COMFYUI_PATH as for the host tests
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import demos, pictures, videos
from .graph import Graph, Info

WORKFLOWS: dict[str, Callable[[Graph], None]] = {
    "adacorrection_demo": demos.demo,
    "adacorrection_ab_compare": demos.ab_compare,
    "adacorrection_target_speedup": demos.target_speedup,
    "adacorrection_paper_mode": demos.paper_mode,
    "adacorrection_flux1_dev": pictures.flux1_dev,
    "adacorrection_flux2_klein": pictures.flux2_klein,
    "adacorrection_sd3_5": pictures.sd3_5,
    "adacorrection_qwen_image": pictures.qwen_image,
    "adacorrection_z_image": pictures.z_image,
    "adacorrection_hunyuan_video_1_5": videos.hunyuan_video_1_5,
    "adacorrection_wan2_2": videos.wan2_2,
    "adacorrection_ltx_video": videos.ltx_video,
}
# Those that run on the demo model, with a CPU and no download.
RUNNABLE = (
    "adacorrection_demo",
    "adacorrection_ab_compare",
    "adacorrection_target_speedup",
    "adacorrection_paper_mode",
)


def make(name: str, info: Info, versions: dict[str, str]) -> dict[str, Any]:
    """A workflow by name, as the frontend saves it."""
    graph = Graph(info, versions, 1 + list(WORKFLOWS).index(name))
    WORKFLOWS[name](graph)
    return graph.to_workflow()
