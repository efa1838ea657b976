"""What the cache will take is known before the run in every workflow: windows, guidance, regions, ranges."""

from collections.abc import Callable
from functools import partial
from typing import Any

import comfy.context_windows as context_windows
import comfy.samplers
import comfy_extras.nodes_context_windows as windows
import comfy_extras.nodes_custom_sampler as custom
import comfy_extras.nodes_lt as lightricks
import comfy_extras.nodes_perpneg as perpneg
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy.nested_tensor import NestedTensor
from runs import ALWAYS_COMPUTED, TOLERANT, model_of, report_of, run_node, sampled
from test_control import controlled
from test_guidance import PATCHES, guided
from test_memory import asked_for
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
FRAMES = 13
WINDOWS = {
    "context_length": 5,
    "context_overlap": 2,
    "context_stride": 1,
    "closed_loop": False,
    "fuse_method": "pyramid",
    "dim": 2,
    "freenoise": False,
}
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


def in_windows(model: ModelPatcher, schedule: str, **settings: Any) -> ModelPatcher:
    node = windows.ContextWindowsManualNode
    return run_node(node, model=model, context_schedule=schedule, **WINDOWS | settings)


def long_latent() -> Tensor:
    return tiny_models.empty_latent(WAN).new_zeros(1, 16, FRAMES, 8, 8)


@BOTH
@pytest.mark.parametrize("schedule", ["standard_static", "batched"])
def test_windows_that_stay(schedule: str, config: CorrectionConfig) -> None:
    plain = in_windows(model_of(WAN), schedule)
    assert share_held(plain, WAN, config, latent=long_latent()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("schedule", ["standard_uniform", "looped_uniform"])
def test_windows_that_move(schedule: str, stride: int) -> None:
    """How many anchors a window comes to before it is let go hangs on the decisions: at most what is said."""
    plain = in_windows(model_of(WAN), schedule, context_stride=stride)
    run = {"latent": long_latent()}
    assert share_held(plain, WAN, ALWAYS_COMPUTED, **run) == pytest.approx(1, abs=0.05)
    for config in (TOLERANT, TARGET):
        assert 0.8 < share_held(plain, WAN, config, **run) < 1.01


def test_a_video_that_fits_a_window() -> None:
    plain = in_windows(model_of(WAN), "standard_static", context_length=FRAMES)
    assert share_held(plain, WAN, TARGET, latent=long_latent()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("length", [5, FRAMES], ids=["windows", "a video that fits one"])
def test_a_prompt_for_each_window(length: int) -> None:
    """Of several prompts each window has one; where there are no windows, all of them count."""
    settings = {"context_length": length, "split_conds_to_windows": True}
    try:
        plain = in_windows(model_of(WAN), "standard_static", **settings)
    except TypeError:
        pytest.skip("this ComfyUI does not split prompts")
    first, second = (tiny_models.conditionings(WAN, seed=seed)[0] for seed in (1, 5))
    run = {"latent": long_latent(), "positive": combined(first, second)}
    assert share_held(plain, WAN, TARGET, **run) == pytest.approx(1, abs=0.05)


def test_windows_of_video_and_sound() -> None:
    """Two latents in one, the second cut as the first is."""
    model = model_of("ltxav")
    if not hasattr(model.model, "map_context_window_to_modalities"):
        pytest.skip("this ComfyUI has no windows for it")
    plain = in_windows(model, "standard_static", context_length=2, context_overlap=1)
    latent = NestedTensor([torch.zeros(1, 128, 5, 4, 4), torch.zeros(1, 8, 9, 16)])
    report = reported(plain, "ltxav", TARGET, latent=latent)
    assert len(report.records) == 2 * 4 * STEPS  # cond and uncond of four windows
    assert report.bytes_held == pytest.approx(report.bytes_expected, rel=0.05)


@pytest.mark.parametrize("is_cut_first", [False, True])
@pytest.mark.parametrize("along", ["frames", "batch"])
def test_the_host_is_asked_for_as_much_in_windows(along: str, is_cut_first: bool) -> None:
    """It asks for what one window takes; what is said of the cache must not shrink with that."""
    family, dim = (WAN, 2) if along == "frames" else (FLUX, 0)
    latent = long_latent() if along == "frames" else tiny_models.empty_latent(FLUX, FRAMES)
    plain, run = model_of(family), {"steps": 2, "cfg": 2.0, "latent": latent}
    if is_cut_first:
        model = apply_correction(in_windows(plain, "standard_static", dim=dim), TOLERANT)
    else:
        model = in_windows(apply_correction(plain, TOLERANT), "standard_static", dim=dim)
    with asked_for() as asked:
        tiny_models.sample(in_windows(plain, "standard_static", dim=dim), family, **run)
        tiny_models.sample(model, family, **run)

    (_, without), (_, minimum) = asked
    assert minimum - without == pytest.approx(report_of(model).bytes_expected, rel=0.4)
    assert minimum - without > 0.99 * report_of(model).bytes_expected


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

    def guidance(args: dict[str, Any]) -> Tensor:
        def again() -> Tensor:
            where = args["model"], [args["cond"]], args["input"], args["timestep"]
            return comfy.samplers.calc_cond_batch(*where, args["model_options"])[0]

        return again()

    return guidance


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        ({}, 0),
        ({"sampler_post_cfg_function": [lambda args: args["denoised"], len]}, 0),
        ({"sampler_post_cfg_function": [Guidance(), Guidance().__call__]}, 2),
        ({"sampler_cfg_function": partial(Guidance.__call__, Guidance())}, 1),
        ({"sampler_pre_cfg_function": [made_inside()]}, 1),
        ({"sampler_calc_cond_batch_function": None}, 0),
    ],
)
def test_a_guidance_function_that_calls_the_model_is_known_by_its_code(
    options: dict[str, Any], passes: int
) -> None:
    assert num_passes(options) == passes


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


