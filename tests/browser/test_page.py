"""What an artist does with the node, in the real page with the real server, in both renderers."""

from __future__ import annotations

import json
import re
from typing import Any

from comfy_page import ComfyPage
from comfy_server import Server
from playwright.sync_api import Browser, expect

NODE, SAMPLER, REPORT = "AdaCorrection", "KSampler", "AdaCorrectionReport"
SHARED = ["start_percent", "end_percent", "cache_placement"]
CUSTOM = ["tolerance", "sensitivity", "spatial_weight", "probe_blocks", "warmup_steps", "max_consecutive"]
CUSTOM += ["mode"]
DONE = re.compile(r"^\d+ steps done\. \d+ computed, [1-9]\d* corrected")


def summary(comfy: ComfyPage, index: int = 0) -> str:
    """The text that stands for the picture."""
    return comfy.live(index).get_by_role("img").get_attribute("aria-label") or ""


def expect_summary(comfy: ComfyPage, pattern: re.Pattern[str] | str, index: int = 0) -> None:
    picture = comfy.live(index).get_by_role("img")
    expect(picture).to_have_attribute("aria-label", re.compile(pattern))


def select(comfy: ComfyPage, kind: str) -> None:
    comfy.call(kind, "node => { app.canvas.selectNodes([node]); app.canvas.canvas.focus(); }")


def test_search_finds_the_node_by_another_name(comfy: ComfyPage) -> None:
    # Not by a double click: where a busy page shows the search late, the next click chooses a category in it.
    comfy.page.mouse.move(500, 500)
    comfy.command("Workspace.SearchBox.Toggle")
    search = comfy.page.get_by_placeholder("Add a node...")
    expect(search).to_be_visible()
    search.fill("teacache")
    expect(comfy.page.get_by_text("AdaCorrection", exact=True).first).to_be_visible()
    comfy.page.keyboard.press("Enter")
    comfy.page.wait_for_function("() => window.app.rootGraph.nodes.length === 1")
    expect(search).to_be_hidden()
    comfy.page.mouse.click(500, 500)  # until then it goes where the pointer goes
    comfy.page.wait_for_function("() => !window.app.rootGraph.nodes[0].flags.ghost")

    assert comfy.count(NODE) == 1
    expect(comfy.live()).to_have_count(1)
    expect(comfy.live()).to_contain_text("fills while sampling")


def test_presets_show_and_hide_their_inputs(comfy: ComfyPage, demo: dict[str, Any]) -> None:
    comfy.load(demo)
    for choice, inputs in (("Custom", CUSTOM), ("Target speed-up", ["target_speedup"]), ("Fast", [])):
        comfy.set_value(NODE, "preset", choice)
        assert list(comfy.values(NODE)) == ["preset", *(f"preset.{name}" for name in inputs), *SHARED]


def test_heat_map_fills_while_sampling(comfy: ComfyPage, demo: dict[str, Any]) -> None:
    comfy.load(demo)
    comfy.run(is_waiting=False)
    expect_summary(comfy, r"^Step [1-9]\d* of 28\.")
    comfy.wait_for_end()
    expect_summary(comfy, DONE)

    expect(comfy.live()).to_contain_text(
        "Flux: 4 double + 8 single blocks, cache 0.25 MB. Steps 2 to 27 of 28"
    )
    for colour in ("computed", "corrected"):
        assert pixels_of(comfy, colour) > 500
    text = comfy.page.get_by_text(re.compile(r"^28 steps\. \d+% of the blocks and about"))
    expect(text.first).to_be_visible()
    shown = comfy.page.evaluate("() => JSON.stringify(Object.values(window.app.nodeOutputs))")
    hit_rate = re.search(r"hit rate (\d+%)", summary(comfy))
    assert hit_rate and f"hit rate {hit_rate[1]}" in shown  # the report's text
    expect(comfy.page.get_by_text("50% of the block executions, hit rate").last).to_be_visible()
    picture = comfy.call(REPORT, "node => app.nodeOutputs[node.id].images[0].filename")
    comfy.page.wait_for_function(SEES, arg=picture)


