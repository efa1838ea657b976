"""The committed demo model: its picture code, its prompts, its weights, and a picture drawn with them."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from demo.draw import MODEL_FOLDER
from demo.flux import euler_sample, new_flux, new_noise, pack, simple_sigmas, unpack
from demo.flux_keys import bfl_to_diffusers, diffusers_to_bfl
from demo.networks import NETWORKS
from demo.picture_code import PictureCode
from demo.pictures import GROUNDS
from demo.words import DEMO_PROMPTS, Conditioning, encode_prompts, load_conditioning

WEIGHTS = MODEL_FOLDER / "tinyflux.safetensors"


@pytest.fixture(scope="module")
def code() -> PictureCode:
    return PictureCode.load(MODEL_FOLDER / "picture_code.safetensors")


@pytest.fixture(scope="module")
def conditioning() -> Conditioning:
    return load_conditioning(MODEL_FOLDER / "conds.safetensors")


def discs() -> torch.Tensor:
    """(8, 3, 64, 64) soft-edged yellow discs on the training grounds: about what an emoji is."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    inside = torch.sigmoid(24 - ((y - 31.5) ** 2 + (x - 31.5) ** 2).sqrt())
    grounds = torch.tensor(list(GROUNDS.values()))[:, :, None, None] / 255
    yellow = torch.tensor([1.0, 0.8, 0.2])[:, None, None]
    return yellow * inside + grounds * (1 - inside)


def test_a_picture_survives_the_code(code: PictureCode) -> None:
    pictures = discs()
    latent = code.encode(pictures)
    assert latent.shape == (8, 16, 16, 16)
    psnr = -10 * (code.decode(latent) - pictures).square().mean().log10()
    assert psnr > 35  # emoji with their finer detail reach 32 dB


def test_the_code_only_projects(code: PictureCode) -> None:
    latent = code.encode(0.25 + 0.5 * discs())  # away from 0 and 1, where decode clamps
    torch.testing.assert_close(code.encode(code.decode(latent)), latent, atol=1e-4, rtol=0)


def test_a_fitted_code_has_unit_variance() -> None:
    pictures = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    latent = PictureCode.fit(pictures).encode(pictures)
    assert latent.square().mean() == pytest.approx(1, abs=0.01)


def test_comfy_latents_go_there_and_back() -> None:
    latent = torch.linspace(-3, 3, 16)
    torch.testing.assert_close(PictureCode.from_comfy(PictureCode.to_comfy(latent)), latent)
    assert PictureCode.from_comfy(torch.tensor(0.1159)) == 0


def test_committed_prompts_are_the_words(conditioning: Conditioning) -> None:
    encoded = encode_prompts(DEMO_PROMPTS)
    assert encoded.names == conditioning.names
    for part in ("context", "pooled", "neg_context", "neg_pooled"):
        assert torch.equal(getattr(encoded, part), getattr(conditioning, part)), part


def test_the_model_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in MODEL_FOLDER.iterdir()) <= 20_000_000


def test_weights_say_what_they_are() -> None:
    with safe_open(WEIGHTS, "pt") as stored:
        assert {"title", "licence"} <= stored.metadata().keys()
    # A ComfyUI that computes on a GPU of today keeps a float8 model's biases in float8 too.
    assert {tensor.dtype for tensor in load_file(WEIGHTS).values()} == {torch.float8_e4m3fn}


def test_every_key_is_mapped_there_and_back() -> None:
    stored = {key: tensor.float() for key, tensor in load_file(WEIGHTS).items()}
    converted = bfl_to_diffusers(stored)
    expected = {key: tensor.shape for key, tensor in new_flux().state_dict().items()}
    assert {key: tensor.shape for key, tensor in converted.items()} == expected
    back = diffusers_to_bfl(converted)
    assert back.keys() == stored.keys()
    assert all(torch.equal(back[key], stored[key]) for key in stored)


@pytest.mark.parametrize("convert", [bfl_to_diffusers, diffusers_to_bfl])
def test_an_unknown_key_is_named(convert: type) -> None:
    with pytest.raises(KeyError, match="down_blocks.0.weight"):
        convert({"down_blocks.0.weight": torch.zeros(1)})


def test_tokens_go_there_and_back() -> None:
    latent = torch.arange(2 * 16 * 8 * 8.0).reshape(2, 16, 8, 8)
    tokens = pack(latent)
    assert tokens.shape == (2, 16, 64)
    assert tokens[0, 1, :4].tolist() == latent[0, 0, :2, 2:4].flatten().tolist()
    assert torch.equal(unpack(tokens), latent)


def test_schedule_is_comfys_simple() -> None:
    assert simple_sigmas(4) == [1, 0.75, 0.5, 0.25, 0]
    assert simple_sigmas(3) == pytest.approx([1, 0.667, 0.334, 0])  # it picks from 1000 levels


def test_eight_steps_draw_a_picture(code: PictureCode, conditioning: Conditioning) -> None:
    some = Conditioning([], conditioning.context[:2], conditioning.pooled[:2], *_null(conditioning))
    pictures = code.decode(euler_sample(NETWORKS["flux"].load(WEIGHTS), new_noise([0, 1]), some, num_steps=8))
    assert pictures.shape == (2, 3, 64, 64)
    assert pictures.isfinite().all()
    assert (pictures.std(dim=(1, 2, 3)) > 0.1).all()
    # The first prompt asks for a yellow face on white, the second for one on blue.
    assert pictures[0, :, :3, :3].mean() > 0.9
    assert pictures[1, 2, :3, :3].mean() > pictures[1, 0, :3, :3].mean() + 0.2


def _null(conditioning: Conditioning) -> tuple[torch.Tensor, torch.Tensor]:
    return conditioning.neg_context, conditioning.neg_pooled
