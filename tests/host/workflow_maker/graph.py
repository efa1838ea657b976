"""Workflows written as Python: nodes by name, links as values. Gives what the frontend saves.

Names, order and defaults of inputs come from the host's node definitions (GET /object_info), so that a
workflow made anew is in step with the host.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Info = dict[str, dict[str, Any]]

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"}
OURS, CORE = "adacorrection", "comfy-core"
NAME_SPACE = "5d0c1c2e-6d4e-4f0a-9a55-ada0c0de"  # ids of our workflows differ in the last four digits
WIDTH, GAP = 310, 60  # pixels
HIGHLIGHT = {"color": "#233", "bgcolor": "#355"}  # LiteGraph's cyan, for the nodes that matter here
NOTE_COLOURS = {"color": "#432", "bgcolor": "#000"}


@dataclass(frozen=True)
class Model:
    """A file that a loader needs, and where it is to be had."""

    name: str
    url: str
    directory: str


@dataclass(frozen=True)
class Output:
    """One output of a node."""

    node: int
    slot: int
    kind: str


@dataclass
class Node:
    """A node as the frontend saves it, and its outputs by name."""

    saved: dict[str, Any]
    outputs: dict[str, Output]

    def __getitem__(self, name: str) -> Output:
        return self.outputs[name]

    @property
    def out(self) -> Output:
        """The first output."""
        return next(iter(self.outputs.values()))


@dataclass(frozen=True)
class Widget:
    """A widget and its value; `extra` are values behind it that the API does not have."""

    name: str
    kind: str
    value: Any
    extra: tuple[Any, ...] = ()


@dataclass
class Graph:
    """A workflow in the making. Nodes stand in columns, each below the one added before it.

    Args:
        info: the host's node definitions.
        versions: of the host and of the pack, for the nodes' properties.
        number: tells our workflows apart.
    """

    info: Info
    versions: dict[str, str]
    number: int
    nodes: list[Node] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)  # of each node

    def add(
        self,
        kind: str,
        column: int,
        *,
        models: tuple[Model, ...] = (),
        width_of_node: int = WIDTH,
        **values: Any,
    ) -> Node:
        """A node; `values` are its widgets, and its inputs as Node or Output. Other widgets keep defaults.

        Raises:
            KeyError: a node or an input that the host does not have.
        """
        declared = dict(inputs_of(self.info[kind]))
        sockets = [name for name, spec in declared.items() if not is_widget(spec)]
        widgets = [
            w for name, spec in declared.items() if is_widget(spec) for w in expand(name, spec, values)
        ]
        unknown = values.keys() - set(sockets) - {widget.name for widget in widgets}
        if unknown:
            raise KeyError(f"{kind} has no input {', '.join(sorted(unknown))}")
        number = len(self.nodes) + 1
        outputs = zip(self.info[kind]["output_name"], self.info[kind]["output"], strict=True)
        made = {name: Output(number, slot, out) for slot, (name, out) in enumerate(outputs)}
        height = 46 + 22 * max(len(sockets), len(made)) + 32 * len(widgets) + extra_height(kind)
        owner = OURS if kind.startswith("AdaCorrection") else CORE
        properties: dict[str, Any] = {"cnr_id": owner, "ver": self.versions[owner], "Node name for S&R": kind}
        if models:
            properties["models"] = [vars(model) for model in models]
        saved = self.place(kind, column, (width_of_node, height)) | {
            "inputs": [self.socket(number, i, name, declared[name], values) for i, name in enumerate(sockets)]
            + [entry(w.name, w.kind) | {"widget": {"name": w.name}, "link": None} for w in widgets],
            "outputs": [entry(name, output.kind) | {"links": []} for name, output in made.items()],
            "properties": properties,
            "widgets_values": [value for w in widgets for value in (w.value, *w.extra)],
        }
        if owner == OURS and "Demo" not in kind:
            saved |= HIGHLIGHT
        self.nodes.append(Node(saved, made))
        return self.nodes[-1]

    def note(self, column: int, text: str, width: int = WIDTH) -> None:
        """A note in Markdown."""
        shown = re.sub(r"\]\([^)]+\)", "", text)  # of a link one sees the name
        lines = sum(math.ceil((len(line) + 1) / (width / 6.5)) for line in shown.splitlines())
        saved = self.place("MarkdownNote", column, (width, 60 + 15 * lines)) | {
            "inputs": [],
            "outputs": [],
            "properties": {},
            "widgets_values": [text],
            **NOTE_COLOURS,
        }
        self.nodes.append(Node(saved, {}))

    def place(self, kind: str, column: int, size: tuple[int, int]) -> dict[str, Any]:
        """The start of a saved node; `to_workflow` gives it its place in its column."""
        self.columns.append(column)
        return {
            "id": len(self.nodes) + 1,
            "type": kind,
            "pos": [0, 0],
            "size": list(size),
            "flags": {},
            "order": len(self.nodes),
            "mode": 0,
        }

    def socket(
        self, number: int, slot: int, name: str, spec: list[Any], values: dict[str, Any]
    ) -> dict[str, Any]:
        """An input that takes links, with its link."""
        source = values.get(name)
        if source is None:
            return entry(name, spec[0]) | {"link": None}
        output = source.out if isinstance(source, Node) else source
        link = len(self.links) + 1
        self.links.append([link, output.node, output.slot, number, slot, output.kind])
        self.nodes[output.node - 1].saved["outputs"][output.slot]["links"].append(link)
        return entry(name, spec[0]) | {"link": link}

    def set_in_columns(self) -> None:
        """Columns side by side, each as wide as its widest node; nodes one below the other."""
        left = 0
        for column in sorted(set(self.columns)):
            members = [node.saved for node, at in zip(self.nodes, self.columns, strict=True) if at == column]
            top = 0
            for saved in members:
                saved["pos"] = [left, top]
                top += saved["size"][1] + GAP
            left += max(saved["size"][0] for saved in members) + GAP

    def to_workflow(self) -> dict[str, Any]:
        """What the frontend would save."""
        self.set_in_columns()
        return {
            "id": f"{NAME_SPACE}{self.number:04x}",
            "revision": 0,
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": [node.saved for node in self.nodes],
            "links": self.links,
            "groups": [],
            "config": {},
            "extra": {"ds": {"scale": 0.8, "offset": [60, 60]}},
            "version": 0.4,
        }


def inputs_of(definition: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Inputs by name, in the order in which the frontend shows them."""
    for group in ("required", "optional"):
        declared = definition["input"].get(group) or {}
        yield from ((name, [*spec, {}][:2]) for name, spec in declared.items())


