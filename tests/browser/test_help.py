"""Help pages as the host's page shows them: beside the workflow, in a column as narrow as it opens."""

from __future__ import annotations

import pytest
from comfy_page import ComfyPage
from playwright.sync_api import expect

from comfy_host import PACK_ROOT

KINDS = sorted(path.stem for path in (PACK_ROOT / "web" / "docs").glob("*.md"))
OPEN = """kind => {
    const {app, LiteGraph} = window;
    const node = app.rootGraph.add(LiteGraph.createNode(kind)) ?? app.rootGraph.nodes[0];
    app.canvas.selectNodes([node]);
}"""
# In the page: how far the tables and pictures of the help reach beyond their column.
CUT_OFF = """element => [...element.querySelectorAll("table, img")]
    .map(part => Math.max(part.scrollWidth - part.clientWidth, part.clientWidth - element.clientWidth))"""


@pytest.mark.parametrize("kind", KINDS)
def test_help_is_shown_whole(comfy: ComfyPage, kind: str) -> None:
    comfy.page.evaluate(OPEN, kind)
    comfy.page.get_by_test_id("info-button").first.click()
    page = comfy.page.locator(".node-help-content")
    expect(page.get_by_role("heading", level=2, name="Outputs")).to_be_visible()
    for picture in page.get_by_role("img").all():
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("image => image.naturalWidth") > 100

    cut_off = page.evaluate(CUT_OFF)
    assert len(cut_off) >= 3 and max(cut_off) <= 0
    comfy.page.evaluate("window.app.extensionManager.setting.set('Comfy.RightSidePanel.IsOpen', false)")
    expect(page).to_have_count(0)
    comfy.problems[:] = [problem for problem in comfy.problems if f"{kind}/en.md" not in problem]
