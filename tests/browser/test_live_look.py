"""How the live view looks: sharp at every zoom and on dense screens, with colours that stand out."""

from __future__ import annotations

import pytest
from comfy_page import ComfyPage
from comfy_server import Server
from live_messages import NODE, message, send
from playwright.sync_api import Browser

# In the page: how many pixels the picture has across, and how many of the page it takes.
PIXELS = """node => {
    const {canvas} = node.widgets.find(w => w.name === "adacorrection_live").panel;
    return [canvas.width, canvas.getBoundingClientRect().width];
}"""


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
