"""bench.gpu on tiny models: every number is there and fits the others; without a GPU it says so."""

import json

import pytest
import torch

pytest.importorskip("diffusers", reason="bench.gpu builds diffusers' transformers")

from bench.gpu import main

TINY = ["--tiny", "--steps", "8", "--repeats", "1"]


def test_tiny_models_are_measured(tmp_path, capsys):
    file = tmp_path / "gpu.json"
    assert main([*TINY, "--backend", "none", "--json", str(file)]) == 0
    models = json.loads(file.read_text())["models"]
    assert models.keys() == {"FLUX.1-dev", "SD3.5-large", "HunyuanVideo"}
    for (timing,) in models.values():
        kinds = ("full", "probe", "corrected", "probed", "computed")
        assert min(timing[kind] for kind in kinds) > 0
        assert timing["corrected"] < timing["probed"]  # no block against one
        assert timing["bytes_held"] > 0
        second, third = timing["savings"]
        assert third["block_fraction"] < second["block_fraction"] < 0.9
    assert "every 3. step computed" in capsys.readouterr().out


def test_compiled_blocks_are_measured_beside(tmp_path):
    file = tmp_path / "gpu.json"
    assert main([*TINY, "--backend", "eager", "--models", "FLUX.1-dev", "--json", str(file)]) == 0
    as_built, compiled = json.loads(file.read_text())["models"]["FLUX.1-dev"]
    assert (as_built["build"], compiled["build"]) == ("as built", "blocks compiled (eager)")
    assert compiled["savings"][0]["block_fraction"] == as_built["savings"][0]["block_fraction"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_without_a_gpu_it_says_so(capsys):
    assert main([]) == 1
    assert "needs a CUDA device" in capsys.readouterr().err
