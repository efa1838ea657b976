"""The adapter in diffusers' own pipelines, with tiny random transformers, words given and latents taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers", reason="the diffusers adapter is tested with diffusers installed")

from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    StableDiffusion3Pipeline,
    UniPCMultistepScheduler,
    WanPipeline,
)
from tiny_transformers import make, pooled, text

from adacorrection_core.config import ConfigError, CorrectionConfig
from adacorrection_core.diffusers import disable_adacorrection, enable_adacorrection, report_of
from adacorrection_core.diffusers_hook import scheduler_levels

STEPS = 12
LOOSE = CorrectionConfig(tolerance=1.0, warmup_steps=3, max_consecutive=3)
WORDS = {"prompt_embeds": text(1, 24), "negative_prompt_embeds": 0.5 * text(1, 24)}
POOLED = {"pooled_prompt_embeds": pooled(1), "negative_pooled_prompt_embeds": pooled(1)}


@dataclass
class Drawing:
    """A pipeline and the arguments that it is called with."""

    pipe: Any
    arguments: dict[str, Any]

    def __call__(self, steps: int = STEPS) -> torch.Tensor:
        return self.pipe(
            **self.arguments,
            num_inference_steps=steps,
            output_type="latent",
            return_dict=False,
            generator=torch.Generator().manual_seed(0),
        )[0]


def pipeline(pipeline_class: type, transformer: str, scheduler: Any, missing: str) -> Any:
    """A pipeline without VAE and text encoders."""
    absent = dict.fromkeys(["vae", *missing.split()])
    pipe = pipeline_class(scheduler=scheduler, transformer=make(transformer), **absent)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def flux() -> Drawing:
    """Two calls a step in contexts of their own; timesteps from 1, shifted by the picture's size."""
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    missing = "text_encoder tokenizer text_encoder_2 tokenizer_2"
    pipe = pipeline(FluxPipeline, "FluxTransformer2DModel", scheduler, missing)
    return Drawing(pipe, {**WORDS, **POOLED, "true_cfg_scale": 2.0, "height": 64, "width": 64})


