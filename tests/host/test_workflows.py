"""The workflows that the pack ships: in step with the host's definitions, complete, and the demos run."""

from __future__ import annotations

import io
import re
import time
from typing import Any

import graph
import pytest
from comfy_server import Server
from comfyui_version import __version__ as comfyui_version
from PIL import Image
from test_server import OUR_NODES, host_counts_heads

import comfy_host
from workflow_maker import RUNNABLE, WORKFLOWS, make
from workflow_maker.__main__ import FOLDER, to_text, versions

MADE_WITH = graph.load(FOLDER / "adacorrection_demo.json")["nodes"][0]["properties"]["ver"]
SAMPLERS = {"KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"}

every_workflow = pytest.mark.parametrize("name", WORKFLOWS)


def nodes_of(name: str) -> list[dict[str, Any]]:
    return graph.load(FOLDER / f"{name}.json")["nodes"]


def prompt_of(server: Server, name: str) -> graph.Prompt:
    """A workflow in API form; skips where this host lacks one of its nodes."""
    info = server.get("/object_info").json()
    missing = {node["type"] for node in nodes_of(name)} - graph.NOTES - info.keys()
    if missing:
        pytest.skip(f"ComfyUI {comfyui_version} has no {', '.join(sorted(missing))}")
    return graph.to_prompt(graph.load(FOLDER / f"{name}.json"), info)


def test_folder_holds_these_and_no_others() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {
        f"{name}{ending}" for name in WORKFLOWS for ending in (".json", ".jpg")
    }


@pytest.mark.skipif(comfyui_version != MADE_WITH, reason=f"made with the nodes of ComfyUI {MADE_WITH}")
@every_workflow
def test_committed_is_what_is_made(server: Server, name: str) -> None:
    """To make them anew: cd tests/host && python -m workflow_maker"""
    info = server.get("/object_info").json()
    assert (FOLDER / f"{name}.json").read_text() == to_text(make(name, info, versions()))


@every_workflow
def test_only_files_are_missing(server: Server, name: str) -> None:
    """The server takes the workflow, but for models that are not here."""
    if name in RUNNABLE:
        pytest.skip("its model is here: the demos are run")
    prompt = prompt_of(server, name)

    answer = server.post("/prompt", {"prompt": prompt}).json()

    problems = [error for node in answer["node_errors"].values() for error in node["errors"]]
    assert {problem["type"] for problem in problems} == {"value_not_in_list"}
    wanted = {problem["extra_info"]["received_value"] for problem in problems}
    assert wanted == {model["name"] for model in models_of(name)}


def models_of(name: str) -> list[dict[str, str]]:
    return [model for node in nodes_of(name) for model in node["properties"].get("models", [])]


@every_workflow
def test_note_links_every_model_by_file(name: str) -> None:
    (note,) = [node["widgets_values"][0] for node in nodes_of(name) if node["type"] in graph.NOTES]
    for model in models_of(name):
        assert f"[{model['name']}]({model['url']})" in note
        assert model["url"].endswith(f"/{model['name']}")
        assert re.match(r"https://huggingface\.co/[\w./-]+/resolve/main/[\w./-]+\.safetensors$", model["url"])
        assert f"ComfyUI/models/{model['directory']}" in note
    assert "tinyflux.safetensors" in note or "What to tweak" in note


@every_workflow
def test_samples_through_our_node_and_reports(name: str) -> None:
    kinds = [node["type"] for node in nodes_of(name)]
    assert "AdaCorrection" in kinds and "AdaCorrectionReport" in kinds
    assert SAMPLERS & set(kinds)


def test_every_node_of_ours_is_in_a_workflow() -> None:
    assert {node["type"] for name in WORKFLOWS for node in nodes_of(name)} >= OUR_NODES


@every_workflow
def test_nodes_do_not_overlap(name: str) -> None:
    boxes = [(*node["pos"], *node["size"], node["id"]) for node in nodes_of(name)]
    for x, y, width, height, number in boxes:
        for other_x, other_y, other_width, other_height, other in boxes:
            is_beside = x + width <= other_x or other_x + other_width <= x
            is_above = y + height <= other_y or other_y + other_height <= y
            assert number == other or is_beside or is_above, (number, other)


@every_workflow
def test_thumbnail_is_there_and_small(name: str) -> None:
    content = (FOLDER / f"{name}.jpg").read_bytes()
    assert len(content) <= 60_000
    assert Image.open(io.BytesIO(content)).width >= 256


@pytest.mark.skipif(not host_counts_heads(), reason=f"ComfyUI {comfyui_version} cannot load the demo model")
@pytest.mark.parametrize("name", RUNNABLE)
def test_demos_run(server: Server, name: str) -> None:
    prompt = prompt_of(server, name)
    for node in prompt.values():
        if node["class_type"] == "KSampler":
            node["inputs"].update(steps=8, seed=7)

    run = server.run(prompt)

    assert run.ending == "execution_success", run.details
    (report,) = (number for number, node in prompt.items() if node["class_type"] == "AdaCorrectionReport")
    assert "8 steps" in run.outputs[report]["text"][0]
    kept = in_history(server, run.details["prompt_id"])[report]
    assert kept["text"] == run.outputs[report]["text"] and len(kept["images"]) == 1
    for number, node in prompt.items():
        if node["class_type"] == "AdaCorrectionCompare":
            assert re.search(r"PSNR \d\d\.\d dB|Identical", run.outputs[number]["text"][0])


def test_help_page_and_its_picture_are_served(server: Server) -> None:
    folder = "/extensions/adacorrection/docs"
    page = server.get(f"{folder}/AdaCorrection.md").text
    picture = re.search(r"\((images/\w+\.jpg)\)", page)
    assert picture and Image.open(io.BytesIO(server.get(f"{folder}/{picture[1]}").content)).width > 300


def in_history(server: Server, prompt_id: str) -> dict[str, Any]:
    """What the nodes showed, as the server keeps it; that comes a moment after it has told of the end."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        kept = server.get(f"/history/{prompt_id}").json()
        if kept:
            return kept[prompt_id]["outputs"]
        time.sleep(0.05)
    raise TimeoutError(f"no history of {prompt_id}")


def test_made_with_the_host_that_is_named() -> None:
    host = comfy_host.find_host()
    assert host and comfy_host.host_version(host) == versions()["comfy-core"]
