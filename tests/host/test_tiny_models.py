"""The base under the other host tests: each tiny model samples on the plain host."""

import pytest
import torch
from runs import REPRESENTATIVES, model_of

import tiny_models


def test_samples_finite_latent(family: str) -> None:
    cfg, batch = (3.0, 2) if tiny_models.takes_rows(family, 4) else (1.0, 1)

    latent = tiny_models.sample(model_of(family), family, steps=3, cfg=cfg, batch=batch)

    assert latent.shape == tiny_models.flat(tiny_models.empty_latent(family, batch)).shape
    assert torch.isfinite(latent).all()
    assert latent.std() > 0.1


def test_no_number_comes_out_of_unfilled_memory(family: str) -> None:
    """New memory holds NaN while a model is built: whatever nobody fills is seen."""
    model = model_of(family).model

    tensors = dict(model.named_parameters()) | dict(model.named_buffers())

    assert [name for name, tensor in tensors.items() if tiny_models.is_unfilled(tensor)] == []
    assert all(tensor.detach().isfinite().all() for tensor in tensors.values())


def test_the_builder_sees_unfilled_memory() -> None:
    with tiny_models.unfilled_is_nan():
        floats, integers = torch.empty(3), torch.empty(3, dtype=torch.int64)

    assert tiny_models.is_unfilled(floats)
    assert tiny_models.is_unfilled(integers)
    assert not tiny_models.is_unfilled(torch.zeros(3))
    assert not torch.are_deterministic_algorithms_enabled()


def test_same_seed_gives_same_weights(family: str) -> None:
    first, second = tiny_models.state_dict(family, seed=3), tiny_models.state_dict(family, seed=3)

    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_same_seed_gives_same_latent(family: str) -> None:
    first = tiny_models.sample(tiny_models.load(family), family, steps=2, seed=5)
    second = tiny_models.sample(tiny_models.load(family), family, steps=2, seed=5)
    other = tiny_models.sample(tiny_models.load(family), family, steps=2, seed=6)

    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_counts_each_block_once_a_call(family: str) -> None:
    model = model_of(family)

    with tiny_models.count_blocks(model, family) as executed:
        tiny_models.sample(model, family, steps=3)

    assert executed == dict.fromkeys(tiny_models.blocks(model, family), 3)


def test_flux_fill_is_given_image_and_mask() -> None:
    model = tiny_models.load("flux_fill")

    assert type(model.model.model_config).__name__ == "FluxInpaint"
    assert model.model.diffusion_model.img_in.in_features == 384
