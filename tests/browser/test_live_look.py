"""How the live view looks: what is drawn where, sharp at every zoom, with colours that stand out."""

from __future__ import annotations

import pytest
from comfy_page import ComfyPage
from comfy_server import Server
from live_messages import COLUMNS, NODE, message, send
from playwright.sync_api import Browser, expect
from test_page import pixels_of

# In the page: how many pixels the picture has across, and how many of the page it takes.
PIXELS = """node => {
    const {canvas} = node.widgets.find(w => w.name === "adacorrection_live").panel;
    return [canvas.width, canvas.getBoundingClientRect().width];
}"""

# In the page: how much of the picture's ground a step of the first lane covers, by the median of its column.
COVER = """(node, steps) => {
    const {canvas, layout, run} = node.widgets.find(w => w.name === "adacorrection_live").panel;
    const ratio = canvas.width / layout.width;
    return steps.map(step => {
        const x = Math.round((step + 0.5) * layout.width / run.num_steps * ratio);
        const column = [x, layout.tops[0] * ratio, 1, layout.lane * ratio];
        const {data} = canvas.getContext("2d").getImageData(...column);
        const alphas = data.filter((_, i) => i % 4 === 3).sort();
        return alphas[alphas.length >> 1];
    });
}"""


def test_steps_run_from_left_to_right_with_their_weight(live: ComfyPage) -> None:
    """Computed in full colour, corrected the fuller the more it trusts the forecast, the rest still empty."""
    weight = COLUMNS.index("weight")
    early = message(live, 6)
    for record in early["records"]:
        record[weight] = {2: 0.0, 3: 1.0}.get(record[0])
    send(live, early)
    computed, _, faint, full, _, last, empty, _ = live.call(NODE, COVER, list(range(8)))
    assert empty < faint < full == computed == last == 255


def test_rows_go_by_groups_of_blocks(live: ComfyPage) -> None:
    """The probe first, double blocks above single ones, in rows of about as many blocks."""
    make = "async groups => (await import('/extensions/adacorrection/live/run.js')).makeRows(groups, 1, 14)"
    probe, *rows = live.page.evaluate(make, [["double", 19], ["single", 38]])
    assert (probe["isProbe"], probe["blocks"], probe["group"]) == (True, 1, "double")
    groups = [row["group"] for row in rows]
    assert groups == sorted(groups) and set(groups) == {"double", "single"}
    assert sum(row["blocks"] for row in rows) == 56
    assert len({row["blocks"] for row in rows}) <= 3


def test_numbers_and_curves_are_there(live: ComfyPage) -> None:
    send(live, message(live, 28))
    expect(live.live().locator("dd")).to_have_text(["30%", "0.5 s", "1.0 s", "40%"])
    expect(live.live().locator("dt")).to_have_text(["blocks saved", "saved", "taken", "hit rate"])
    for curve in ("risk", "tolerance", "drift"):
        assert pixels_of(live, curve) > 50, curve


def test_long_advice_is_shown_whole(live: ComfyPage) -> None:
    """At the width of a new node; the picture gives way, and stays legible."""
    advice = {
        "text": " ".join(["With 8 steps, 2x strays further than 2x with 28."] * 6),
        "key": "",
        "values": {},
    }
    send(live, message(live, 28, outlook=[advice]))
    panel = "node.widgets.find(w => w.name === 'adacorrection_live').panel"
    sizes = f"""node => {{
        const {{note, canvas, panel}} = {panel};
        return [note, panel].map(e => e.scrollHeight - e.clientHeight).concat(canvas.clientHeight);
    }}"""
    *hidden, picture = live.call(NODE, sizes)
    assert hidden == [0, 0] and picture >= 60


def test_many_messages_are_drawn_once_in_a_frame(live: ComfyPage) -> None:
    send(live, message(live, 1))
    count = """node => {
        const {panel} = node.widgets.find(w => w.name === "adacorrection_live");
        const {draw} = panel;
        window.draws = 0;
        panel.draw = () => { window.draws += 1; draw.call(panel); };
    }"""
    live.call(NODE, count)
    send(live, *(message(live, steps) for steps in range(2, 22)))
    assert live.page.evaluate("window.draws") == 1


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
