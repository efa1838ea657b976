"""Our hook in diffusers' registry of a transformer: put there, found, taken away."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from .config import ConfigError
from .diffusers_hook import TransformerHook

HOOK_NAME = "adacorrection"


def check_free(transformer: Any) -> None:
    """Raise ConfigError where this or another cache is enabled already."""
    present = getattr(transformer, "_cache_config", None)
    if present is not None:
        raise ConfigError(
            f"A cache is enabled on this transformer already ({type(present).__name__}), and two would skip "
            "twice. Call disable_adacorrection(transformer) or transformer.disable_cache() first."
        )


def attach(hook: TransformerHook) -> None:
    """Register a hook with its transformer, which must be free."""
    transformer: Any = hook.transformer
    registry = importlib.import_module("diffusers.hooks").HookRegistry.check_if_exists_or_initialize(
        transformer
    )
    registry.register_hook(hook, HOOK_NAME)
    transformer._cache_config = hook.setting.config  # enable_cache then refuses a second cache
    if not hasattr(transformer, "_reset_stateful_cache"):  # what pipelines call when they are through
        transformer._reset_stateful_cache = registry.reset_stateful_hooks


def attached(transformer: nn.Module) -> TransformerHook | None:
    """Our hook on a transformer, if there is one."""
    registry = getattr(transformer, "_diffusers_hook", None)
    hook: TransformerHook | None = registry.get_hook(HOOK_NAME) if registry is not None else None
    return hook


def detach(transformer: Any) -> None:
    """Take our hook away, and what diffusers' registry leaves behind where it holds no other."""
    registry = transformer._diffusers_hook
    registry.remove_hook(HOOK_NAME, recurse=False)
    for name in ("_cache_config", "_reset_stateful_cache"):
        transformer.__dict__.pop(name, None)
    if not registry.hooks:
        del transformer._diffusers_hook
        if getattr(transformer.forward, "__func__", None) is type(transformer).forward:
            transformer.__dict__.pop("forward", None)
