"""Help pages: their tables against the nodes' schemas, and all that an artist looks for is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from comfy_api.latest import io
from test_nodes import NODES, Node

from adacorrection.nodes.apply import AdaCorrection
from comfy_host import PACK_ROOT

FOLDER = PACK_ROOT / "web" / "docs"
MOST_CHOICES = 8  # more are not listed but counted
TOPICS = ("## Which preset", "## The paper's symbols", "## Troubleshooting")
TROUBLES = ("Nothing was reused", "softer", "Few steps", "Memory")

every_node = pytest.mark.parametrize("node", NODES)


def page_of(node: Node) -> str:
    return (FOLDER / f"{node.GET_SCHEMA().node_id}.md").read_text()


def tables(page: str) -> Iterator[tuple[str, list[list[str]]]]:
    """Each table of inputs or outputs: what stands above it, and the lines of each first cell, name first."""
    for above, rows in re.findall(r"(.+)\n\n\| (?:Input|Output) \| What it does \|\n.+\n((?:\|.+\n)+)", page):
        cells = [row.strip("| ").split(" | ") for row in rows.splitlines()]
        for first, what_it_does in cells:
            assert what_it_does.strip().endswith("."), first
        yield above, [re.sub(r"\*\*|<wbr>", "", first).split("<br>") for first, _ in cells]


def described(entry: Any) -> list[str]:
    """What the table has to say of an input: name, type, range, default, and whether it may be left out."""
    choices = choices_of(entry)
    lines = [entry.id, "COMBO" if choices else entry.get_io_type().replace(",", ", ")]
    if choices:
        lines += [f"one of {len(choices)}" if len(choices) > MOST_CHOICES else ", ".join(choices)]
        lines += [f"default {getattr(entry, 'default', None) or choices[0]}"]
    elif isinstance(entry, (io.Int.Input, io.Float.Input)):
        lines += [f"{entry.min:g} to {entry.max:g}", f"default {entry.default:g}"]
    return [*lines, "optional"] if entry.optional else lines


def choices_of(entry: Any) -> list[str]:
    if isinstance(entry, io.DynamicCombo.Input):
        return [option.key for option in entry.options]
    return list(getattr(entry, "options", None) or [])


@every_node
def test_tables_are_the_schema(node: Node) -> None:
    """Every input with type, range and default, in the order of the node, and every output."""
    schema = node.define_schema()
    inputs, outputs = re.split("(?=## Outputs)", page_of(node))
    entries = [entry for top in schema.inputs for entry in top.get_all()]

    assert [row for _, rows in tables(inputs) for row in rows] == [described(entry) for entry in entries]
    assert [row for _, rows in tables(outputs) for row in rows] == [
        [output.display_name, output.get_io_type()] for output in schema.outputs
    ]


def test_inputs_of_a_preset_stand_under_its_name() -> None:
    (preset,) = (entry for entry in AdaCorrection.define_schema().inputs if entry.id == "preset")
    own = {option.key: [entry.id for entry in option.inputs] for option in preset.options if option.inputs}
    shown = {above: [row[0] for row in rows] for above, rows in tables(page_of(AdaCorrection))}

    for choice, names in own.items():
        assert shown[f"With the preset *{choice}*:"] == names


@every_node
def test_all_topics_are_there(node: Node) -> None:
    """On the page, or one click away on that of the main node."""
    page, main = page_of(node), page_of(AdaCorrection)
    assert re.match(r"# AdaCorrection.*\n\n\S.+", page)
    assert re.search(r"!\[.+?\]\(images/\w+\.jpg\)", page)
    assert [topic for topic in TOPICS if topic not in page and "help page of AdaCorrection" not in page] == []
    assert [topic for topic in (*TOPICS, *TROUBLES) if topic not in main] == []


def test_pictures_of_the_pages_are_there() -> None:
    pictures = {
        name for page in FOLDER.glob("*.md") for name in re.findall(r"!\[.+?\]\((.+?)\)", page.read_text())
    }
    assert {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.jpg")} == pictures
