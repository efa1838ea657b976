"""Every workflow of the pack opens in the real page as it was saved; names in other languages."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from comfy_page import ComfyPage
from comfy_server import Server
from playwright.sync_api import Browser, expect

from comfy_host import PACK_ROOT

WORKFLOWS = sorted((PACK_ROOT / "workflows").glob("*.json"))
EARLIER = PACK_ROOT / "tests" / "saved_earlier"  # by the page, with the pack as it was
SAVED_EARLIER = ("first_nodes", "with_compare")
SINCE_THEN = {"width": 1024, "theme": "dark"}  # of the report, which had no widgets at first
SERIALISED = "() => JSON.parse(JSON.stringify(window.app.rootGraph.serialize()))"


def test_workflows_open_as_they_were_saved(comfy: ComfyPage) -> None:
    """Nodes, values, links and files, without an error or a warning but for files that are not here."""
    warnings: list[str] = []
    comfy.page.on("console", lambda message: message.type == "warning" and warnings.append(message.text))
    for path in WORKFLOWS:
        workflow = json.loads(path.read_text())
        comfy.load(workflow, centre=None)

        opened = comfy.page.evaluate(SERIALISED)
        for saved, node in zip(by_id(workflow), by_id(opened), strict=True):
            assert kept(node) == kept(saved), path.stem
        assert sorted(map(tuple, opened["links"])) == sorted(map(tuple, workflow["links"])), path.stem
        assert warnings == [], path.stem


@pytest.mark.parametrize("name", SAVED_EARLIER)
def test_workflow_of_an_earlier_version_keeps_its_values(comfy: ComfyPage, name: str) -> None:
    """Every preset and every value changed: what would be queued now is what would have been queued then."""
    saved = json.loads((EARLIER / f"{name}.json").read_text())
    comfy.load(saved["workflow"])
    queued = comfy.page.evaluate("async () => (await window.app.graphToPrompt()).output")

    assert queued.keys() == saved["prompt"].keys()
    for number, node in saved["prompt"].items():
        inputs = queued[number]["inputs"]
        assert inputs.items() >= node["inputs"].items()
        assert {key: inputs[key] for key in inputs.keys() - node["inputs"].keys()} in ({}, SINCE_THEN)
    fits = "node.size[1] >= node.computeSize()[1]"
    assert comfy.page.evaluate(f"() => window.app.rootGraph.nodes.every(node => {fits})")


def by_id(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(workflow["nodes"], key=lambda node: node["id"])


def kept(node: dict[str, Any]) -> dict[str, Any]:
    """What has to come back as it was; a node without widgets has no values or an empty list of them."""
    inputs = [(entry["name"], entry["type"], entry["link"]) for entry in node["inputs"]]
    outputs = [(entry["name"], entry["type"], entry["links"] or []) for entry in node["outputs"]]
    values = node.get("widgets_values") or []
    return {
        "type": node["type"],
        "inputs": inputs,
        "outputs": outputs,
        "values": [value for value in values if value is not None],
        "properties": node["properties"],
        "mode": node["mode"],
    }


def test_names_and_words_are_in_the_language_of_the_page(
    browser: Browser, server: Server, demo: dict[str, Any]
) -> None:
    names, main = (
        json.loads((PACK_ROOT / "locales" / "zh" / f"{file}.json").read_text(encoding="utf-8"))
        for file in ("nodeDefs", "main")
    )
    comfy = ComfyPage.open(browser, server, settings={"Comfy.Locale": "zh"})
    comfy.load(demo)
    comfy.set_value("AdaCorrection", "preset", "Custom")
    labels = comfy.call("AdaCorrection", "node => node.widgets.map(w => [w.name, w.label])")
    title = comfy.call("AdaCorrectionReport", "node => node.title")
    words, says = main["adacorrectionLive"], main["adacorrectionSays"]
    expect(comfy.live()).to_contain_text(words["idle"])
    comfy.run()
    outlook = says["sentences"]["steps"].format(first=2, last=27, steps=28, most=24, saved="86%")
    expect(comfy.live()).to_contain_text(outlook)
    text = words["done"].format(steps=28)
    expect(comfy.page.get_by_text(re.compile(f"^{text}")).last).to_be_visible()
    comfy.live().get_by_role("img").focus()
    comfy.page.keyboard.press("Home")
    expect(comfy.live()).to_contain_text(says["reasons"]["warm-up"])
    comfy.page.close()

    assert title == names["AdaCorrectionReport"]["display_name"]
    inputs = names["AdaCorrection"]["inputs"]
    shown = {name.replace(".", "_"): label for name, label in labels}
    for name in inputs.keys() & shown.keys():
        assert shown[name] == inputs[name]["name"], name
