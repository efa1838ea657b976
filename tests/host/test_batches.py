"""Several pictures in one run: each is its own, whatever stands beside it in the batch."""

import comfy.sample
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import CLOSE, assert_composes, corrected, evaluate_twice, model_of, relative_error
from torch import Generator, Tensor

import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig

STEPS = 10
FAMILIES = ("flux_dev", "wan21_t2v")
REPLAY = CorrectionConfig(tolerance=1.0, warmup_steps=1)


def noise_of(family: str, *seeds: int) -> Tensor:
    """(len(seeds), ...) noise, each picture's from a seed of its own."""
    shape = tiny_models.empty_latent(family).shape
    return torch.cat([torch.randn(shape, generator=Generator().manual_seed(seed)) for seed in seeds])


def sample(model: ModelPatcher, family: str, noise: Tensor, cfg: float = 1.0) -> Tensor:
    """All pictures in one run."""
    latent = torch.zeros_like(noise)
    conds = tiny_models.conditionings(family)
    with torch.inference_mode():
        return comfy.sample.sample(
            model, noise, STEPS, cfg, "euler", "simple", *conds, latent, disable_pbar=True, seed=0
        )


@pytest.mark.parametrize(("family", "cfg"), [("flux_dev", 1.0), ("wan21_t2v", 2.0)])
def test_pictures_of_different_seeds(family: str, cfg: float) -> None:
    noise = noise_of(family, 1, 2, 3)
    full = sample(model_of(family), family, noise, cfg)
    assert min(relative_error(full[0], full[1]), relative_error(full[1], full[2])) > 2 * CLOSE

    report = assert_composes(lambda model: sample(model, family, noise, cfg), model_of(family), family)
    assert len(report.records) == STEPS * (2 if cfg > 1 else 1)  # one record a branch, not one a picture

    together = sample(corrected(family), family, noise, cfg)
    turned = sample(corrected(family), family, noise.flip(0), cfg).flip(0)
    for picture, other, truth in zip(together, turned, full, strict=True):
        assert relative_error(picture, truth) < CLOSE
        assert relative_error(picture, other) < 1e-3  # where it stands in the batch makes no difference


@pytest.mark.parametrize("family", FAMILIES)
def test_replay_of_a_batch(family: str) -> None:
    full, held = evaluate_twice(corrected(family, REPLAY), family, cfg=2.0, batch=3)

    for picture, truth in zip(held, full, strict=True):
        assert relative_error(picture, truth) < 1e-5


def test_seeds_of_a_latent_batch() -> None:
    """A latent's batch_index says which noise of the seed is whose: all the same, or that of one cut out."""
    family = "flux_dev"

    def noise(indices: list[int]) -> Tensor:
        return comfy.sample.prepare_noise(tiny_models.empty_latent(family, len(indices)), 3, indices)

    alike = sample(corrected(family), family, noise([0, 0, 0]))
    assert all(relative_error(picture, alike[0]) < 1e-4 for picture in alike)

    batch = sample(model_of(family), family, noise([0, 1, 2]))
    alone = sample(corrected(family), family, noise([2]))
    assert relative_error(alone[0], batch[2]) < CLOSE
