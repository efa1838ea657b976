"""The demo workflow in a real ComfyUI server: queue, change the seed, bypass, interrupt, queue again."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import comfy.model_detection
import graph
import numpy as np
import pytest
import torch
from comfy_server import Run, Server
from comfyui_version import __version__ as comfyui_version
from PIL import Image
from safetensors.torch import load_file

import comfy_host

WORKFLOW = comfy_host.PACK_ROOT / "workflows" / "adacorrection_demo.json"
MODEL = comfy_host.PACK_ROOT / "demo" / "model" / "tinyflux.safetensors"
LOADER, NODE, SAMPLER, REPORT, SAVE = "1", "2", "5", "6", "9"  # ids in the workflow
HIT_RATE, SECONDS, LATENT = "hit_rate", "seconds", "latent"  # ids of what the tests add
STEPS = 16
OUR_NODES = {
    "AdaCorrection",
    "AdaCorrectionReport",
    "AdaCorrectionDemoPrompt",
    "AdaCorrectionDemoDecode",
}


def host_counts_heads() -> bool:
    """Whether UNETLoader finds the demo model's two heads; ComfyUI 0.8.0 takes every Flux to have 24."""
    config = comfy.model_detection.detect_unet_config(load_file(MODEL), "")
    return bool(config["num_heads"] == 2)


knows_small_flux = pytest.mark.skipif(
    not host_counts_heads(),
    reason=f"ComfyUI {comfyui_version} takes every Flux to have 24 heads",
)


def make_prompt(
    server: Server, seed: int = 1, steps: int = STEPS, bypassed: Collection[str] = ()
) -> graph.Prompt:
    """The workflow with a seed, and with nodes that tell what comes out of the sockets."""
    workflow = copy.deepcopy(graph.load(WORKFLOW))
    for node in workflow["nodes"]:
        if str(node["id"]) in bypassed:
            node["mode"] = graph.BYPASSED
    prompt = graph.to_prompt(workflow, server.get("/object_info").json())
    prompt[SAMPLER]["inputs"].update(seed=seed, steps=steps)
    prompt[LATENT] = {
        "class_type": "SaveLatent",
        "inputs": {"samples": [SAMPLER, 0], "filename_prefix": f"{seed}"},
    }
    if REPORT not in bypassed:
        for name, slot in ((HIT_RATE, 1), (SECONDS, 2)):
            prompt[name] = {"class_type": "PreviewAny", "inputs": {"source": [REPORT, slot]}}
    return prompt


def number(run: Run, node: str) -> float:
    return float(run.outputs[node]["text"][0])


def picture(server: Server, run: Run, node: str) -> np.ndarray:
    place = run.outputs[node]["images"][0]
    return np.asarray(Image.open(io.BytesIO(server.get("/view", params=place).content)).convert("RGB"))


def latent(server: Server, run: Run) -> torch.Tensor:
    place = run.outputs[LATENT]["latents"][0]
    return load_file(server.folder / "output" / place["subfolder"] / place["filename"])["latent_tensor"]


def log_lines(server: Server) -> list[str]:
    return [line for line in server.log().splitlines() if re.search(r"AdaCorrection \w[\w.,=-]*: ", line)]


def test_pack_loads_without_complaint(server: Server) -> None:
    info = server.get("/object_info").json()

    assert info.keys() >= OUR_NODES
    assert [line for line in server.log().splitlines() if re.search(r"IMPORT FAILED|Traceback", line)] == []
    assert not re.search(r"(error|warning).*adacorrection", server.log(), re.IGNORECASE)
    assert "Input" in server.get("/extensions/adacorrection/docs/AdaCorrection.md").text


def test_workflow_is_offered_as_a_template(server: Server) -> None:
    assert WORKFLOW.stem in server.get("/workflow_templates").json()["adacorrection"]
    thumbnail = server.get(f"/api/workflow_templates/adacorrection/{WORKFLOW.stem}.jpg").content
    assert Image.open(io.BytesIO(thumbnail)).width >= 256


def test_value_out_of_range_is_refused(server: Server) -> None:
    prompt = make_prompt(server)
    prompt[NODE]["inputs"].update({"preset": "Target speed-up", "preset.target_speedup": 9.0})

    answer = server.post("/prompt", {"prompt": prompt})

    assert answer.status_code == 400
    assert "bigger than max of 4" in answer.text


@knows_small_flux
def test_setting_that_makes_no_sense_is_told_in_words(server: Server) -> None:
    prompt = make_prompt(server)
    prompt[NODE]["inputs"].update(start_percent=0.8, end_percent=0.2)

    run = server.run(prompt)

    assert run.ending == "execution_error"
    assert run.details["node_id"] == NODE
    assert "start must lie before the end" in run.details["exception_message"]


