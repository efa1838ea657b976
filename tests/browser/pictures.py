"""Take the pictures of README and help pages anew, from the real page and from real runs of the demo model.

cd tests/browser && ../../.venv/bin/python pictures.py
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "host"))

from comfy_page import ComfyPage, open_browser
from comfy_server import Server, running_server
from PIL import Image
from playwright.sync_api import Browser

from comfy_host import PACK_ROOT, find_host

HELP = PACK_ROOT / "web" / "docs" / "images"
README = PACK_ROOT / "docs" / "images"
QUALITY = 85
WIDTH, HEIGHT = 1560, 950  # of the pages, in pixels
FEWEST_RUNS, MOST_RUNS, SLOWER = 4, 20, 1.15


def main() -> None:
    host = find_host()
    assert host
    for folder in (HELP, README):
        folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_server(host, Path(scratch) / "host") as server,
        open_browser() as browser,
    ):
        comfy = opened_and_run(browser, server, "adacorrection_demo", README / "demo.jpg")
        save(node_picture(comfy, "AdaCorrection"), HELP / "node.jpg")
        save(node_picture(comfy, "AdaCorrectionDemoPrompt"), HELP / "demo_prompt.jpg")
        save(shown_by(comfy, "SaveImage"), HELP / "demo_decode.jpg")
        save(shown_by(comfy, "AdaCorrectionReport"), HELP / "report.jpg")
        comfy = opened_and_run(browser, server, "adacorrection_ab_compare", README / "compare.jpg")
        save(shown_by(comfy, "AdaCorrectionCompare"), HELP / "compare.jpg")
        save(shown_by(comfy, "PreviewImage"), HELP / "difference.jpg")


def opened_and_run(browser: Browser, server: Server, name: str, path: Path) -> ComfyPage:
    """A page on which a workflow has run, and a picture of all its nodes."""
    comfy = ComfyPage.open(browser, server, is_vue=True, width=WIDTH, height=HEIGHT, scale=1.5)
    workflow: dict[str, Any] = json.loads((PACK_ROOT / "workflows" / f"{name}.json").read_text())
    comfy.load(workflow)
    run_undisturbed(comfy)
    comfy.command("Comfy.Canvas.FitView")
    comfy.page.wait_for_timeout(8000)  # pictures load, messages go and the view comes to rest: nothing tells
    save(
        Image.open(io.BytesIO(comfy.page.screenshot())).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS),
        path,
    )
    return comfy


def run_undisturbed(comfy: ComfyPage) -> None:
    """Run anew until a run is about as fast as the fastest one: the pictures show how long it took."""
    taken: list[float] = []
    while len(taken) < MOST_RUNS:
        comfy.server.post("/free", {"free_memory": True})
        comfy.run()
        find = "node => node.widgets.find(w => w.name === 'adacorrection_live').panel.run.seconds"
        taken.append(comfy.call("AdaCorrection", find))
        if len(taken) >= FEWEST_RUNS and taken[-1] <= SLOWER * min(taken):
            return


def node_picture(comfy: ComfyPage, kind: str) -> Image.Image:
    """One node as it is on the page, at its own size."""
    centre = (
        "node => { app.canvas.ds.scale = 1; app.canvas.centerOnNode(node); app.canvas.setDirty(true, true); }"
    )
    comfy.call(kind, centre)
    comfy.page.wait_for_timeout(1000)
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        comfy.screenshot(Path(file.name), node=kind)
        return Image.open(io.BytesIO(Path(file.name).read_bytes()))


def shown_by(comfy: ComfyPage, kind: str) -> Image.Image:
    """The first picture that a node shows, as the server has it."""
    place = comfy.call(kind, "node => app.nodeOutputs[node.id].images[0]")
    return Image.open(io.BytesIO(comfy.server.get("/view", params=place).content))


def save(picture: Image.Image, path: Path) -> None:
    picture.convert("RGB").save(path, "JPEG", quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
