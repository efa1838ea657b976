"""The adapter in diffusers' own pipelines, with tiny random transformers."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers", reason="the diffusers adapter is tested with diffusers installed")

from diffusers import DDPMPipeline, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from tiny_pipelines import (
    STEPS,
    Drawing,
    flux,
    hunyuan_video,
    inpaint,
    kontext,
    ltx_video,
    qwen_image,
    sd3,
    wan,
)
from torch import nn

from adacorrection_core.anchors import Anchor
from adacorrection_core.config import ConfigError, CorrectionConfig
from adacorrection_core.diffusers import (
    adacorrection,
    disable_adacorrection,
    enable_adacorrection,
    report_of,
)
from adacorrection_core.diffusers_levels import scheduler_levels
from adacorrection_core.diffusers_registry import attached
from adacorrection_core.evaluation import Measurement
from adacorrection_core.stats import Outcome, Reason
from bench.tiny_transformers import make

LOOSE = CorrectionConfig(tolerance=1.0, warmup_steps=3, max_consecutive=3)
SIX = [flux, sd3, hunyuan_video, wan, qwen_image, ltx_video]


@pytest.fixture(scope="module", params=SIX, ids=lambda make: make.__name__)
def drawing(request: pytest.FixtureRequest) -> Drawing:
    return request.param()


@pytest.fixture(params=["pipeline", "transformer and scheduler", "transformer"])
def enable(request: pytest.FixtureRequest, drawing: Drawing) -> Any:
    """Enables with a config, in one of the three forms; afterwards it is disabled."""
    pipe = drawing.pipe

    def enable(config: CorrectionConfig, **options: Any) -> None:
        if request.param == "transformer and scheduler":
            enable_adacorrection(pipe.transformer, config, pipe.scheduler, **options)
        else:
            enable_adacorrection(pipe if request.param == "pipeline" else pipe.transformer, config, **options)

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
    assert report.block_fraction < 0.65
    assert report.records[-1].outcome is Outcome.COMPUTE
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


def two_experts() -> tuple[Drawing, nn.Module, nn.Module]:
    drawing = wan()
    second = make("WanTransformer3DModel")
    drawing.pipe.register_modules(transformer_2=second)
    drawing.pipe.register_to_config(boundary_ratio=0.75)
    return drawing, drawing.pipe.transformer, second


def test_two_experts_each_have_a_run_of_their_own() -> None:
    drawing, first, second = two_experts()
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


def test_what_the_first_expert_owes_goes_over_to_the_second() -> None:
    """Two that are alike, the first of which alone is corrected, draw what one draws in the same steps."""
    one, (two, first, _) = wan(), two_experts()
    config = replace(LOOSE, end_percent=0.25)
    results, held = [], []

    def look(pipe: Any, step: int, timestep: torch.Tensor, arguments: dict[str, Any]) -> dict[str, Any]:
        held.append(attached(first).model.run.bytes_held)
        return arguments

    two.arguments["callback_on_step_end"] = look
    for drawing, cfg in ((one, 3.0), (two, (3.0, 3.0)), (two, None)):
        enable_adacorrection(drawing.pipe, config, cfg=cfg)
        results.append(drawing())
        report = report_of(drawing.pipe)
        disable_adacorrection(drawing.pipe)
    assert report.num_steps == len(report.records) / 2 == 7
    assert report.records[-1].reason is Reason.LAST_STEP
    whole, shared, unsettled = results
    assert float((whole - shared).norm()) < 1e-5 * float(whole.norm())
    assert float((whole - unsettled).norm()) > 1e-3 * float(whole.norm())
    assert [size > 0 for size in held[:STEPS]] == 6 * [True] + 6 * [False]  # nothing is held past the switch


def test_levels_begin_where_the_pipeline_begins() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(10)
    scheduler.set_begin_index(4)
    levels = scheduler_levels(scheduler)
    assert len(levels) == 7
    assert levels[0] == pytest.approx(float(scheduler.sigmas[4]))
    assert levels[-1] == 0.0


def test_a_context_manager_takes_a_pipeline_and_a_preset() -> None:
    drawing = wan()
    plain = drawing(steps=16)
    with adacorrection(drawing.pipe, cfg=3.0) as hook:
        corrected = drawing(steps=16)
        assert hook.report.is_finished
    assert report_of(drawing.pipe) is None
    assert hook.report.config_name == "balanced"
    assert 0.4 < hook.report.block_fraction < 0.65
    assert 0 < float((corrected - plain).norm() / plain.norm()) < 0.1
    with adacorrection(drawing.pipe.transformer, cfg=3.0) as learnt:
        drawing(steps=16)
    assert abs(learnt.report.block_fraction - hook.report.block_fraction) < 0.13
    assert torch.equal(drawing(steps=16), plain)


@pytest.mark.parametrize("make_drawing", [flux, wan, hunyuan_video], ids=["flux", "wan", "hunyuan_video"])
def test_separate_calls_are_repaid_where_the_guidance_is_told(make_drawing: Callable[[], Drawing]) -> None:
    """And past the last step nothing is held any more: the pictures are decoded next."""
    drawing, held, kept = make_drawing(), [], []
    cfg = drawing.arguments.get("true_cfg_scale", 3.0)
    plain = drawing()

    def error(**options: Any) -> float:
        enable_adacorrection(drawing.pipe, LOOSE, **options)
        off = drawing() - plain
        disable_adacorrection(drawing.pipe)
        return float(off.norm() / plain.norm())

    def look(pipe: Any, step: int, timestep: torch.Tensor, arguments: dict[str, Any]) -> dict[str, Any]:
        run = attached(pipe.transformer).model.run
        held.append((run.bytes_held, run.corrector.is_active))
        if step == STEPS - 1:
            kept.extend(thing for thing in gc.get_objects() if type(thing) in (Anchor, Measurement))
        return arguments

    drawing.arguments["callback_on_step_end"] = look
    errors = error(cfg=cfg), error()
    assert errors[0] < 0.95 * errors[1]
    assert all(held[step][0] > 0 for step in range(STEPS - 1))
    assert all(held[step][1] for step in range(STEPS - 1))
    assert held[STEPS - 1] == (0, False)
    assert kept == []


@pytest.mark.parametrize(
    ("make_drawing", "first"), [(kontext, 2), (inpaint, 0)], ids=["Kontext", "inpainting"]
)
def test_nothing_is_repaid_where_the_latents_are_reset_or_have_company(
    make_drawing: Callable[[], Drawing], first: int
) -> None:
    """A mask is known of at once; tokens that stay where they are show before anything is owed."""
    drawing, is_active = make_drawing(), []
    plain = drawing()

    def look(pipe: Any, step: int, timestep: torch.Tensor, arguments: dict[str, Any]) -> dict[str, Any]:
        is_active.append(attached(pipe.transformer).model.run.corrector.is_active)
        return arguments

    drawing.arguments["callback_on_step_end"] = look
    results = []
    for options in ({}, {"is_settling": False}):
        enable_adacorrection(drawing.pipe, LOOSE, **options)
        results.append(drawing())
        assert report_of(drawing.pipe).block_fraction < 0.6
        disable_adacorrection(drawing.pipe)
    assert is_active == first * [True] + (2 * STEPS - first) * [False]
    assert torch.equal(*results)
    assert 0 < float((results[0] - plain).norm() / plain.norm()) < 0.1


def test_what_cannot_be_used_is_refused() -> None:
    flux = make("FluxTransformer2DModel")
    with pytest.raises(ConfigError, match=r"pass pipe\.scheduler"):
        enable_adacorrection(flux, LOOSE, object())
    with pytest.raises(ConfigError, match="DDPMPipeline has no transformer"):
        enable_adacorrection(DDPMPipeline(unet=None, scheduler=DDPMScheduler()), LOOSE)
    enable_adacorrection(flux, LOOSE)
    with pytest.raises(ConfigError, match="A cache is enabled"):
        enable_adacorrection(flux, LOOSE)
    with pytest.raises(ConfigError, match="2 guidance scales for 1 transformers"):
        enable_adacorrection(make("FluxTransformer2DModel"), LOOSE, cfg=(4.0, 3.0))
