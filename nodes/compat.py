"""Settings of nodes that older hosts do not know: ComfyUI 0.8.0 has no advanced inputs, no search aliases."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from comfy_api.latest import io

AnyInput = TypeVar("AnyInput", bound=io.Input)

_KNOWN = {field.name for field in dataclasses.fields(io.Schema)}


def make_schema(**settings: Any) -> io.Schema:
    """A node's schema without the settings that this host does not know; those only shape its look."""
    return io.Schema(**{name: value for name, value in settings.items() if name in _KNOWN})


def advanced(widget: AnyInput) -> AnyInput:
    """The input, hidden until the artist asks for advanced ones; a host that knows none shows it as usual."""
    widget.extra_dict = {**(widget.extra_dict or {}), "advanced": True}
    return widget