def is_widget(spec: list[Any]) -> bool:
    """Whether an input is a widget and not a socket."""
    return isinstance(spec[0], list) or (spec[0] in WIDGETS and not spec[1].get("forceInput"))


def expand(name: str, spec: list[Any], values: dict[str, Any]) -> Iterator[Widget]:
    """The widget, and behind it those that its choice shows, as "widget.inner"."""
    kind, look = ("COMBO" if isinstance(spec[0], list) else spec[0]), spec[1]
    choices = spec[0] if isinstance(spec[0], list) else look.get("options", [])
    if kind == "COMFY_DYNAMICCOMBO_V3":
        choices = [option["key"] for option in choices]
    blank = choices[0] if choices else {"STRING": "", "BOOLEAN": False}.get(kind, 0)
    value = values.get(name, look.get("default", blank))
    yield Widget(name, kind, value, ("fixed",) if look.get("control_after_generate") else ())
    if kind == "COMFY_DYNAMICCOMBO_V3":
        option = look["options"][choices.index(value)]
        for inner, inner_spec in inputs_of({"input": option["inputs"]}):
            yield from expand(f"{name}.{inner}", inner_spec, values)


def entry(name: str, kind: str) -> dict[str, Any]:
    """The start of a saved input or output."""
    return {"localized_name": name, "name": name, "type": "COMBO" if isinstance(kind, list) else kind}


def extra_height(kind: str) -> int:
    """Pixels for what a node shows: pictures, videos, text."""
    shown = {
        "CLIPTextEncode": 120,
        "AdaCorrectionReport": 560,
        "AdaCorrectionCompare": 420,
        "AdaCorrection": 344,  # its live view
    }
    return shown.get(kind, 300 if kind in ("SaveImage", "PreviewImage", "SaveVideo") else 0)


def correction(graph: Graph, column: int, source: Node | Output, **preset: Any) -> Node:
    """Our node, with room for its live view."""
    values = {"preset": "Balanced", **preset}
    return graph.add("AdaCorrection", column, width_of_node=400, model=source, **values)


def report(graph: Graph, column: int, patched: Node, latent: Node | Output) -> Node:
    """The report of a run."""
    return graph.add("AdaCorrectionReport", column, width_of_node=560, model=patched, latent=latent)