@knows_small_flux
def test_workflow_draws_and_reports(server: Server) -> None:
    lines_before = len(log_lines(server))

    run = server.run(make_prompt(server))

    assert run.ending == "execution_success", run.details
    drawn = picture(server, run, SAVE)
    assert drawn.shape == (256, 256, 3)
    assert drawn.std() > 10
    assert 0.1 < number(run, HIT_RATE) < 0.9
    assert 0 < number(run, SECONDS) < 60
    summary = run.outputs[REPORT]["text"][0]
    assert re.search(r"\d\d% of the block executions", summary)
    assert f"{STEPS} steps" in summary
    assert any(summary.splitlines()[-1] in text for text in run.texts)
    assert picture(server, run, REPORT).shape[1] == 1024
    assert len(log_lines(server)) == lines_before + 1
    assert "of the block executions" in log_lines(server)[-1]


@knows_small_flux
def test_only_the_seed_changes(server: Server) -> None:
    """The host hands the same patched model to the sampler again; that must not leave the cache idle."""
    first = server.run(make_prompt(server, seed=11))
    second = server.run(make_prompt(server, seed=12))

    assert number(first, HIT_RATE) > 0
    assert number(second, HIT_RATE) > 0
    assert not torch.equal(latent(server, first), latent(server, second))
    assert first.outputs[REPORT]["images"] != second.outputs[REPORT]["images"]  # the report was made anew


@knows_small_flux
def test_nothing_changes(server: Server) -> None:
    """The host answers from its cache, and the report stays that of the run which made the latent."""
    first = server.run(make_prompt(server, seed=13))
    lines_before = len(log_lines(server))
    again = server.run(make_prompt(server, seed=13))

    assert again.ending == "execution_success"
    assert len(log_lines(server)) == lines_before
    assert again.outputs.get(REPORT, first.outputs[REPORT]) == first.outputs[REPORT]


@knows_small_flux
def test_settings_of_a_choice_reach_the_sampler(server: Server) -> None:
    prompt = make_prompt(server, seed=14)
    prompt[NODE]["inputs"].update({"preset": "Target speed-up", "preset.target_speedup": 1.5})

    run = server.run(prompt)

    assert "target_speedup=1.5" in run.outputs[REPORT]["text"][0]
    assert 0 < number(run, HIT_RATE) < 0.5


@knows_small_flux
def test_bypass_restores_the_plain_latent(server: Server) -> None:
    server.post("/free", {"unload_models": True, "free_memory": True})
    plain = server.run(plain_prompt(server, seed=21))
    accelerated = server.run(make_prompt(server, seed=21))
    bypassed = server.run(make_prompt(server, seed=21, bypassed={NODE, REPORT}))

    assert NODE not in make_prompt(server, bypassed={NODE, REPORT})
    assert torch.equal(latent(server, bypassed), latent(server, plain))
    assert not torch.equal(latent(server, accelerated), latent(server, plain))


@knows_small_flux
def test_bypass_leaves_the_report_with_a_message(server: Server) -> None:
    """The report is still wired; an error in it would lose the picture."""
    run = server.run(make_prompt(server, seed=22, bypassed={NODE}))

    assert run.ending == "execution_success", run.details
    assert picture(server, run, SAVE).shape == (256, 256, 3)
    assert "no AdaCorrection" in run.outputs[REPORT]["text"][0]
    assert any("no AdaCorrection" in text for text in run.texts)
    assert (number(run, HIT_RATE), number(run, SECONDS)) == (0.0, 0.0)


def plain_prompt(server: Server, seed: int) -> graph.Prompt:
    """The workflow without our node, and with another sampler node, lest the host answer from its cache."""
    prompt = make_prompt(server, seed, bypassed={NODE, REPORT})
    inputs: dict[str, Any] = prompt[SAMPLER]["inputs"]
    prompt[SAMPLER] = {
        "class_type": "KSamplerAdvanced",
        "inputs": {
            **{name: value for name, value in inputs.items() if name not in ("seed", "denoise")},
            "noise_seed": inputs["seed"],
            "add_noise": "enable",
            "start_at_step": 0,
            "end_at_step": 10000,
            "return_with_leftover_noise": "disable",
        },
    }
    return prompt


@knows_small_flux
def test_interrupted_run_leaves_the_next_one_whole(server: Server) -> None:
    interrupted_at: list[int] = []

    def interrupt(step: int) -> None:
        if step >= 8 and not interrupted_at:
            interrupted_at.append(step)
            server.post("/interrupt")

    stopped = server.run(make_prompt(server, seed=31, steps=300), on_step=interrupt)
    after = server.run(make_prompt(server, seed=31))

    assert stopped.ending == "execution_interrupted", interrupted_at
    assert "(did not finish)" in log_lines(server)[-2]
    assert after.ending == "execution_success"
    assert number(after, HIT_RATE) > 0


def test_workflow_names_what_it_needs() -> None:
    workflow = graph.load(WORKFLOW)
    assert all(
        node["properties"]["cnr_id"] in ("comfy-core", "adacorrection")
        for node in workflow["nodes"]
        if node["type"] not in graph.NOTES
    )
    assert Path(WORKFLOW).with_suffix(".jpg").stat().st_size <= 60_000
