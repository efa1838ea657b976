"""Which conditionings each evaluation of a run will call, and on what shapes, by the host's own rules.

Worked out before the run, from what the host knows by then: conditionings with their areas and ranges,
ControlNets and scheduled LoRAs that change, windows of a long video, and passes that guidance nodes add.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from types import CodeType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import comfy.samplers
import torch

from .family import Shape

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

Cond = dict[str, Any]
Conds = dict[str, list[Cond]]
# Where a model's options keep the functions of guidance nodes, one or a list of them.
GUIDANCE = (
    "sampler_pre_cfg_function",
    "sampler_cfg_function",
    "sampler_post_cfg_function",
    "sampler_calc_cond_batch_function",
)
CALLS_THE_MODEL = {"calc_cond_batch", "calc_cond_uncond_batch"}  # the host's functions for it


@dataclass(frozen=True)
class Rehearsal:
    """What a run will call.

    Args:
        model: the patcher.
        conds: the conditionings, by the name of their list.
        model_options: of the run.
        latent_shapes: (B, C, ...) of each latent.
        cfg: guidance scale; None where the guider does not say.
    """

    model: ModelPatcher
    conds: Conds
    model_options: dict[str, Any]
    latent_shapes: Sequence[Shape]
    cfg: float | None = None

    def evaluation(self, index: int, sigma: float) -> dict[Hashable, tuple[Cond, Sequence[Shape]]]:
        """The calls of one evaluation: conditioning and shapes of each, by what tells them apart.

        Args:
            index: of the sampler's step.
            sigma: noise level.
        """
        calls = {}
        for window in self.windows(index):
            shapes = self.window_shapes(window)
            for place, cond in enumerate(self.called):
                if is_in_range(cond, sigma):
                    key = (place, window, self.is_controlled(cond, sigma), self.hook_strengths(cond, sigma))
                    calls[key] = cond, area_shapes(cond, shapes)
        return calls

    @cached_property
    def model_sampling(self) -> Any:
        """Noise levels of the model as it is patched."""
        return self.model.get_model_object("model_sampling")

    @cached_property
    def called(self) -> list[Cond]:
        """The conditionings of all calls at a place; one for which guidance calls the model again, twice."""
        lists = self.resolved()
        if self.has_no_negative:
            lists.pop("negative", None)
        if self.has_windows and getattr(self.context, "split_conds_to_windows", False):
            lists = {name: conds[:1] for name, conds in lists.items()}  # each window has one of the list
        again = num_passes(self.model_options) * lists.get("positive", [])
        return [cond for conds in lists.values() for cond in conds] + again

    @property
    def has_no_negative(self) -> bool:
        """Whether the host leaves out the negative conditioning: at a guidance of 1.

        Guiders of three prompts go by scales of their own, which are not known here.
        """
        is_usual = self.conds.keys() <= {"positive", "negative"}
        is_one = self.cfg is not None and math.isclose(self.cfg, 1.0)
        return is_usual and is_one and not self.model_options.get("disable_cfg1_optimization", False)

    def resolved(self) -> Conds:
        """The conditionings as the host will have them: areas in numbers, and each one on both sides."""
        lists = {name: list(conds or []) for name, conds in self.conds.items()}
        owner = SimpleNamespace(model_sampling=self.model_sampling)
        for conds in lists.values():
            if not self.is_packed:
                size = tuple(self.latent_shapes[0][2:])
                comfy.samplers.resolve_areas_and_cond_masks_multidim(conds, size, torch.device("cpu"))
            comfy.samplers.calculate_start_end_timesteps(owner, conds)
        for name, conds in lists.items():
            for cond in conds:
                for other in (conds for other, conds in lists.items() if other != name):
                    comfy.samplers.create_cond_with_same_area_if_none(other, cond)
        return lists

    @property
    def is_packed(self) -> bool:
        """Whether several latents come in one, which has no width and height."""
        return len(self.latent_shapes) > 1

    @property
    def context(self) -> Any:
        """What cuts a long video into windows; None where nothing does."""
        return self.model_options.get("context_handler")

    @property
    def has_windows(self) -> bool:
        """Whether the latent is longer than a window."""
        return self.context is not None and self.num_frames > self.context.context_length

    def windows(self, index: int) -> Iterator[tuple[int, ...]]:
        """Frames of each window of a step; none stand for the whole latent."""
        if not self.has_windows:
            yield ()
            return
        handler = copy.copy(self.context)  # the host's own notes the step that it is at
        handler._step = index
        for frames in handler.context_schedule.func(self.num_frames, handler, self.model_options):
            yield tuple(frames)

    @property
    def num_frames(self) -> int:
        """Length of the latent along which it is cut."""
        return self.latent_shapes[0][self.context.dim]

    def window_shapes(self, window: Sequence[int]) -> Sequence[Shape]:
        """(B, C, ...) of each latent in a window."""
        if not window:
            return self.latent_shapes
        dim, frames = self.context.dim, [window]
        if self.is_packed:
            own_map = self.model.model.map_context_window_to_modalities
            frames = own_map(list(window), self.latent_shapes, dim)
        lengths = [len(indices) for indices in frames]
        if getattr(self.context, "causal_window_fix", False) and window[0] > 0:
            lengths[0] += 1  # the frame before goes along
        pairs = zip(self.latent_shapes, lengths, strict=True)
        return [(*shape[:dim], length, *shape[dim + 1 :]) for shape, length in pairs]

    def is_controlled(self, cond: Cond, sigma: float) -> bool:
        """Whether a ControlNet of a conditioning is at work at a noise level."""
        control = cond.get("control")
        while control is not None:
            first, last = map(self.model_sampling.percent_to_sigma, control.timestep_percent_range)
            if last <= sigma <= first:
                return True
            control = control.previous_controlnet
        return False

    def hook_strengths(self, cond: Cond, sigma: float) -> tuple[float, ...]:
        """Strengths of scheduled LoRAs at a noise level."""
        hooks, start = cond.get("hooks"), self.model_sampling.percent_to_sigma
        frames = [hook.hook_keyframe.keyframes for hook in hooks.hooks] if hooks else []
        reached = [[frame for frame in each if start(frame.start_percent) >= sigma] for each in frames]
        return tuple(each[-1].strength for each in reached if each)

    def asked_shape(self, noise_shape: Sequence[float]) -> list[float]:
        """The noise's shape as the host asks for memory by it: that of one window where there are windows.

        Its own wrapper for it may come before or after.
        """
        shape = list(noise_shape)
        if self.context is not None and not self.is_packed:
            shape[self.context.dim] = min(shape[self.context.dim], self.context.context_length)
        return shape

    @property
    def uncut_dim(self) -> int:
        """Of the noise's shape: one that the host's own wrapper for windows does not cut afterwards."""
        return -1 if getattr(self.context, "dim", None) == 0 else 0


def is_in_range(cond: Cond, sigma: float) -> bool:
    """Whether a conditioning counts at a noise level."""
    return cond.get("timestep_end", -math.inf) <= sigma <= cond.get("timestep_start", math.inf)


def area_shapes(cond: Cond, shapes: Sequence[Shape]) -> Sequence[Shape]:
    """(B, C, ...) of the part of the latents that a conditioning is for."""
    if "area" not in cond or len(shapes) > 1:
        return shapes
    return [area_shape(tuple(cond["area"]), tuple(shapes[0]))]


@lru_cache
def area_shape(area: tuple[int, ...], shape: tuple[int, ...]) -> Shape:
    """(B, C, ...) of an area in a latent, as the host cuts it out; it takes its time for the edges."""
    part = {"area": area, "model_conds": {}, "uuid": None}
    x = torch.empty(shape, device="meta")
    return tuple(comfy.samplers.get_area_and_mult(part, x, torch.zeros(1)).input_x.shape)


def num_passes(model_options: dict[str, Any]) -> int:
    """How many passes guidance nodes add: their functions that call the model themselves."""
    found = [model_options.get(name) or [] for name in GUIDANCE]
    functions = [each for one in found for each in (one if isinstance(one, list) else [one])]
    return sum(calls_the_model(function) for function in functions)


def calls_the_model(function: Any) -> bool:
    """Whether a guidance function calls the model, as its code tells."""
    function = inspect.unwrap(function.func if isinstance(function, partial) else function)
    codes = [getattr(each, "__code__", None) for each in (function, type(function).__call__)]
    parts = (part for code in codes if code is not None for part in with_inner(code))
    return any(CALLS_THE_MODEL.intersection(part.co_names + part.co_freevars) for part in parts)


def with_inner(code: CodeType) -> Iterator[CodeType]:
    """A function's code and that of the functions written in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from with_inner(constant)


def guidance_scale(guider: Any) -> float | None:
    """Guidance scale of a run; None where the guider does not say.

    Another kind of guider may keep it elsewhere and leave the host's number as it was, or have one a step.
    """
    setting = getattr(getattr(type(guider), "set_cfg", None), "__code__", None)
    is_kept = setting is not None and not {"cfg", "set_cfg"}.isdisjoint(setting.co_names)
    cfg = getattr(guider, "cfg", None)
    return float(cfg) if is_kept and isinstance(cfg, (int, float)) else None
