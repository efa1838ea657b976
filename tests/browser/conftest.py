"""One server and one browser for all tests, and a page in each renderer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from comfy_page import ComfyPage, open_browser
from comfy_server import Server, running_server
from playwright.sync_api import Browser, expect

from comfy_host import PACK_ROOT, find_host


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(find_host(), tmp_path_factory.mktemp("comfyui")) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="session", params=["classic", "nodes_2"])
def renderer(request: pytest.FixtureRequest, browser: Browser, server: Server) -> Iterator[ComfyPage]:
    comfy = ComfyPage.open(browser, server, is_vue=request.param == "nodes_2")
    yield comfy
    comfy.page.close()


@pytest.fixture
def comfy(renderer: ComfyPage) -> Iterator[ComfyPage]:
    """A page with an empty workflow; the test fails where its console shows an error."""
    renderer.problems.clear()
    renderer.load({"version": 0.4, "nodes": [], "links": [], "groups": []})
    yield renderer
    assert renderer.problems == []


@pytest.fixture
def live(comfy: ComfyPage) -> ComfyPage:
    """A page with one AdaCorrection node."""
    add = "() => { window.app.rootGraph.add(window.LiteGraph.createNode('AdaCorrection')); }"
    comfy.page.evaluate(add)
    comfy.page.evaluate("() => { Object.assign(window.app.canvas.ds, {scale: 1, offset: [300, 200]}); }")
    expect(comfy.live()).to_be_visible()
    return comfy


@pytest.fixture(scope="session")
def seeds() -> Iterator[int]:
    """A new one each time: the server does not make a run again that it knows."""
    return count(1)


@pytest.fixture
def demo(seeds: Iterator[int]) -> dict[str, Any]:
    """The demo workflow with a new seed, and a new id: what other tests ran is not shown in it."""
    workflow = json.loads((PACK_ROOT / "workflows" / "adacorrection_demo.json").read_text())
    sampler = next(node for node in workflow["nodes"] if node["type"] == "KSampler")
    sampler["widgets_values"][0] = seed = next(seeds)
    workflow["id"] = f"00000000-0000-4000-8000-{seed:012}"
    return workflow
