"""What the nodes say in English, in the form of the frontend's node definitions.

python tests/host/english.py writes it to locales/en, with the host's Python.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import comfy_host

if TYPE_CHECKING:
    from comfy_api.latest import io

FILE = comfy_host.PACK_ROOT / "locales" / "en" / "nodeDefs.json"

Texts = dict[str, Any]


def of_nodes(pack: ModuleType) -> Texts:
    """What the schemas say, in the form of the frontend's node definitions."""
    extension = asyncio.run(pack.comfy_entrypoint())
    nodes = asyncio.run(extension.get_node_list())
    return {node.define_schema().node_id: of_schema(node.define_schema()) for node in nodes}


def of_schema(schema: io.Schema) -> Texts:
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {
            name: {"name": entry.id, "tooltip": entry.tooltip} for name, entry in named_inputs(schema.inputs)
        },
        "outputs": {
            str(slot): {"name": output.display_name, "tooltip": output.tooltip}
            for slot, output in enumerate(schema.outputs)
        },
    }


def named_inputs(inputs: list[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Inputs and those that a choice shows; the frontend calls these "preset_tolerance"."""
    for entry in inputs:
        yield prefix + entry.id, entry
        for option in getattr(entry, "options", None) or []:
            if hasattr(option, "inputs"):
                yield from named_inputs(option.inputs, f"{prefix}{entry.id}_")


if __name__ == "__main__":
    comfy_host.boot()
    FILE.write_text(json.dumps(of_nodes(comfy_host.load_pack()), indent=2) + "\n", encoding="utf-8")