# In the page: whether a node shows a picture, as an element or on the canvas.
SEES = """name => {
    const shown = [...document.images, ...window.app.rootGraph.nodes.flatMap(node => node.imgs ?? [])];
    return shown.some(image => image.src.includes(name) && image.naturalWidth > 0);
}"""


def pixels_of(comfy: ComfyPage, swatch: str) -> int:
    """How many pixels of the picture have about the colour of an entry of the key."""
    count = """(node, swatch) => {
        const {panel} = node.widgets.find(w => w.name === "adacorrection_live");
        const {canvas} = panel;
        const probe = new OffscreenCanvas(1, 1).getContext("2d");
        probe.fillStyle = panel.colours()[swatch];
        probe.fillRect(0, 0, 1, 1);
        const want = probe.getImageData(0, 0, 1, 1).data;
        const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        let found = 0;
        for (let i = 0; i < all.length; i += 4) {
            found += all[i + 3] > 90 && [0, 1, 2].every(j => Math.abs(all[i + j] - want[j]) < 8);
        }
        return found;
    }"""
    return int(comfy.call(NODE, count, swatch))


def test_setting_that_saves_little_is_told(comfy: ComfyPage, demo: dict[str, Any]) -> None:
    comfy.load(demo)
    comfy.set_value(NODE, "preset", "Custom")
    comfy.set_value(NODE, "preset.warmup_steps", 6)
    comfy.set_value(SAMPLER, "steps", 8)
    comfy.run()

    better = re.compile(r"up to 12% of the blocks saved\. Better: lower warmup_steps from 6 to 2")
    expect(comfy.live()).to_contain_text(better)
    text = comfy.page.get_by_text(re.compile(r"^8 steps\. \d+% of the blocks and about")).first
    expect(text).not_to_contain_text("Better")  # the host's text has room for little more than a line
    is_whole = "element => element.scrollHeight <= element.clientHeight + 1"
    assert text.evaluate(is_whole)

    switch = "on => app.extensionManager.setting.set('AdaCorrection.LiveView.Show', on)"
    comfy.page.evaluate(switch, False)
    comfy.set_value(SAMPLER, "seed", 0)
    comfy.run()
    expect(comfy.page.get_by_text(better).last).to_be_visible()  # the text that needs no script says all
    comfy.page.evaluate(switch, True)


def test_page_that_is_loaded_in_mid_run_catches_up(comfy: ComfyPage, demo: dict[str, Any]) -> None:
    comfy.load(demo)
    comfy.set_value(SAMPLER, "steps", 90)
    comfy.run(is_waiting=False)
    expect_summary(comfy, r"^Step [1-9]")
    comfy.visit()
    comfy.load(demo)

    expect_summary(comfy, r"of 90\.|90 steps done")
    expect_summary(comfy, r"^90 steps done\.")


def test_all_pages_follow(browser: Browser, server: Server, demo: dict[str, Any]) -> None:
    """One in each renderer, the run started from the first."""
    pages = [ComfyPage.open(browser, server, is_vue=is_vue) for is_vue in (False, True)]
    for comfy in pages:
        comfy.load(demo)
    pages[0].run()

    for comfy in pages:
        expect_summary(comfy, DONE)
        assert comfy.problems == []
        comfy.page.close()


def test_two_nodes_show_their_own_runs(comfy: ComfyPage, demo: dict[str, Any]) -> None:
    comfy.load(with_second_sampler(demo))
    comfy.command("Comfy.Canvas.FitView")
    comfy.run()
    for steps in (28, 12):  # in the short one the forecast may never be trusted, and all is held
        reused = rf"^{steps} steps done\. \d+ computed, (?!0 corrected, 0 held)"
        expect(comfy.page.get_by_label(re.compile(reused))).to_have_count(1)


