"""What a run's cache will take, told to ComfyUI before it makes room, and where the cache is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import comfy.model_management
import torch

from ...adacorrection_core.anchors import CacheSize
from ...adacorrection_core.config import CorrectionConfig
from ...adacorrection_core.expected import Called
from ...adacorrection_core.risk import Schedule
from .family import Family, Shape
from .rehearsal import Cond, Rehearsal

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher


def computing_dtype(model: Any, cast: torch.dtype | None) -> torch.dtype:
    """Precision that a model computes in, whatever its weights are stored in.

    Args:
        model: the host's BaseModel.
        cast: its `manual_cast_dtype`, which a patcher may replace for a run.
    """
    return model.get_dtype() if cast is None else cast


def expected_calls(
    family: Family, rehearsal: Rehearsal, schedule: Schedule, config: CorrectionConfig
) -> list[Called]:
    """What the anchors of each branch will take, for each evaluation of a run.

    Args:
        family: of the model.
        rehearsal: what the run will call.
        schedule: its noise levels.
        config: the setting.
    """
    model, tokens = rehearsal.model, family.tokens
    diffusion_model, width = model.model.diffusion_model, 0
    dtype = computing_dtype(model.model, model.get_model_object("manual_cast_dtype"))
    if has_probe := family.has_blocks and config.asked_probe_blocks > 0:
        width = tokens.width_of(diffusion_model)

    def size(cond: Cond, shapes: Sequence[Shape]) -> CacheSize:
        text = cond.get("cross_attn")
        length = 0 if text is None else text.shape[1]
        count = tokens.count(diffusion_model, shapes, length) if has_probe else 0
        numbers = sum(math.prod(shape[1:]) for shape in shapes)
        return CacheSize(shapes[0][0], numbers, count, width, config.spatial_weight > 0, dtype)

    evaluations = map(rehearsal.evaluation, range(schedule.num_steps), schedule.sigmas)
    return [{key: size(*call) for key, call in calls.items()} for calls in evaluations]


def fits(model: ModelPatcher, noise_shape: Sequence[float], needed: int) -> bool:
    """Whether so many bytes fit on the device beside the whole model and what sampling takes."""
    device = model.load_device
    if device.type == "cpu":
        return True  # there is but one memory
    management = comfy.model_management
    sampling = model.model.memory_required([2 * noise_shape[0], *noise_shape[1:]])
    reserved = management.extra_reserved_memory()
    return needed <= management.get_total_memory(device) - reserved - sampling - model.model_size()


def with_reserve(model: ModelPatcher, noise_shape: Sequence[float], needed: int, dim: int = 0) -> list[float]:
    """The latent's shape with so many bytes more asked for in it.

    The host asks for memory by the shape of the noise and by nothing else, so the bytes are expressed as a
    share of a batch item, or of a row. It doubles the batch for cond and uncond in one of its two sums, and
    so asks for twice as much there; the other one, the minimum, is exact.

    Args:
        model: the patcher.
        noise_shape: as the host would have it.
        needed: bytes.
        dim: in which they are expressed.
    """
    shape = list(noise_shape)
    shape[dim] = 1
    shape[dim] = noise_shape[dim] + needed / model.model.memory_required(shape)
    return shape
