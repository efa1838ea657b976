"""Prompts in API form as earlier versions of the pack had them queued: every value reaches its run."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from comfy_server import Server
from test_server import knows_small_flux

from adacorrection.nodes.apply import make_config
from comfy_host import PACK_ROOT

SHARED = ("start_percent", "end_percent", "cache_placement")
FOLDER = PACK_ROOT / "tests" / "saved_earlier"


@knows_small_flux
@pytest.mark.parametrize("name", ["first_nodes", "with_compare"])
def test_prompt_of_an_earlier_version_runs_with_its_values(server: Server, name: str) -> None:
    prompt = json.loads((FOLDER / f"{name}.json").read_text())["prompt"]

    run = server.run(prompt)

    assert run.ending == "execution_success", run.details
    reports = [number for number, node in prompt.items() if node["class_type"] == "AdaCorrectionReport"]
    assert len(reports) == 6  # each preset, and Custom in both modes
    for number in reports:
        inputs = prompt[prompt[number]["inputs"]["model"][0]]["inputs"]
        assert f"AdaCorrection {asked(inputs)} on Flux" in run.outputs[number]["text"][0]
    for number, node in prompt.items():
        if node["class_type"] == "AdaCorrectionCompare":
            assert re.search("PSNR|Identical", run.outputs[number]["text"][0])


def asked(inputs: dict[str, Any]) -> str:
    """Name of the setting that the inputs of a node stand for."""
    own = {key.removeprefix("preset."): value for key, value in inputs.items() if key.startswith("preset")}
    return make_config(own, {name: inputs[name] for name in SHARED}).name
