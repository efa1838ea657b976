"""Samplers in a row: split sigmas, half runs, and the two experts of Wan 2.2. Each is a run of its own."""

from collections.abc import Callable

import comfy_extras.nodes_custom_sampler as custom
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import ALWAYS_COMPUTED, CLOSE, SOME_HITS, corrected, model_of, relative_error, run_node
from torch import Tensor

import nodes as comfy_nodes
import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.adacorrection_core.stats import Outcome
from adacorrection.nodes.host.session import apply_correction, report_of

STEPS = 20
SPLIT = 10
Patch = Callable[[ModelPatcher], ModelPatcher]


def custom_run(model: ModelPatcher, family: str, sigmas: Tensor, latent: Tensor, seed: int | None) -> Tensor:
    """SamplerCustomAdvanced; without a seed no noise is added."""
    positive, negative = tiny_models.conditionings(family)
    conds = {"positive": positive, "negative": negative}
    noise = custom.DisableNoise if seed is None else custom.RandomNoise
    return run_node(
        custom.SamplerCustomAdvanced,
        noise=run_node(noise, **({} if seed is None else {"noise_seed": seed})),
        guider=run_node(custom.CFGGuider, model=model, **conds, cfg=2.0),
        sampler=run_node(custom.KSamplerSelect, sampler_name="euler"),
        sigmas=sigmas,
        latent_image={"samples": latent},
    )["samples"]


def in_a_row(first: ModelPatcher, second: ModelPatcher, family: str) -> Tensor:
    """The first model makes the first half of the steps, the second one the rest."""
    node = custom.BasicScheduler
    sigmas = run_node(node, model=first, scheduler="simple", steps=STEPS, denoise=1.0)
    result = custom.SplitSigmas.execute(sigmas, SPLIT)
    high, low = getattr(result, "args", None) or result
    with torch.inference_mode():
        latent = custom_run(first, family, high, tiny_models.empty_latent(family), 3)
        return custom_run(second, family, low, latent, None)


@pytest.mark.parametrize("family", ["flux_dev", "sd3"])
def test_split_sigmas_with_one_model(family: str) -> None:
    """One node before both samplers: the second run starts in the middle, with no past."""
    full = in_a_row(model_of(family), model_of(family), family)
    same = corrected(family, ALWAYS_COMPUTED)
    assert torch.equal(in_a_row(same, same, family), full)
    model = corrected(family)

    latent = in_a_row(model, model, family)

    report = report_of(model)  # the second run's, as that was the last
    assert report.num_steps == SPLIT
    assert report.hit_rate > 0
    assert [r.outcome for r in report.records[:4]] == 4 * [Outcome.COMPUTE]
    assert relative_error(latent, full) < 2 * CLOSE


@pytest.mark.parametrize("patch", ["both", "high", "low"])
def test_experts_for_high_and_low_noise(patch: str) -> None:
    """Wan 2.2: two models, the node on either or both. What one has learnt is not for the other."""
    family = "wan21_t2v"
    high, low = model_of(family), tiny_models.load(family, seed=1)
    full = in_a_row(high, low, family)
    assert relative_error(in_a_row(high, high, family), full) > CLOSE

    def patched(config: CorrectionConfig) -> tuple[ModelPatcher, ModelPatcher]:
        return (
            apply_correction(high, config) if patch != "low" else high,
            apply_correction(low, config) if patch != "high" else low,
        )

    assert torch.equal(in_a_row(*patched(ALWAYS_COMPUTED), family), full)
    models = patched(SOME_HITS)

    latent = in_a_row(*models, family)

    reports = [report_of(m) for m, plain in zip(models, (high, low), strict=True) if m is not plain]
    assert len(reports) == (2 if patch == "both" else 1)
    assert all(report.hit_rate > 0 and report.num_steps == SPLIT for report in reports)
    assert 0 < relative_error(latent, full) < 2 * CLOSE


@pytest.mark.parametrize("family", ["flux_dev"])
def test_two_advanced_samplers(family: str) -> None:
    """KSampler (Advanced) with leftover noise, as the workflows of two experts are often wired."""
    positive, negative = tiny_models.conditionings(family)

    def sample(model: ModelPatcher) -> Tensor:
        shared = {
            "model": model,
            "noise_seed": 3,
            "steps": STEPS,
            "cfg": 1.0,
            "sampler_name": "res_multistep",
            "scheduler": "simple",
            "positive": positive,
            "negative": negative,
        }
        latent = {"samples": tiny_models.empty_latent(family)}
        with torch.inference_mode():
            for start, end, noise, leftover in (
                (0, SPLIT, "enable", "enable"),
                (SPLIT, 1000, "disable", "disable"),
            ):
                latent = run_node(
                    comfy_nodes.KSamplerAdvanced,
                    **shared,
                    latent_image=latent,
                    start_at_step=start,
                    end_at_step=end,
                    add_noise=noise,
                    return_with_leftover_noise=leftover,
                )
        return latent["samples"]

    full = sample(model_of(family))
    assert torch.equal(sample(corrected(family, ALWAYS_COMPUTED)), full)
    model = corrected(family)
    assert 0 < relative_error(sample(model), full) < 2 * CLOSE
    assert report_of(model).hit_rate > 0
