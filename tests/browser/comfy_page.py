"""The host's real page in a real browser, for tests and for screenshots.

with running_server(find_host(), folder) as server, open_browser() as browser:
    comfy = ComfyPage.open(browser, server, is_vue=True, theme="light")
    comfy.load(workflow)
    comfy.run()
    comfy.screenshot(Path("node.png"), node="AdaCorrection")
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfy_server import Server
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from comfy_host import find_chromium

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS: dict[str, Any] = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
    "Comfy.Minimap.Visible": False,
    "Comfy.Locale": "en",
    "Comfy.Pointer.DoubleClickTime": 5000,  # milliseconds; on a busy machine the second click comes late
}
# What the page itself complains of on a fresh server, without any pack.
HOST_COMPLAINTS = re.compile(
    r"status of 404 .*(user\.css|/userdata)|huggingface\.co|missingModel|accessed before initialization"
)
# Milliseconds. Ample, for a busy machine: only a test that fails waits for so long.
RUN_LIMIT = 120_000
WAIT = 30_000
expect.set_options(timeout=WAIT)

# In the page: the nodes of a kind, in the workflow that is open.
NODES = "kind => window.app.rootGraph.nodes.filter(node => node.comfyClass === kind)"


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium of the system's."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class ComfyPage:
    """One page.

    Attributes:
        page: Playwright's.
        server: which it shows.
        settings: of the host, by name.
        problems: errors in its console and uncaught exceptions, but for the host's own on a fresh server.
    """

    page: Page
    server: Server
    settings: dict[str, Any]
    problems: list[str] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        browser: Browser,
        server: Server,
        *,
        is_vue: bool = False,
        theme: str = "dark",
        width: int = 1500,
        height: int = 900,
        scale: float = 1,
        settings: dict[str, Any] | None = None,
    ) -> ComfyPage:
        """Open the server's page.

        Args:
            browser: from `open_browser`.
            server: a running one.
            is_vue: Nodes 2.0, in place of the classic canvas.
            theme: "dark" or "light".
            width, height: of the page in its own pixels.
            scale: pixels of the screen for one of those.
            settings: further settings of the host.
        """
        look = {"Comfy.VueNodes.Enabled": is_vue, "Comfy.ColorPalette": theme}
        page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
        comfy = cls(page, server, {**SETTINGS, **look, **(settings or {})})
        page.on("console", lambda message: comfy.note(message.type, message.text, message.location["url"]))
        page.on("pageerror", lambda error: comfy.note("error", str(error)))
        comfy.visit()
        return comfy

    def visit(self) -> None:
        """Load the page, for the first time or again. Settings are the server's: each page sets its own."""
        self.server.post("/settings", self.settings).raise_for_status()
        self.page.goto(self.server.url)
        self.wait_until_ready()

    def note(self, kind: str, text: str, url: str = "") -> None:
        """Remember an error of the page."""
        if kind == "error" and not HOST_COMPLAINTS.search(f"{text} {url}"):
            self.problems.append(f"{text} ({url})")

    def wait_until_ready(self) -> None:
        self.page.wait_for_function(
            "() => window.app?.rootGraph && window.app.extensionManager && window.app.vueAppReady",
            timeout=2 * WAIT,
        )
        expect(self.page.locator(".p-blockui-mask, #splash-loader")).to_have_count(0, timeout=2 * WAIT)

    def load(self, workflow: dict[str, Any], centre: str | None = "AdaCorrection") -> None:
        """Open a saved workflow in place of the one that is open, and go to a node of a kind in it."""
        show = """([workflow, kind]) => {
            const {app} = window;
            const open = app.extensionManager.workflow.activeWorkflow;
            return app.loadGraphData(workflow, true, true, open).then(() => {
                const node = app.rootGraph.nodes.find(node => node.comfyClass === kind);
                app.canvas.ds.scale = 1;
                if (node) app.canvas.centerOnNode(node);
            });
        }"""
        self.page.evaluate(show, [workflow, centre])

    def command(self, name: str) -> None:
        self.page.evaluate("name => window.app.extensionManager.command.execute(name)", name)

    def call(self, kind: str, function: str, argument: Any = None) -> Any:
        """What a function in JavaScript, (node, argument) => ..., returns for the first node of a kind."""
        return self.page.evaluate(
            f"([kind, argument]) => ({function})(({NODES})(kind)[0], argument)", [kind, argument]
        )

    def count(self, kind: str) -> int:
        """How many nodes of a kind there are."""
        return int(self.page.evaluate(f"kind => ({NODES})(kind).length", kind))

    def values(self, kind: str) -> dict[str, Any]:
        """Values of a node's widgets by name, those that are saved."""
        saved = "node.widgets.filter(w => w.serialize !== false).map(w => [w.name, w.value])"
        return self.call(kind, f"node => Object.fromEntries({saved})")

    def set_value(self, kind: str, widget: str, value: Any) -> None:
        """Choose a value as the artist does: the widget's callback is told."""
        change = """(node, [name, value]) => {
            const widget = node.widgets.find(w => w.name === name);
            widget.value = value;
            widget.callback?.(value);
        }"""
        self.call(kind, change, [widget, value])

    def run(self, *, is_waiting: bool = True) -> None:
        """Press Run and, unless told otherwise, wait for the end."""
        start = """known => {
            window.ending = "";
            const listening = new AbortController();
            for (const kind of ["execution_success", "execution_error", "execution_interrupted"]) {
                const end = ({detail}) => {
                    if (known.includes(detail.prompt_id)) return; // a run before this one
                    window.ending = kind;
                    listening.abort();
                };
                window.comfyAPI.api.api.addEventListener(kind, end, {signal: listening.signal});
            }
            return window.app.queuePrompt(0);
        }"""
        self.page.evaluate(start, self.server.known_prompts())
        if is_waiting:
            self.wait_for_end()

    def wait_for_end(self) -> None:
        """Wait until the run that `run` began is over, and fail where it did not succeed."""
        self.page.wait_for_function("() => window.ending", timeout=RUN_LIMIT)
        assert self.page.evaluate("window.ending") == "execution_success"

    def live(self, index: int = 0) -> Locator:
        """The live view of a node."""
        return self.page.locator(".adacorrection-live").nth(index)

    def screenshot(self, path: Path, node: str | None = None, margin: int = 12) -> None:
        """Take a picture of the page, or of one node as it is on the page."""
        clip = self.call(node, BOX, margin) if node else None
        self.page.screenshot(path=path, clip=clip)


# In the page: where a node is, in the window's pixels.
BOX = """(node, margin) => {
    const {scale, offset} = window.app.canvas.ds;
    const canvas = window.app.canvas.canvas.getBoundingClientRect();
    const [x, y, width, height] = node.getBounding();
    return {
        x: Math.max(canvas.x + (x + offset[0]) * scale - margin, 0),
        y: Math.max(canvas.y + (y + offset[1]) * scale - margin, 0),
        width: width * scale + 2 * margin,
        height: height * scale + 2 * margin,
    };
}"""
