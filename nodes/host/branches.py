"""Which conditioning a call of the model is about: what may share a past, and what may not."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import Tensor

from ...adacorrection_core.evaluation import Branch
from .recognise import unwrapped


def patches_in(options: dict[str, Any]) -> frozenset[tuple[Any, ...]]:
    """Which patches are at work in a call. By their code, since packs make new closures for each call."""

    def code(patch: Any) -> Any:
        return getattr(patch, "__code__", type(patch))

    replaced = options.get("patches_replace", {}).items()
    listed = options.get("patches", {}).items()
    replacements = [(kind, key, code(patch)) for kind, patches in replaced for key, patch in patches.items()]
    return frozenset([*replacements, *((kind, code(p)) for kind, patches in listed for p in patches)])


def hooks_in(model: Any) -> tuple[float, ...]:
    """Strengths of the host's hooks at work in a call: scheduled LoRAs, whose weights change in mid-run."""
    group = getattr(getattr(model, "current_patcher", None), "current_hooks", None)
    return tuple(hook.strength for hook in group.hooks) if group else ()


def branches_of(model: Any, x: Tensor, control: Any, options: dict[str, Any]) -> list[Branch]:
    """One branch a conditioning in the call's batch, in order.

    Args:
        model: the host's BaseModel.
        x: (B, ...) latents of the call.
        control: residuals of ControlNets, or None.
        options: transformer_options of the call.

    A uuid alone does not tell branches apart: area conds hand theirs to the opposite list, passes of other
    guidance nodes (skip-layer, perturbed attention) have the same one with other patches, and so have the
    windows of a long video.
    """
    window = options.get("context_window")
    place = (
        id(unwrapped(model.diffusion_model)),
        tuple(x.shape[1:]),
        tuple(getattr(window, "index_list", ())),
        patches_in(options),
        control is not None,
        hooks_in(model),
    )
    roles = options.get("cond_or_uncond") or [0]
    uuids = options.get("uuids") or [None] * len(roles)
    seen: Counter[tuple[Any, int]] = Counter()
    branches = []
    for uuid, role in zip(uuids, roles, strict=True):
        seen[uuid, role] += 1
        key = (*place, uuid, role, seen[uuid, role])
        branches.append(Branch(key, role_name(role)))
    return branches


def role_name(role: int) -> str:
    """What the host's number of a conditioning stands for."""
    return {0: "cond", 1: "uncond"}.get(role, f"cond {role}")
