"""What the cache will take is known before the run in every workflow: guidance, regions, ranges."""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom
import comfy_extras.nodes_lt as lightricks
import comfy_extras.nodes_perpneg as perpneg
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import ALWAYS_COMPUTED, TOLERANT, model_of, report_of, run_node
from test_control import control_net, controlled
from test_guidance import PATCHES, guided
from test_regions import combined, in_mask, in_range, left_half, prompts
from test_weights import scheduled
from torch import Tensor

import nodes as comfy_nodes
import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.adacorrection_core.stats import RunReport
from adacorrection.nodes.host.rehearsal import num_passes
from adacorrection.nodes.host.session import apply_correction

STEPS = 20
FLUX, WAN = "flux_dev", "wan21_t2v"
TARGET = CorrectionConfig(target_speedup=2.0)
# A setting by tolerance, and one by target: there, no probe is kept.
BOTH = pytest.mark.parametrize("config", [TOLERANT, TARGET], ids=["tolerance", "target"])


def reported(plain: ModelPatcher, family: str, config: CorrectionConfig, **run: Any) -> RunReport:
    """The report of a run."""
    model = apply_correction(plain, config)
    tiny_models.sample(model, family, **{"steps": STEPS, "cfg": 2.0} | run)
    return report_of(model)


def share_held(plain: ModelPatcher, family: str, config: CorrectionConfig, **run: Any) -> float:
    """Bytes held over those expected."""
    report = reported(plain, family, config, **run)
    return report.bytes_held / report.bytes_expected


@BOTH
@pytest.mark.parametrize("name", ["PAG", "SLG", "SLG of SD3", "CFG-Zero*"])
def test_passes_of_guidance_nodes(name: str, config: CorrectionConfig) -> None:
    family = "sd3" if name == "SLG of SD3" else FLUX
    node, settings, _ = PATCHES[name]
    plain = run_node(node, model=model_of(family), **settings)
    assert share_held(plain, family, config) == pytest.approx(1, abs=0.05)


@BOTH
def test_passes_of_two_guidance_nodes_of_ltx(config: CorrectionConfig) -> None:
    if not hasattr(lightricks, "LTXVModalityGuidance"):
        pytest.skip("this ComfyUI has no such guidance for LTX-2")
    part = {"start_percent": 0.0, "end_percent": 1.0}
    plain = model_of("ltxav")
    plain = run_node(lightricks.LTXVSpatioTemporalGuidance, model=plain, scale=1.0, blocks="1", **part)
    plain = run_node(lightricks.LTXVModalityGuidance, model=plain, modality_scale=3.0, **part)
    assert share_held(plain, "ltxav", config) == pytest.approx(1, abs=0.05)


class Guidance:
    """A guidance function as a class of another pack."""

    def __call__(self, args: dict[str, Any]) -> Tensor:
        where = args["model"], [args["cond"]], args["input"], args["sigma"]
        return comfy.samplers.calc_cond_batch(*where, args["model_options"])[0]


def made_inside() -> Callable[[dict[str, Any]], Tensor]:
    """Guidance that keeps its own call in a function of its own."""
    calc_cond_batch = comfy.samplers.calc_cond_batch

    def guidance(args: dict[str, Any]) -> Tensor:
        def again() -> Tensor:
            where = args["model"], [args["cond"]], args["input"], args["timestep"]
            return calc_cond_batch(*where, args["model_options"])[0]

        return again()

    return guidance


def decorated(function: Callable[[dict[str, Any]], Tensor]) -> Callable[[dict[str, Any]], Tensor]:
    """The same function behind one that only hands on."""

    @wraps(function)
    def behind(args: dict[str, Any]) -> Tensor:
        return function(args)

    return behind


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        ({}, 0),
        ({"sampler_post_cfg_function": [lambda args: args["denoised"], len]}, 0),
        ({"sampler_post_cfg_function": [Guidance(), Guidance().__call__]}, 2),
        ({"sampler_cfg_function": partial(Guidance.__call__, Guidance())}, 1),
        ({"sampler_pre_cfg_function": [made_inside(), decorated(made_inside())]}, 2),
        ({"sampler_calc_cond_batch_function": None}, 0),
    ],
)
def test_a_guidance_function_that_calls_the_model_is_known_by_its_code(
    options: dict[str, Any], passes: int
) -> None:
    assert num_passes(options) == passes


def test_a_negative_prompt_at_a_guidance_of_1() -> None:
    """Left out by the host, unless a guidance node has need of it."""
    plain = model_of(FLUX).clone()
    assert share_held(plain, FLUX, TARGET, cfg=1.0) == pytest.approx(1, abs=0.05)
    plain.model_options["disable_cfg1_optimization"] = True
    assert share_held(plain, FLUX, TARGET, cfg=1.0) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", ["DualCFG", "DualCFG nested", "PerpNeg", "PerpNeg at a scale of 1"])