def test_a_lora_whose_strength_changes() -> None:
    """Each strength is a branch of its own."""
    positive = scheduled(FLUX, {0.0: 0.0, 0.3: 0.5, 0.6: 1.0})
    share = share_held(model_of(FLUX), FLUX, TOLERANT, cfg=1.0, positive=positive)
    assert 0.85 < share < 1.01


class OwnWindows(context_windows.ContextHandlerABC):
    """Another pack's, which has no more than the host's abstract class asks for."""

    def should_use_context(self, *_: Any) -> bool:
        return True

    def get_resized_cond(self, cond_in: list[dict[str, Any]], *_: Any) -> list[dict[str, Any]]:
        return cond_in

    def execute(
        self, calc_cond_batch: Callable[..., Any], model: Any, conds: Any, x_in: Tensor, *args: Any
    ) -> list[Tensor]:
        halves = [calc_cond_batch(model, conds, half, *args) for half in x_in.split(7, dim=2)]
        return [torch.cat(parts, dim=2) for parts in zip(*halves, strict=True)]


def test_windows_that_keep_their_length_to_themselves(caplog: pytest.LogCaptureFixture) -> None:
    plain = model_of(WAN).clone()
    plain.model_options["context_handler"] = OwnWindows()
    run = {"steps": 4, "cfg": 2.0, "latent": long_latent()}
    known = tiny_models.sample(plain, WAN, **run)

    latent, report = sampled(apply_correction(plain, ALWAYS_COMPUTED), WAN, **run)

    assert torch.equal(latent, known)
    assert report.bytes_held > report.bytes_expected == 0
    assert "is not known" in caplog.text


def test_windows_of_a_kind_that_is_not_known(caplog: pytest.LogCaptureFixture) -> None:
    """Another pack's: nothing is said of the anchors before the run, and the run goes on."""
    plain = in_windows(model_of(WAN), "batched")
    known = tiny_models.sample(plain, WAN, steps=4, latent=long_latent())
    handler = plain.model_options["context_handler"]
    handler.context_schedule = None
    handler.get_context_windows = lambda *_: [
        context_windows.IndexListContextWindow(list(frames), dim=2, total_frames=FRAMES)
        for frames in (range(5), range(5, 10), range(10, FRAMES))
    ]

    model = apply_correction(plain, ALWAYS_COMPUTED)
    latent = tiny_models.sample(model, WAN, steps=4, latent=long_latent())

    assert torch.equal(latent, known)
    assert report_of(model).bytes_held > report_of(model).bytes_expected == 0
    assert "is not known" in caplog.text
