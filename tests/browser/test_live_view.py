"""The live view fed with messages: bad ones do no harm, all can use it, and it leaves nothing behind."""

from __future__ import annotations

import json

import pytest
from comfy_page import ComfyPage
from live_messages import COLUMNS, NODE, message, send
from playwright.sync_api import expect
from test_page import expect_summary, pixels_of, summary

from comfy_host import PACK_ROOT


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
    expect(live.live()).to_contain_text("Toy: 19 double + 38 single blocks, probe 1, cache 1.5 GB. Steps 2")


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


def test_wheel_zooms_the_workflow_under_the_picture(live: ComfyPage) -> None:
    send(live, message(live, 6))
    before = live.page.evaluate("window.app.canvas.ds.scale")
    live.live().hover()
    live.page.mouse.wheel(0, -120)
    live.page.wait_for_function(f"() => window.app.canvas.ds.scale > {before}")
    scale = live.page.evaluate("window.app.canvas.ds.scale")
    assert scale < 1.25 * before  # not twice


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
