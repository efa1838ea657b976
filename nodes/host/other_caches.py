"""Caches of other nodes on the same model: two that skip at once would add up their errors unseen.

They are known by the names of the wrappers that they put on a model. EasyCache and LazyCache are ComfyUI's
own (comfy_extras/nodes_easycache.py); the others take the one slot for a model function wrapper.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...adacorrection_core.sentences import say

# Part of a wrapper's key, or of its function's qualified name, in lower case; and the name that artists know.
CACHES = {
    "easycache": "EasyCache",
    "lazycache": "LazyCache",
    "teacache": "TeaCache",
    "magcache": "MagCache",
    "fbcache": "FBCache",
    "cachedit": "CacheDiT",
    "cache_dit": "CacheDiT",
    "taylorseer": "TaylorSeer",
    "spectrum": "Spectrum",
}


def two_caches(model_options: dict[str, Any]) -> str:
    """What to tell the artist where another cache is at work in a run; empty where there is none.

    Args:
        model_options: of the guider, with the wrappers of the model in its transformer_options.
    """
    names = [name.lower() for name in wrapper_names(model_options)]
    found = {label for part, label in CACHES.items() if any(part in name for name in names)}
    if not found:
        return ""
    others = " and ".join(sorted(found))
    return say("twoCaches", others=others)


def wrapper_names(model_options: dict[str, Any]) -> Iterator[str]:
    """Keys and qualified names of all wrappers that a run calls."""
    yield getattr(model_options.get("model_function_wrapper"), "__qualname__", "")
    for keyed in model_options.get("transformer_options", {}).get("wrappers", {}).values():
        for key, wrappers in keyed.items():
            yield str(key)
            yield from (getattr(wrapper, "__qualname__", "") for wrapper in wrappers)
