"""A saved workflow as the server's API takes it: what the browser does when Run is pressed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ACTIVE, MUTED, BYPASSED = 0, 2, 4  # LiteGraph's modes of a node
NOTES = {"Note", "MarkdownNote"}

Prompt = dict[str, dict[str, Any]]


def load(path: Path) -> dict[str, Any]:
    """A workflow file in the format that the frontend saves."""
    return json.loads(path.read_text())


def to_prompt(workflow: dict[str, Any], object_info: dict[str, Any]) -> Prompt:
    """The workflow in API form; nodes that are bypassed hand on what they get."""
    nodes = {node["id"]: node for node in workflow["nodes"] if node["type"] not in NOTES}
    sources = {link[0]: (link[1], link[2]) for link in workflow["links"]}
    return {
        str(number): {
            "class_type": node["type"],
            "inputs": {**widget_values(node, object_info[node["type"]]), **linked(node, nodes, sources)},
        }
        for number, node in nodes.items()
        if node["mode"] == ACTIVE
    }


def widget_values(node: dict[str, Any], definition: dict[str, Any]) -> dict[str, Any]:
    """Values by name. A seed has a second widget, what to do with it after the run, which the API has not."""
    values, named = list(node["widgets_values"]), {}
    declared = {**definition["input"].get("required", {}), **definition["input"].get("optional", {})}
    for entry in node["inputs"]:
        if "widget" not in entry:
            continue
        name = entry["widget"]["name"]
        named[name] = values.pop(0)
        options = declared.get(name, [None, {}])[1:]
        if options and options[0].get("control_after_generate"):
            values.pop(0)
    assert not values, f"{node['type']} has widget values left over: {values}"
    return named


def linked(node: dict[str, Any], nodes: dict[int, Any], sources: dict[int, Any]) -> dict[str, Any]:
    """Connected inputs, as [node, output]."""
    places = {
        entry["name"]: find_source(entry["link"], nodes, sources)
        for entry in node["inputs"]
        if entry["link"] is not None
    }
    return {name: place for name, place in places.items() if place is not None}


def find_source(link: int, nodes: dict[int, Any], sources: dict[int, Any]) -> list[Any] | None:
    """Where a link begins, past nodes that are bypassed; None behind one that is muted."""
    number, slot = sources[link]
    node = nodes[number]
    if node["mode"] == ACTIVE:
        return [str(number), slot]
    if node["mode"] == MUTED:
        return None
    wanted = node["outputs"][slot]["type"]
    through = [entry["link"] for entry in node["inputs"] if entry["type"] == wanted and entry["link"]]
    return find_source(through[0], nodes, sources) if through else None
