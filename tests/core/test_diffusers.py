"""The adapter for diffusers, on a tiny random transformer of the real class."""

import pytest
import torch

from adacorrection_core.config import ConfigError, CorrectionConfig
from adacorrection_core.diffusers import adacorrection
from adacorrection_core.stats import Outcome

diffusers = pytest.importorskip(
    "diffusers", reason="the diffusers adapter is tested with diffusers installed"
)

SIGMAS = [1 - i / 12 for i in range(13)]
LOOSE = CorrectionConfig(tolerance=1.0, max_consecutive=50)


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(0)
    return diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=8,
        axes_dims_rope=(4, 6, 6),
    ).eval()


def inputs(batch=1):
    generator = torch.Generator().manual_seed(1)
    return {
        "encoder_hidden_states": torch.randn(1, 5, 24, generator=generator).repeat(batch, 1, 1),
        "pooled_projections": torch.randn(1, 8, generator=generator).repeat(batch, 1),
        "img_ids": torch.zeros(9, 3),
        "txt_ids": torch.zeros(5, 3),
        "return_dict": False,
    }


@torch.inference_mode()
def sample(transformer, names=("cond",)):
    """Euler on a latent (1, 9, 16); one call a step with the branches as a batch."""
    latent = torch.randn(1, 9, 16, generator=torch.Generator().manual_seed(2))
    for sigma, sigma_next in zip(SIGMAS[:-1], SIGMAS[1:], strict=True):
        batch = latent.repeat(len(names), 1, 1)
        level = torch.full((len(names),), sigma)
        velocity = transformer(hidden_states=batch, timestep=level, **inputs(len(names)))[0].mean(
            0, keepdim=True
        )
        latent = latent + (sigma_next - sigma) * velocity
    return latent


@pytest.mark.parametrize("tolerance", [0.0, 1e-12])
@pytest.mark.parametrize("names", [("cond",), ("uncond", "cond")])
def test_no_tolerance_is_bit_identical(transformer, tolerance, names):
    plain = sample(transformer, names)
    with adacorrection(transformer, CorrectionConfig(tolerance=tolerance), SIGMAS, branches=names) as run:
        hooked = sample(transformer, names)
    assert torch.equal(plain, hooked)
    assert run.report.block_fraction == 1.0
    assert len(run.report.records) == 12 * len(names)


def test_corrected_run_is_close_and_cheaper(transformer):
    plain = sample(transformer)
    with adacorrection(transformer, LOOSE, SIGMAS) as run:
        corrected = sample(transformer)
    assert run.report.is_finished
    assert run.report.block_fraction < 0.6
    assert 0 < float((plain - corrected).norm() / plain.norm()) < 0.05


def test_the_same_run_twice_is_the_same(transformer):
    results = []
    for _ in range(2):
        with adacorrection(transformer, LOOSE, SIGMAS) as run:
            results.append((sample(transformer), run.report.hit_rate))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1] > 0


def test_nothing_is_left_on_the_transformer(transformer):
    with pytest.raises(RuntimeError, match="stop"), adacorrection(transformer, LOOSE, SIGMAS) as run:
        sample(transformer)
        raise RuntimeError("stop")
    assert not {"forward", "cache_context"} & set(transformer.__dict__)
    assert all("forward" not in module.__dict__ for module in transformer.modules())
    assert not run.report.is_finished
    assert not run.branches


@torch.inference_mode()
def test_cache_contexts_name_the_branches_of_separate_calls(transformer):
    with adacorrection(transformer, LOOSE, SIGMAS) as run:
        for sigma in SIGMAS[:-1]:
            for name in ("cond", "uncond"):
                with transformer.cache_context(name):
                    transformer(
                        hidden_states=torch.ones(1, 9, 16), timestep=torch.tensor([sigma]), **inputs()
                    )
    records = run.report.records
    assert [record.branch for record in records[:2]] == ["cond", "uncond"]
    assert {record.branch for record in records if record.outcome is Outcome.CORRECT} == {"cond", "uncond"}


def test_unknown_transformer_is_refused_by_name():
    with pytest.raises(ConfigError, match="does not know 'Linear'.*FluxTransformer2DModel"):  # noqa: SIM117
        with adacorrection(torch.nn.Linear(2, 2), LOOSE, SIGMAS):
            pass