def with_second_sampler(workflow: dict[str, Any]) -> dict[str, Any]:
    """The workflow with a copy of AdaCorrection, its sampler and its report, at 12 steps."""
    copies = {}
    for node in [node for node in workflow["nodes"] if node["type"] in (NODE, SAMPLER, REPORT)]:
        copies[node["id"]] = copy = json.loads(json.dumps(node))
        workflow["last_node_id"] += 1
        copy.update(id=workflow["last_node_id"], pos=[node["pos"][0], node["pos"][1] + 700])
        for output in copy["outputs"]:
            output["links"] = []
        if node["type"] == SAMPLER:
            copy["widgets_values"][2] = 12
        workflow["nodes"].append(copy)
    for _, start, slot, end, entry, kind in list(workflow["links"]):
        if end not in copies:
            continue
        workflow["last_link_id"] = new = workflow["last_link_id"] + 1
        source = copies.get(start) or next(node for node in workflow["nodes"] if node["id"] == start)
        source["outputs"][slot]["links"].append(new)
        copies[end]["inputs"][entry]["link"] = new
        workflow["links"].append([new, source["id"], slot, copies[end]["id"], entry, kind])
    return workflow


def test_node_in_a_subgraph_shows_its_run(comfy: ComfyPage, demo: dict[str, Any]) -> None:
    comfy.load(demo)
    select(comfy, NODE)
    comfy.command("Comfy.Graph.ConvertToSubgraph")
    comfy.page.wait_for_function("() => window.app.rootGraph.nodes.some(node => node.subgraph)")
    comfy.run()
    comfy.page.evaluate(
        """() => {
            const node = window.app.rootGraph.nodes.find(node => node.subgraph);
            window.app.canvas.openSubgraph(node.subgraph, node);
        }"""
    )
    expect_summary(comfy, DONE)
    comfy.page.evaluate("() => window.app.canvas.setGraph(window.app.rootGraph)")


def test_bypassed_node_is_not_in_the_run(comfy: ComfyPage, demo: dict[str, Any]) -> None:
    comfy.load(demo)
    select(comfy, NODE)
    comfy.page.keyboard.press("Control+b")
    assert comfy.call(NODE, "node => node.mode") == 4
    comfy.run()

    expect(comfy.live()).to_contain_text("fills while sampling")
    shown = comfy.page.evaluate("() => JSON.stringify(Object.values(window.app.nodeOutputs))")
    assert "no AdaCorrection" in shown


def test_saving_and_loading_keeps_all_values(comfy: ComfyPage, demo: dict[str, Any]) -> None:
    comfy.load(demo)
    comfy.set_value(NODE, "preset", "Custom")
    values = {"preset.tolerance": 0.033, "preset.max_consecutive": 5, "end_percent": 0.8}
    for name, value in {**values, "cache_placement": "offload"}.items():
        comfy.set_value(NODE, name, value)
    comfy.run()  # the live view and the text are on the node now
    before = comfy.values(NODE)
    saved = comfy.page.evaluate("() => JSON.parse(JSON.stringify(window.app.rootGraph.serialize()))")
    comfy.load(saved)

    assert comfy.values(NODE) == before
    assert before.items() >= values.items()
    node = next(node for node in saved["nodes"] if node["type"] == NODE)
    assert [value for value in node["widgets_values"] if value is not None] == list(before.values())
    assert not re.search("adacorrection_live|records", json.dumps(saved))


def test_deleting_is_undone(comfy: ComfyPage, demo: dict[str, Any]) -> None:
    comfy.load(demo)
    before = comfy.values(NODE)
    select(comfy, NODE)
    comfy.command("Comfy.Canvas.DeleteSelectedItems")
    expect(comfy.live()).to_have_count(0)
    comfy.command("Comfy.Undo")
    expect(comfy.live()).to_have_count(1)

    assert comfy.values(NODE) == before
