"""The live view fed with messages: bad ones do no harm, all can use it, and it leaves nothing behind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comfy_page import ComfyPage
from comfy_server import Server
from playwright.sync_api import Browser, expect
from test_page import NODE, expect_summary, pixels_of, summary

from comfy_host import PACK_ROOT

COLUMNS = ["step_index", "evaluation", "branch", "outcome", "reason", "weight", "drift"]
COLUMNS += ["expected_error", "measured_error", "risk", "tolerance", "blocks_run", "seconds"]
OUTCOMES = [0, 0, 1, 1, 2, 0]
OUTLOOK = {
    "text": "Steps 3 to 27 of 28 can be corrected.",
    "key": "steps",
    "values": {"first": "3", "last": "27", "steps": "28", "most": "24", "saved": "86%"},
}
BLOCKS_RUN = [57, 57, 0, 1, 0, 57]  # the probe is asked at one of the corrected steps


# In the page: how many pixels the picture has across, and how many of the page it takes.
PIXELS = """node => {
    const {canvas} = node.widgets.find(w => w.name === "adacorrection_live").panel;
    return [canvas.width, canvas.getBoundingClientRect().width];
}"""


def message(comfy: ComfyPage, steps: int, **changes: Any) -> dict[str, Any]:
    """What the server would send for the node after some steps."""
    records = [
        [i, i, branch, OUTCOMES[i % 6], None, 0.5, 0.01 * i, 0.04 * i, None, 0.001 * (i % 6), 0.01]
        + [BLOCKS_RUN[i % 6], 0.1]
        for i in range(steps)
        for branch in ("uncond", "cond")
    ]
    return {
        "node": str(comfy.call(NODE, "node => node.id")),
        "workflow": comfy.page.evaluate("() => window.app.rootGraph.id"),
        "run": 1,
        "message": steps,
        "found": {"text": "Toy: 19 double + 38 single blocks, probe 1", "key": "", "values": {}},
        "setting": "balanced",
        "outlook": [OUTLOOK],
        "is_warning": False,
        "groups": [["double", 19], ["single", 38]],
        "probe_blocks": 1,
        "num_steps": 28,
        "is_over": False,
        "is_finished": False,
        "cache_bytes": 3 * 2**29,
        "seconds": 1.0,
        "seconds_saved": 0.5,
        "hit_rate": 0.4,
        "blocks_saved": 0.3,
        "columns": COLUMNS,
        "records": records,
        **changes,
    }


def send(comfy: ComfyPage, *messages: Any) -> None:
    """Hand messages to the page as if they came from the server, and wait until they are drawn."""
    dispatch = """messages => {
        const {api} = window.comfyAPI.api;
        for (const detail of messages) api.dispatchEvent(new CustomEvent("adacorrection.run", {detail}));
        return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    }"""
    comfy.page.evaluate(dispatch, list(messages))


@pytest.fixture
def live(comfy: ComfyPage) -> ComfyPage:
    """A page with one AdaCorrection node."""
    add = "() => { window.app.rootGraph.add(window.LiteGraph.createNode('AdaCorrection')); }"
    comfy.page.evaluate(add)
    comfy.page.evaluate("() => { Object.assign(window.app.canvas.ds, {scale: 1, offset: [300, 200]}); }")
    expect(comfy.live()).to_be_visible()
    return comfy


def test_probe_is_orange_where_it_ran(live: ComfyPage) -> None:
    """Most corrected steps run no block; at those that asked the probe its row is that of a computed one."""
    ran = COLUMNS.index("blocks_run")
    orange = []
    for number, blocks_run in enumerate((0, 1)):
        late = message(live, 28, run=number + 1)
        records = [[*r[:3], 1, *r[4:ran], blocks_run, *r[ran + 1 :]] for r in late["records"]]
        send(live, {**late, "records": records})
        orange.append(pixels_of(live, "computed"))
    assert orange[0] == 0 and orange[1] > 500


def test_corrected_step_of_no_weight_stands_out(live: ComfyPage) -> None:
    weight = COLUMNS.index("weight")
    late = message(live, 28)
    records = [[*r[:3], 1, r[4], 0.0, *r[weight + 1 :]] for r in late["records"]]
    send(live, {**late, "records": records})
    assert pixels_of(live, "corrected") > 1000


def test_messages_that_are_late_or_doubled_change_nothing(live: ComfyPage) -> None:
    send(live, message(live, 5), message(live, 9), message(live, 9), message(live, 7))
    expect_summary(live, r"^Step 9 of 28\. 5 computed, 3 corrected, 1 held\.")
    send(live, message(live, 3, run=2))
    expect_summary(live, r"^Step 3 of 28\.")
    send(live, message(live, 12))  # of the run before
    expect_summary(live, r"^Step 3 of 28\.")


def test_messages_for_others_are_ignored(live: ComfyPage) -> None:
    strangers = [{"node": "4711"}, {"node": "4711:1"}, {"workflow": "another"}, {"workflow": None}]
    send(live, *(message(live, 5, **stranger) for stranger in strangers))
    send(live, None, {}, "nonsense", message(live, 5, records=None), message(live, 5, groups=7))
    expect(live.live()).to_contain_text("fills while sampling")


def test_message_for_a_node_that_is_gone(live: ComfyPage) -> None:
    late = message(live, 5)
    send(live, late)
    live.call(NODE, "node => { node.graph.remove(node); }")
    send(live, {**late, "message": 6})
    expect(live.live()).to_have_count(0)


def test_nothing_is_left_of_a_node_that_is_gone(live: ComfyPage) -> None:
    live.page.evaluate(
        """() => {
            window.added = [];
            for (const target of [window, document, document.body, window.comfyAPI.api.api]) {
                const {addEventListener: add} = target;
                target.addEventListener = (...all) => {
                    if (new Error().stack.includes("/adacorrection/")) window.added.push(all[0]);
                    add.apply(target, all);
                };
            }
            window.app.rootGraph.clear();
            window.app.rootGraph.add(window.LiteGraph.createNode("AdaCorrection"));
        }"""
    )
    send(live, message(live, 5))
    live.call(
        NODE,
        """node => {
            window.panel = node.widgets.find(w => w.name === "adacorrection_live").panel;
            window.panel.schedule();
            node.graph.remove(node);
        }""",
    )
    expect(live.live()).to_have_count(0)
    listening, frame, run, added = live.page.evaluate(
        """() => {
            const {listening, frame, run} = window.panel;
            delete window.panel;
            return [!listening.signal.aborted, frame, run, window.added];
        }"""
    )
    assert (listening, frame, run, added) == (False, 0, None, [])


def test_pack_makes_no_globals_and_patches_nothing(live: ComfyPage) -> None:
    assert live.page.evaluate("Object.keys(window).filter(name => /adacorrection/i.test(name))") == []
    sources = live.page.evaluate(
        """async () => {
            const all = await (await fetch("/extensions")).json();
            const ours = all.filter(path => path.includes("/adacorrection/"));
            const texts = ours.map(async path => (await fetch(path)).text());
            return (await Promise.all(texts)).join("\\n");
        }"""
    )
    assert "class LivePanel" in sources
    assert "window." not in sources and ".prototype" not in sources and "globalThis" not in sources


def test_pointing_at_a_step_tells_its_numbers(live: ComfyPage) -> None:
    send(live, message(live, 20))
    picture = live.live().get_by_role("img")
    box = picture.bounding_box()
    assert box
    live.page.mouse.move(box["x"] + box["width"] * 8.5 / 28, box["y"] + 20)
    expect(live.live()).to_contain_text("Step 9, cond, corrected \u00b7 weight 0.5 \u00b7 drift 0.08")
    expect(live.live()).to_contain_text("risk 0.002 of 0.01 \u00b7 100 ms")
    live.page.mouse.move(5, 600)
    expect(live.live()).to_contain_text("Toy: 19 double + 38 single blocks, probe 1, cache 1.5 GB. Steps 3")


def test_keys_move_from_step_to_step(live: ComfyPage) -> None:
    send(live, message(live, 20))
    tab_to_the_picture(live)
    status = live.live().get_by_role("status")
    for key, words in (
        ("End", "Step 20, cond, computed"),
        ("ArrowLeft", "Step 19, cond"),
        ("ArrowDown", "Step 19, uncond"),
        ("Home", "Step 1, uncond, computed"),
        ("ArrowRight", "Step 2, uncond"),
    ):
        live.page.keyboard.press(key)
        expect(status).to_contain_text(words)
    live.page.keyboard.press("Escape")
    expect(status).to_be_empty()


def tab_to_the_picture(live: ComfyPage) -> None:
    """As one does without a mouse."""
    focused = "() => document.activeElement?.shadowRoot?.activeElement?.tagName === 'CANVAS'"
    for _ in range(100):
        if live.page.evaluate(focused):
            return
        live.page.keyboard.press("Tab")
    pytest.fail("the picture cannot be reached by the keyboard")


def test_picture_has_words_and_is_announced_once_at_the_end(live: ComfyPage) -> None:
    status = live.live().get_by_role("status")
    send(live, message(live, 1))
    began = status.inner_text()
    send(live, message(live, 6))
    assert status.inner_text() == began  # not at each of ten messages a second
    send(live, message(live, 28, is_over=True, is_finished=True))
    assert "28 steps done." in status.inner_text()
    assert summary(live).startswith("28 steps done. 14 computed, 10 corrected, 4 held. 30% of the blocks")
    send(live, message(live, 3, run=2, is_over=True))
    assert "Stopped at step 3 of 28." in status.inner_text()


def test_picture_is_sharp_at_the_zoom_of_the_page(live: ComfyPage) -> None:
    send(live, message(live, 6))
    pixels, shown = live.call(NODE, PIXELS)
    assert pixels >= shown - 1


def test_picture_is_sharp_on_a_dense_screen(browser: Browser, server: Server) -> None:
    comfy = ComfyPage.open(browser, server, scale=2)
    comfy.load({"version": 0.4, "nodes": [], "links": [], "groups": []})
    comfy.page.evaluate("() => { window.app.rootGraph.add(window.LiteGraph.createNode('AdaCorrection')); }")
    send(comfy, message(comfy, 6))
    pixels, shown = comfy.call(NODE, PIXELS)
    comfy.page.close()
    assert pixels >= 2 * shown - 1


def test_wheel_zooms_the_workflow_under_the_picture(live: ComfyPage) -> None:
    send(live, message(live, 6))
    before = live.page.evaluate("window.app.canvas.ds.scale")
    live.live().hover()
    live.page.mouse.wheel(0, -120)
    live.page.wait_for_function(f"() => window.app.canvas.ds.scale > {before}")
    scale = live.page.evaluate("window.app.canvas.ds.scale")
    assert scale < 1.25 * before  # not twice


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_colours_stand_out(live: ComfyPage, theme: str) -> None:
    """What is drawn by three to one, what is read by four and a half (WCAG 2.2, 1.4.11 and 1.4.3)."""
    choose = "theme => window.app.extensionManager.setting.set('Comfy.ColorPalette', theme)"
    live.page.evaluate(choose, theme)
    send(live, message(live, 6))
    live.page.wait_for_timeout(100)  # colours change in a millisecond
    ratios = live.call(
        NODE,
        """node => {
            const {panel} = node.widgets.find(w => w.name === "adacorrection_live");
            const context = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
            const light = colour => {
                context.fillStyle = colour;
                context.fillRect(0, 0, 1, 1);
                const parts = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255);
                const [r, g, b] = parts.map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
            };
            const back = light(getComputedStyle(panel.panel).backgroundColor);
            const ratio = colour => Math.max(light(colour), back) / Math.min(light(colour), back);
            const {computed, corrected, risk, tolerance, drift, text} = panel.colours();
            const all = Object.entries({computed, corrected, risk, tolerance, drift, text});
            return Object.fromEntries(all.map(([name, colour]) => [name, ratio(colour)]));
        }""",
    )
    live.page.evaluate(choose, "dark")
    text = ratios.pop("text")
    assert text >= 4.5
    assert {name: ratio for name, ratio in ratios.items() if ratio < 3} == {}


def test_live_view_can_be_switched_off(live: ComfyPage) -> None:
    change = "on => window.app.extensionManager.setting.set('AdaCorrection.LiveView.Show', on)"
    live.page.evaluate(change, False)
    expect(live.live()).to_have_count(0)
    send(live, message(live, 5))
    live.page.evaluate(change, True)
    expect(live.live()).to_have_count(1)
    send(live, message(live, 6))
    expect_summary(live, r"^Step 6 of 28")


def test_built_in_words_are_the_english_ones(live: ComfyPage) -> None:
    built_in = "async () => (await import('/extensions/adacorrection/live/words.js')).WORDS"
    english = json.loads((PACK_ROOT / "locales" / "en" / "main.json").read_text(encoding="utf-8"))
    assert live.page.evaluate(built_in) == english["adacorrectionLive"]
