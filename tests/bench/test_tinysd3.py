"""The bench's second network, as committed: through the adapter, through the command, and under the peers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from adacorrection_core.config import CorrectionConfig
from bench import __main__ as command
from bench.block_work import counted
from bench.peer import blocks_of
from bench.peers import latent_psnr
from demo.flux import euler_sample, new_noise
from demo.methods import Method, adaptive, full
from demo.sampler import DemoModel, Setting, load_model, sample
from demo.sd3 import predict
from demo.words import Conditioning

pytest.importorskip("cache_dit", reason="the peers are tested with cache-dit installed (extra: bench)")

from bench.peers import PEERS

FOLDER = Path(command.__file__).parent / "tinysd3"
SETTING = Setting(num_steps=8)


@pytest.fixture(scope="module")
def model() -> DemoModel:
    return load_model(FOLDER)


def test_the_folder_is_small_and_says_what_it_is():
    path = FOLDER / "tinysd3.safetensors"
    assert path.stat().st_size <= 4_000_000
    with safe_open(path, "pt") as stored:
        assert {"title", "licence", "samples"} <= stored.metadata().keys()
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float8_e4m3fn}


def test_tolerance_0_is_the_plain_run_and_a_preset_runs_fewer_blocks(model: DemoModel):
    plain = sample(model, 4, 0, full(8), SETTING)
    off = sample(model, 4, 0, Method("Off", "", config=CorrectionConfig(tolerance=0)), SETTING)
    fast = sample(model, 4, 0, adaptive("fast"), SETTING)
    assert torch.equal(off.latent, plain.latent)
    assert fast.block_fraction < off.block_fraction == 1
    assert 20 < latent_psnr(fast.latent, plain.latent) < 100


# One of each way of hooking; the last block, which returns no text, is what they stumble over.
@pytest.mark.parametrize(
    "name",
    ["FirstBlockCache (diffusers)", "FasterCache (diffusers)", "DBCache + TaylorSeer (cache-dit)"],
)
def test_a_peer_saves_work_and_leaves_no_trace(name: str, model: DemoModel):
    peer = next(peer for peer in PEERS if peer.name == name)
    words = model.conditioning
    one = Conditioning(
        words.names[:1], words.context[:1], words.pooled[:1], words.neg_context, words.neg_pooled
    )

    def draw() -> torch.Tensor:
        return euler_sample(model.transformer, new_noise([0]), one, 12, predict=predict)

    plain, counting = draw(), counted(model.transformer, blocks_of(model.transformer))
    with counting as work, peer.context(model.transformer, 12, peer.values[-1]):
        cached = draw()
    assert 0.1 < work.fraction(12) < 0.95
    assert not torch.equal(cached, plain)
    assert torch.equal(draw(), plain)


def test_the_bench_command_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    methods = ["AdaCorrection, preset=balanced", "SeaCache (diffusers)=0.8", "EasyCache + AdaCorrection=0.5"]
    arguments = ["--model", str(FOLDER), "--prompts", "4", "--steps", "12", "--out", str(tmp_path / "b")]
    assert command.main([*arguments, "--groups", "ours", "peers", "rules", "--methods", *methods]) == 0
    rows = json.loads((tmp_path / "b.json").read_text())["rows"]
    assert {row["model"] for row in rows} == {"tinysd3"}
    assert all(0.1 < row["block_fraction"] < 1 for row in rows)
    assert len(rows) == 3
