"""The training script, on random pictures and a network of one double and one single block."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from safetensors.torch import load_file
from torch.nn import Linear

from demo import train
from demo.draw import MODEL_FOLDER
from demo.examples import Examples
from demo.networks import NETWORKS
from demo.pictures import GROUNDS, PictureSet
from demo.words import DEMO_PROMPTS, encode_prompts


def random_pictures() -> PictureSet:
    rgba = torch.randint(256, (16, 4, 16, 16), generator=torch.Generator().manual_seed(0))
    return PictureSet(rgba.byte(), DEMO_PROMPTS)


def smallest_flux() -> FluxTransformer2DModel:
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=128,
        num_attention_heads=1,
        joint_attention_dim=256,
        pooled_projection_dim=256,
        axes_dims_rope=(16, 56, 56),
    )


def smallest_sd3() -> SD3Transformer2DModel:
    torch.manual_seed(0)
    return SD3Transformer2DModel(
        sample_size=16,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=1,
        caption_projection_dim=16,
        joint_attention_dim=256,
        pooled_projection_dim=256,
        pos_embed_max_size=8,
    )


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    smallest = {"flux": smallest_flux, "sd3": smallest_sd3}
    for name, new in smallest.items():
        monkeypatch.setitem(NETWORKS, name, replace(NETWORKS[name], new=new))
    monkeypatch.setattr(train, "load_pictures", lambda cache, size: random_pictures())
    code = MODEL_FOLDER / "picture_code.safetensors"
    monkeypatch.setattr(
        "sys.argv", ["train", "--steps=3", "--batch=4", f"--out={tmp_path}", f"--code={code}"]
    )
    return train.parse_options()


def test_pictures_stand_on_their_ground() -> None:
    pictures = random_pictures()
    pictures.rgba[0, 3] = 0  # nothing but ground
    drawn = pictures.on_ground(torch.tensor([0, 0]), torch.tensor([1, 4]))
    wanted = torch.tensor([GROUNDS["blue"], GROUNDS["black"]]) / 255
    assert torch.equal(drawn, wanted[:, :, None, None].expand_as(drawn))


def test_prompt_follows_picture_and_ground(options: argparse.Namespace) -> None:
    pictures, code = train._pictures_and_code(options)
    batch = Examples(pictures, code, focus=1.0, device="cpu").draw(256, torch.Generator().manual_seed(0))
    assert batch.clean.shape == batch.noise.shape == (256, 16, 4, 4)
    assert ((batch.sigma > 0) & (batch.sigma < 1)).all()
    is_null = (batch.context == 0).all(dim=2).all(dim=1)
    assert 0.05 < is_null.float().mean() < 0.2
    # Every demo prompt is there word for word: its own ground is drawn half of the time.
    asked = encode_prompts(DEMO_PROMPTS).context
    assert all((batch.context == one).all(dim=2).all(dim=1).any() for one in asked)


def test_gradient_passes_straight_through_the_rounding() -> None:
    model = Linear(1, 1, bias=False)
    weights = train.RoundedWeights(model)
    weights.masters["weight"].data.fill_(1.05)
    weights.show(weights.masters)
    assert model.weight.item() == 1.0  # e4m3 has three bits of mantissa: 1.05 lies between 1 and 1.125
    model(torch.tensor([3.0])).sum().backward()
    weights.take_gradients()
    assert weights.masters["weight"].grad.item() == 3.0
    assert model.weight.grad is None


def test_rate_rises_then_falls_to_zero() -> None:
    assert train.lr_factor(0.0, 0) == pytest.approx(1 / 30)
    assert train.lr_factor(0.2, 100) == 1
    assert train.lr_factor(0.65, 100) == pytest.approx(0.5)
    assert train.lr_factor(1.0, 100) == 0


@pytest.mark.parametrize(
    ("network", "matrix"),
    [("flux", "single_blocks.0.linear1.weight"), ("sd3", "transformer_blocks.0.ff.net.2.weight")],
)
def test_a_run_writes_a_model_and_can_go_on(options: argparse.Namespace, network: str, matrix: str) -> None:
    options.network = network
    whole = train.Run(options)
    whole.train()
    assert whole.step == 3
    assert {path.name for path in (options.out / "model").iterdir()} == {
        NETWORKS[network].file,
        "conds.safetensors",
        "picture_code.safetensors",
    }
    resumed = train.Run(options)
    assert (resumed.step, resumed.samples) == (3, 12)
    for run in (whole, resumed):
        run._step(factor=1.0)
    for name, master in whole.weights.masters.items():
        assert torch.equal(master, resumed.weights.masters[name]), name
    stored = load_file(options.out / "model" / NETWORKS[network].file)
    assert stored[matrix].dtype == torch.float8_e4m3fn
