"""Samplers of every kind: several evaluations a step, levels off the grid, noise added back, half a run."""

import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import (
    ALWAYS_COMPUTED,
    CLOSE,
    REPRESENTATIVES,
    SOME_HITS,
    corrected,
    model_of,
    relative_error,
    run_node,
    sampled,
)

import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.adacorrection_core.sentences import say
from adacorrection.adacorrection_core.stats import Outcome, Reason, RunReport
from adacorrection.nodes.host.session import report_of

STEPS = 10
ONCE_A_STEP = ("dpmpp_2m", "euler_ancestral", "uni_pc", "lcm", "res_multistep")
OTHERS = ("heun", "heunpp2", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpm_fast", "dpm_adaptive")
STOCHASTIC = ("er_sde", "seeds_2", "sa_solver_pece", "dpmpp_3m_sde", "euler_ancestral_cfg_pp")
# Much of the picture is made of the sampler's own noise.
NOISY = {
    "lcm",
    "seeds_2",
    "dpmpp_sde",
    "dpmpp_3m_sde",
    "dpmpp_2s_ancestral",
    "euler_ancestral",
    "euler_ancestral_cfg_pp",
}


def assert_no_stale_anchor(report: RunReport) -> None:
    """No forecast across a rise of the noise level: the last full pass is never below a corrected call."""
    anchors: dict[str, float] = {}
    for record in report.records:
        if record.outcome is Outcome.COMPUTE:
            anchors[record.branch] = record.sigma
        else:
            assert record.sigma <= anchors[record.branch] * (1 + 1e-5)


@pytest.mark.parametrize(
    ("family", "sampler"),
    [
        ("wan21_t2v", "heun"),
        ("sd3", "dpmpp_2m"),
        *(("flux_dev", name) for name in ONCE_A_STEP + OTHERS + STOCHASTIC),
    ],
)
def test_sampler(family: str, sampler: str) -> None:
    if sampler not in comfy.samplers.SAMPLER_NAMES:
        pytest.skip(f"ComfyUI {tiny_models.comfyui_version} has no {sampler}")
    options = {"steps": STEPS, "sampler": sampler}
    full = tiny_models.sample(model_of(family), family, **options)

    same, _ = sampled(corrected(family, ALWAYS_COMPUTED), family, **options)
    latent, report = sampled(corrected(family, SOME_HITS), family, **options)

    assert torch.equal(same, full)
    assert report.reused
    assert torch.isfinite(latent).all()
    assert relative_error(latent, full) < (3 if sampler in NOISY else 1) * CLOSE
    assert_no_stale_anchor(report)
    if sampler in ONCE_A_STEP:
        assert len(report.records) == STEPS


def test_noise_level_that_rises_is_counted() -> None:
    model = corrected("flux_dev", CorrectionConfig(tolerance=1.0, warmup_steps=1))

    _, report = sampled(model, "flux_dev", steps=STEPS, sampler="heunpp2")

    sigmas = [record.sigma for record in report.records]
    rises = [now > before * 1.001 for before, now in zip(sigmas, sigmas[1:], strict=False)]
    assert any(rises)
    assert Reason.SIGMA_ROSE in {record.reason for record in report.records}
    assert_no_stale_anchor(report)


@pytest.mark.parametrize("speedup", [1.5, 2.0])
def test_target_speedup_with_two_evaluations_a_step(speedup: float) -> None:
    model = corrected("flux_dev", CorrectionConfig(target_speedup=speedup))

    _, report = sampled(model, "flux_dev", steps=28, sampler="heun")

    assert report.block_fraction == pytest.approx(1 / speedup, rel=0.1)


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_part_of_the_run(family: str) -> None:
    options = {
        "steps": STEPS,
        "denoise": 0.5,
        "latent": torch.full_like(tiny_models.empty_latent(family), 0.3),
    }
    full = tiny_models.sample(model_of(family), family, **options)

    latent, report = sampled(corrected(family), family, **options)

    assert len(report.records) == STEPS
    assert report.hit_rate > 0
    assert relative_error(latent, full) < 2 * CLOSE  # random models are rough at the clean end


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_inpainting(family: str) -> None:
    latent = torch.full_like(tiny_models.empty_latent(family), 0.3)
    mask = torch.zeros(1, 1, *latent.shape[-2:])
    mask[..., :4] = 1.0
    options = {"steps": STEPS, "latent": latent, "noise_mask": mask}
    full = tiny_models.sample(model_of(family), family, **options)

    inpainted, report = sampled(corrected(family), family, **options)

    assert report.hit_rate > 0
    assert relative_error(inpainted, full) < CLOSE


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_sampler_custom_advanced(family: str) -> None:
    full = custom_sample(model_of(family), family)
    model = corrected(family)

    latent = custom_sample(model, family)

    assert report_of(model).hit_rate > 0
    assert relative_error(latent, full) < CLOSE


def custom_sample(model: ModelPatcher, family: str) -> torch.Tensor:
    """SamplerCustomAdvanced with CFGGuider, BasicScheduler and RandomNoise, as artists wire them."""
    positive, negative = tiny_models.conditionings(family)
    nodes = {
        "noise": run_node(custom.RandomNoise, noise_seed=3),
        "guider": run_node(custom.CFGGuider, model=model, positive=positive, negative=negative, cfg=2.0),
        "sampler": run_node(custom.KSamplerSelect, sampler_name="euler"),
        "sigmas": run_node(custom.BasicScheduler, model=model, scheduler="beta", steps=STEPS, denoise=1.0),
    }
    latent = {"samples": tiny_models.empty_latent(family)}
    with torch.inference_mode():
        return run_node(custom.SamplerCustomAdvanced, **nodes, latent_image=latent)["samples"]


@pytest.mark.parametrize(
    ("sampler", "better"), [("dpmpp_2m_cfg_pp", "dpmpp_2m"), ("euler_cfg_pp", None), ("dpmpp_2m", None)]
)
def test_a_sampler_that_amplifies_errors_is_told(sampler: str, better: str | None) -> None:
    _, report = sampled(
        corrected("flux_dev", CorrectionConfig(target_speedup=1.5)), "flux_dev", steps=28, sampler=sampler
    )

    assert report.reused
    assert report.note == (say("unfitSampler", sampler=sampler, better=better) if better else "")