def sd3() -> Drawing:
    """One call a step for both; timesteps from 1000; no cache_context and no CacheMixin."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    missing = "text_encoder tokenizer text_encoder_2 tokenizer_2 text_encoder_3 tokenizer_3"
    pipe = pipeline(StableDiffusion3Pipeline, "SD3Transformer2DModel", scheduler, missing)
    return Drawing(pipe, {**WORDS, **POOLED, "guidance_scale": 3.0, "height": 64, "width": 64})


def wan() -> Drawing:
    """Two calls a step; a scheduler of second order with whole numbers for timesteps."""
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    pipe = pipeline(WanPipeline, "WanTransformer3DModel", scheduler, "text_encoder tokenizer")
    return Drawing(pipe, {**WORDS, "guidance_scale": 3.0, "height": 32, "width": 32, "num_frames": 5})


@pytest.fixture(scope="module", params=[flux, sd3, wan], ids=lambda make: make.__name__)
def drawing(request: pytest.FixtureRequest) -> Drawing:
    return request.param()


@pytest.fixture
def enable(drawing: Drawing) -> Any:
    """Enables with a config; afterwards it is disabled."""

    def enable(config: CorrectionConfig, **options: Any) -> None:
        enable_adacorrection(drawing.pipe.transformer, config, drawing.pipe.scheduler, **options)

    yield enable
    disable_adacorrection(drawing.pipe.transformer)


def test_a_pipeline_is_corrected_run_by_run(drawing: Drawing, enable: Callable[..., None]) -> None:
    plain = drawing()
    enable(LOOSE)
    first = drawing()
    report = report_of(drawing.pipe.transformer)
    assert report.is_finished
    assert report.num_steps == STEPS
    assert {record.step_index for record in report.records} == set(range(STEPS))
    assert report.block_fraction < 0.6
    assert 0 < float((first - plain).norm() / plain.norm()) < 0.1
    assert torch.equal(first, drawing())
    again = report_of(drawing.pipe.transformer)
    assert again is not report and again.is_finished
    drawing(steps=8)
    assert report_of(drawing.pipe.transformer).num_steps == 8


def test_disabled_or_without_tolerance_it_is_bit_identical(
    drawing: Drawing, enable: Callable[..., None]
) -> None:
    transformer = drawing.pipe.transformer
    before = {name: set(module.__dict__) for name, module in transformer.named_modules()}
    plain = drawing()
    for tolerance in (0.0, 1e-12):
        enable(CorrectionConfig(tolerance=tolerance))
        assert torch.equal(drawing(), plain)
        assert report_of(transformer).block_fraction == 1.0
        disable_adacorrection(transformer)
    assert report_of(transformer) is None
    after = {name: set(module.__dict__) for name, module in transformer.named_modules()}
    after[""] -= {"_diffusers_hook"}  # cache_context, which the pipeline entered without us, makes one
    assert after == {name: names - {"_diffusers_hook"} for name, names in before.items()}
    assert torch.equal(drawing(), plain)


def test_an_interrupted_pipeline_leaves_nothing_to_the_next_run(
    drawing: Drawing, enable: Callable[..., None]
) -> None:
    enable(LOOSE)
    whole = drawing()
    drawing.arguments["callback_on_step_end"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        drawing()
    del drawing.arguments["callback_on_step_end"]
    interrupted = report_of(drawing.pipe.transformer)
    assert not interrupted.is_finished
    assert torch.equal(drawing(), whole)
    assert report_of(drawing.pipe.transformer).is_finished


def interrupt(pipe: Any, step: int, timestep: torch.Tensor, arguments: dict[str, Any]) -> dict[str, Any]:
    if step == 5:
        raise KeyboardInterrupt
    return arguments


def test_conditionings_that_share_a_batch_can_be_named() -> None:
    drawing = sd3()
    plain = drawing()
    transformer, scheduler = drawing.pipe.transformer, drawing.pipe.scheduler
    enable_adacorrection(transformer, LOOSE, scheduler, branches=("uncond", "cond"), cfg=3.0)
    corrected = drawing()
    report = report_of(transformer)
    assert [record.branch for record in report.records[:2]] == ["uncond", "cond"]
    assert report.block_fraction < 0.6
    assert 0 < float((corrected - plain).norm() / plain.norm()) < 0.1


def test_skip_layer_guidance_is_a_branch_of_its_own() -> None:
    drawing = sd3()
    drawing.arguments |= {
        "skip_guidance_layers": [2],
        "skip_layer_guidance_start": 0.0,
        "skip_layer_guidance_stop": 1.0,
    }
    plain = drawing()
    enable_adacorrection(
        drawing.pipe.transformer, LOOSE, drawing.pipe.scheduler, branches=("uncond", "cond"), cfg=3.0
    )
    corrected = drawing()
    report = report_of(drawing.pipe.transformer)
    assert {record.branch for record in report.records} == {"uncond", "cond", "skip_layers"}
    assert report.block_fraction < 0.7
    assert 0 < float((corrected - plain).norm() / plain.norm()) < 0.2


def test_two_experts_each_have_a_run_of_their_own() -> None:
    drawing = wan()
    first, second = drawing.pipe.transformer, make("WanTransformer3DModel")
    drawing.pipe.register_modules(transformer_2=second)
    drawing.pipe.register_to_config(boundary_ratio=0.75)
    plain = drawing()
    config = CorrectionConfig(target_speedup=1.5, warmup_steps=2)
    for transformer in (first, second):
        enable_adacorrection(transformer, config, drawing.pipe.scheduler)
    corrected = drawing()
    high, low = report_of(first), report_of(second)
    assert high.is_finished and low.is_finished
    assert len(high.records) + len(low.records) == 2 * STEPS
    assert low.num_steps == len(low.records) / 2 < STEPS
    assert min(high.hit_rate, low.hit_rate) > 0
    assert 0 < float((corrected - plain).norm() / plain.norm()) < 0.2


def test_levels_begin_where_the_pipeline_begins() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(10)
    scheduler.set_begin_index(4)
    levels = scheduler_levels(scheduler)
    assert len(levels) == 7
    assert levels[0] == pytest.approx(float(scheduler.sigmas[4]))
    assert levels[-1] == 0.0


def test_no_scheduler_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"pass pipe\.scheduler"):
        enable_adacorrection(make("FluxTransformer2DModel"), LOOSE, None)
