"""The base under the other host tests: each tiny model samples on the plain host."""

import pytest
import torch

import tiny_models


@pytest.mark.parametrize(("cfg", "batch"), [(1.0, 1), (3.0, 1), (1.0, 2)], ids=["plain", "guided", "batch"])
def test_samples_finite_latent(family: str, cfg: float, batch: int) -> None:
    if (cfg, batch) != (1.0, 1) and not tiny_models.takes_batches(family):
        pytest.skip(f"{family} takes one image at a time in ComfyUI {tiny_models.comfyui_version}")
    model = tiny_models.load(family)

    latent = tiny_models.sample(model, family, steps=4, cfg=cfg, batch=batch)

    assert latent.shape == tiny_models.empty_latent(family, batch).shape
    assert torch.isfinite(latent).all()
    assert latent.std() > 0.1


def test_same_seed_gives_same_latent(family: str) -> None:
    first = tiny_models.sample(tiny_models.load(family), family, steps=2, seed=5)
    second = tiny_models.sample(tiny_models.load(family), family, steps=2, seed=5)
    other = tiny_models.sample(tiny_models.load(family), family, steps=2, seed=6)

    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_counts_each_block_once_a_call(family: str) -> None:
    model = tiny_models.load(family)

    with tiny_models.count_blocks(model, family) as executed:
        tiny_models.sample(model, family, steps=3)

    assert executed == dict.fromkeys(tiny_models.blocks(model, family), 3)


def test_flux_fill_is_given_image_and_mask() -> None:
    model = tiny_models.load("flux_fill")

    assert type(model.model.model_config).__name__ == "FluxInpaint"
    assert model.model.diffusion_model.img_in.in_features == 384