def test_guiders_of_three_prompts(name: str) -> None:
    """They leave a prompt out by rules of their own, and not at the scale that other guiders go by."""
    positive, negative = tiny_models.conditionings(FLUX)
    third, _ = tiny_models.conditionings(FLUX, seed=5)
    scale = 1.0 if name.endswith("1") else 2.0

    def make_guider(model: ModelPatcher) -> object:
        if name.startswith("PerpNeg"):
            conds = {"positive": positive, "negative": negative, "empty_conditioning": third}
            return run_node(perpneg.PerpNegGuider, model=model, **conds, cfg=scale, neg_scale=1.0)
        style = "nested" if name.endswith("nested") else "regular"
        conds = {"cond1": positive, "cond2": third, "negative": negative}
        scales = {"cfg_conds": 2.0, "cfg_cond2_negative": 2.0}
        return run_node(custom.DualCFGGuider, model=model, **conds, **scales, style=style)

    model = apply_correction(model_of(FLUX), TARGET)
    guided(make_guider, steps=STEPS)(model)
    report = report_of(model)
    assert report.bytes_held == pytest.approx(report.bytes_expected, rel=0.05)


def test_the_node_for_a_prompt_to_keep_away_from() -> None:
    """PerpNeg as a patch calls the model from the function that guides."""
    _, empty = tiny_models.conditionings(FLUX, seed=5)
    plain = run_node(perpneg.PerpNeg, model=model_of(FLUX), empty_conditioning=empty, neg_scale=1.0)
    assert share_held(plain, FLUX, TARGET) == pytest.approx(1, abs=0.05)


@BOTH
@pytest.mark.parametrize("area", ["default", "mask bounds"])
def test_a_prompt_for_each_half(area: str, config: CorrectionConfig) -> None:
    """With bounds each half is a call of half the size, and uncond has the same."""
    left, right = prompts()
    positive = combined(in_mask(left, left_half(), area), in_mask(right, 1 - left_half(), area))
    assert share_held(model_of(FLUX), FLUX, config, positive=positive) == pytest.approx(1, abs=0.05)


def test_an_area_in_percent() -> None:
    whole, corner = prompts()
    share = {"width": 0.5, "height": 0.5, "x": 0.25, "y": 0.25, "strength": 1.0}
    corner = run_node(comfy_nodes.ConditioningSetAreaPercentage, conditioning=corner, **share)
    positive = combined(whole, corner)
    assert share_held(model_of(FLUX), FLUX, TARGET, positive=positive) == pytest.approx(1, abs=0.05)


def test_an_area_is_cut_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not for each evaluation: the host's function for it is slow beside all else before the run."""
    cut_out, areas = comfy.samplers.get_area_and_mult, []

    def note(cond: dict[str, Any], x: Tensor, timestep: Tensor) -> Any:
        if x.is_meta:
            areas.append(cond["area"])
        return cut_out(cond, x, timestep)

    monkeypatch.setattr(comfy.samplers, "get_area_and_mult", note)
    share = {"width": 0.5, "height": 0.75, "x": 0.25, "y": 0.25, "strength": 1.0}
    whole, corner = prompts()
    corner = run_node(comfy_nodes.ConditioningSetAreaPercentage, conditioning=corner, **share)
    reported(model_of(FLUX), FLUX, TARGET, positive=combined(whole, corner))
    assert len(areas) <= 1


def test_prompts_that_take_turns() -> None:
    """No more are held at a time than those of the last few steps."""
    parts = [in_range(prompts()[i % 2], i / 4, (i + 1) / 4) for i in range(4)]
    share = share_held(model_of(FLUX), FLUX, ALWAYS_COMPUTED, positive=combined(*parts))
    assert 0.85 < share < 1.01


def test_a_controlnet_that_ends() -> None:
    """Beside it a branch begins, and for a few steps there are both."""
    positive, negative = controlled(FLUX)
    positive[0][1]["control"].timestep_percent_range = (0.0, 0.5)
    share = share_held(model_of(FLUX), FLUX, TOLERANT, positive=positive, negative=negative)
    assert 0.9 < share < 1.01


def test_a_controlnet_that_ends_before_another() -> None:
    """Of two on one prompt: it stays a controlled branch."""
    net, conds = control_net(), tiny_models.conditionings(FLUX)
    node, picture = comfy_nodes.ControlNetApplyAdvanced(), torch.zeros(1, 128, 128, 3)
    for end in (1.0, 0.5):
        conds = node.apply_controlnet(*conds, net, picture, 0.5, 0.0, end)
    share = share_held(model_of(FLUX), FLUX, TARGET, positive=conds[0], negative=conds[1])
    assert share == pytest.approx(1, abs=0.05)


def test_a_lora_whose_strength_changes() -> None:
    """Each strength is a branch of its own."""
    positive = scheduled(FLUX, {0.0: 0.0, 0.3: 0.5, 0.6: 1.0})
    share = share_held(model_of(FLUX), FLUX, TOLERANT, cfg=1.0, positive=positive)
    assert 0.85 < share < 1.01
