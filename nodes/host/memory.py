"""What a run's cache will take, told to ComfyUI before it makes room, and where the cache is kept."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import comfy.model_management
import torch

from ...adacorrection_core.anchors import CacheSize
from ...adacorrection_core.config import CorrectionConfig
from ...adacorrection_core.expected import Called
from ...adacorrection_core.risk import Schedule
from ...adacorrection_core.state import RunState
from .family import Family, Shape
from .rehearsal import Cond, Rehearsal

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

logger = logging.getLogger(__name__)
NOT_KNOWN = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def shape_with_cache(
    run: RunState, family: Family, rehearsal: Rehearsal, noise_shape: Sequence[float]
) -> list[float]:
    """The noise's shape by which the host makes room for a run and for what its cache will hold.

    Args:
        run: state of the run, which decides where the anchors are kept.
        family: of the model.
        rehearsal: what the run will call.
        noise_shape: as the host has it.
    """
    shape, evaluations = list(noise_shape), []
    try:
        shape = rehearsal.asked_shape(noise_shape)
        evaluations = expected_calls(family, rehearsal, run.schedule, run.config)
    except NOT_KNOWN as error:  # a variant with other names, another pack's windows: no reason to fail
        logger.warning("AdaCorrection: what the cache of %s will hold is not known.", family.name)
        logger.debug("AdaCorrection: since %r", error)
    model, numbers = rehearsal.model, sum(map(math.prod, rehearsal.latent_shapes))
    needed = run.expect(evaluations, numbers, lambda held: fits(model, shape, held))
    return with_reserve(model, shape, needed, rehearsal.uncut_dim)


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
