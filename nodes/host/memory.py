"""What a run's cache will take, told to ComfyUI before it makes room, and where the cache is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import comfy.model_management
import torch

from ...adacorrection_core.anchors import CacheSize
from ...adacorrection_core.config import CorrectionConfig
from .family import Family, Shape

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

Conds = dict[str, list[dict[str, Any]]]


def called_conds(conds: Conds, cfg: float | None) -> list[dict[str, Any]]:
    """The conditionings that a run calls the model with: at a guidance of 1 there is no negative one."""
    is_plain = cfg is not None and math.isclose(cfg, 1.0)
    lists = [entries for name, entries in conds.items() if not (is_plain and name == "negative")]
    return [cond for entries in lists for cond in entries or []]


def computing_dtype(model: Any, cast: torch.dtype | None) -> torch.dtype:
    """Precision that a model computes in, whatever its weights are stored in.

    Args:
        model: the host's BaseModel.
        cast: its `manual_cast_dtype`, which a patcher may replace for a run.
    """
    return model.get_dtype() if cast is None else cast


def expected_sizes(
    family: Family,
    model: ModelPatcher,
    latent_shapes: Sequence[Shape],
    conds: Sequence[dict[str, Any]],
    config: CorrectionConfig,
) -> list[CacheSize]:
    """What each conditioning's branch will hold.

    Args:
        family: of the model.
        model: the patcher.
        latent_shapes: (B, C, ...) of each latent.
        conds: the conditionings that the model is called with.
        config: the setting.
    """
    diffusion_model, tokens = model.model.diffusion_model, family.tokens
    rows, numbers = latent_shapes[0][0], sum(math.prod(shape[1:]) for shape in latent_shapes)
    dtype = computing_dtype(model.model, model.get_model_object("manual_cast_dtype"))
    has_probe = family.has_blocks and config.asked_probe_blocks > 0

    def size(cond: dict[str, Any]) -> CacheSize:
        if not has_probe:
            return CacheSize(rows, numbers, 0, 0, dtype=dtype)
        text = cond.get("cross_attn")
        count = tokens.count(diffusion_model, latent_shapes, 0 if text is None else text.shape[1])
        width = tokens.width_of(diffusion_model)
        return CacheSize(rows, numbers, count, width, config.spatial_weight > 0, dtype)

    return [size(cond) for cond in conds]


def fits(model: ModelPatcher, noise_shape: Sequence[float], needed: int) -> bool:
    """Whether so many bytes fit on the device beside the whole model and what sampling takes."""
    device = model.load_device
    if device.type == "cpu":
        return True  # there is but one memory
    management = comfy.model_management
    sampling = model.model.memory_required([2 * noise_shape[0], *noise_shape[1:]])
    reserved = management.extra_reserved_memory()
    return needed <= management.get_total_memory(device) - reserved - sampling - model.model_size()


def with_reserve(model: ModelPatcher, noise_shape: Sequence[float], needed: int) -> list[float]:
    """The latent's shape with so many bytes more asked for in it.

    The host asks for memory by the shape of the noise and by nothing else, so the bytes are expressed as a
    share of a batch item. It doubles the batch for cond and uncond in one of its two sums, and so asks for
    twice as much there; the other one, the minimum, is exact.
    """
    per_item = model.model.memory_required([1, *noise_shape[1:]])
    return [noise_shape[0] + needed / per_item, *noise_shape[1:]]
