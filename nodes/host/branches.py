"""Which conditioning a call of the model is about: what may share a past, and what may not."""

from __future__ import annotations

from typing import Any

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


def switches_in(options: dict[str, Any]) -> frozenset[tuple[str, Any]]:
    """Switches of the model that a guidance node sets for a pass of its own, such as LTX-2's STG."""
    return frozenset(item for item in options.items() if isinstance(item[1], (bool, frozenset)))


def conds_of(options: dict[str, Any], num_rows: int) -> list[tuple[Any, int]]:
    """uuid and role of each conditioning in a call's batch, in order.

    A wrapper may have cut the batch into calls of its own and left the options as they were: where they do
    not go with the rows any more, the call counts as one conditioning.

    Args:
        options: transformer_options of the call.
        num_rows: of its batch.
    """
    roles = options.get("cond_or_uncond") or [0]
    uuids = options.get("uuids") or [None] * len(roles)
    if len(uuids) != len(roles) or num_rows % len(roles):
        return [(tuple(uuids), roles[0])]
    return list(zip(uuids, roles, strict=True))


def branches_of(model: Any, given: dict[str, Any]) -> list[Branch]:
    """One branch a conditioning in the call's batch, in order.

    Args:
        model: the host's BaseModel.
        given: arguments of the call by name: (B, ...) latents x, control and whatever else conditions it.

    A uuid alone does not tell branches apart: area conds hand theirs to the opposite list, passes of other
    guidance nodes (skip-layer, perturbed attention, without the voice to follow) have the same one with other
    patches, switches or conditions, and so have the windows of a long video.
    """
    x, options = given["x"], given["transformer_options"]
    window = options.get("context_window")
    place = (
        id(unwrapped(model.diffusion_model)),
        tuple(x.shape[1:]),
        tuple(getattr(window, "index_list", ())),
        patches_in(options),
        switches_in(options),
        hooks_in(model),
        frozenset(name for name, value in given.items() if value is not None),
    )
    return [Branch((*place, *cond), role_name(cond[1])) for cond in conds_of(options, len(x))]


def role_name(role: int) -> str:
    """What the host's number of a conditioning stands for."""
    return {0: "cond", 1: "uncond"}.get(role, f"cond {role}")
