"""ComfyUI's own guidance nodes: each makes the picture it makes without AdaCorrection, in fewer blocks."""

from collections.abc import Callable
from typing import Any

import comfy_extras.nodes_apg as apg
import comfy_extras.nodes_cfg as cfg
import comfy_extras.nodes_custom_sampler as custom
import comfy_extras.nodes_eps as eps
import comfy_extras.nodes_fresca as fresca
import comfy_extras.nodes_lumina2 as lumina
import comfy_extras.nodes_mahiro as mahiro
import comfy_extras.nodes_model_advanced as advanced
import comfy_extras.nodes_pag as pag
import comfy_extras.nodes_perpneg as perpneg
import comfy_extras.nodes_sd3 as sd3
import comfy_extras.nodes_slg as slg
import comfy_extras.nodes_tcfg as tcfg
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy.samplers import CFGGuider, sampling_function
from runs import CLOSE, SOME_HITS, assert_composes, model_of, only_on_the_cpu, relative_error, run_node
from torch import Tensor

import tiny_models
from adacorrection.nodes.host.session import apply_correction

STEPS = 10
FAMILY = "flux_dev"
MIDDLE = {"start_percent": 0.2, "end_percent": 0.7}

# Patches on the model, as the nodes make them. How many branches a step has at most.
PATCHES: dict[str, tuple[type, dict[str, Any], int]] = {
    "APG": (apg.APG, {"eta": 0.5, "norm_threshold": 5.0, "momentum": -0.5}, 2),
    "CFG-Zero*": (cfg.CFGZeroStar, {}, 2),
    "CFGNorm": (cfg.CFGNorm, {"strength": 1.0}, 2),
    "TCFG": (tcfg.TCFG, {}, 2),
    "Mahiro": (mahiro.Mahiro, {}, 2),
    "FreSca": (fresca.FreSca, {"scale_low": 1.0, "scale_high": 1.25, "freq_cutoff": 4}, 2),
    "EpsilonScaling": (eps.EpsilonScaling, {"scaling_factor": 1.02}, 2),
    "TemporalScoreRescaling": (eps.TemporalScoreRescaling, {"tsr_k": 0.95, "tsr_sigma": 1.0}, 2),
    "RescaleCFG": (advanced.RescaleCFG, {"multiplier": 0.7}, 2),
    "RenormCFG": (lumina.RenormCFG, {"cfg_trunc": 100.0, "renorm_cfg": 1.0}, 2),
    "PAG": (pag.PerturbedAttentionGuidance, {"scale": 1.0}, 3),
    "SLG": (
        slg.SkipLayerGuidanceDiT,
        {"scale": 0.5, "double_layers": "1", "single_layers": "2", **MIDDLE},
        3,
    ),
    "SLG simple": (slg.SkipLayerGuidanceDiTSimple, {"double_layers": "1", "single_layers": "2", **MIDDLE}, 2),
    "SLG of SD3": (sd3.SkipLayerGuidanceSD3, {"layers": "1, 2", "scale": 0.5, **MIDDLE}, 3),
}


def nag(model: ModelPatcher) -> ModelPatcher:
    """Normalized attention guidance; hosts before 0.33 have no such node."""
    module = pytest.importorskip("comfy_extras.nodes_nag")
    return run_node(module.NAGuidance, model=model, nag_scale=2.0, nag_alpha=0.5, nag_tau=1.5)


@pytest.mark.parametrize("name", [*PATCHES, "NAG"])
def test_guidance_patch(name: str) -> None:
    family = "sd3" if name == "SLG of SD3" else FAMILY

    def sample(model: ModelPatcher) -> Tensor:
        return tiny_models.sample(model, family, steps=STEPS, cfg=2.0)

    node, settings, branches = PATCHES.get(name, (None, {}, 2))
    plain = run_node(node, model=model_of(family), **settings) if node else nag(model_of(family))
    without = sample(model_of(family))
    # PAG replaces the attention of a U-Net's middle; a DiT has none, and what it adds there is rounding.
    assert (relative_error(sample(plain), without) > 1e-5) == (name != "PAG")

    report = assert_composes(sample, plain, family, close=2 * CLOSE)

    evaluations = [record.evaluation for record in report.records]
    assert max(evaluations.count(n) for n in evaluations) == branches


def guided(
    make_guider: Callable[[ModelPatcher], object], steps: int = STEPS
) -> Callable[[ModelPatcher], Tensor]:
    """SamplerCustomAdvanced with a guider."""

    def sample(model: ModelPatcher) -> Tensor:
        nodes = {
            "noise": run_node(custom.RandomNoise, noise_seed=3),
            "guider": make_guider(model),
            "sampler": run_node(custom.KSamplerSelect, sampler_name="euler"),
            "sigmas": run_node(
                custom.BasicScheduler, model=model, scheduler="simple", steps=steps, denoise=1.0
            ),
        }
        latent = {"samples": tiny_models.empty_latent(FAMILY)}
        with torch.inference_mode():
            return run_node(custom.SamplerCustomAdvanced, **nodes, latent_image=latent)["samples"]

    return sample


def test_three_prompts() -> None:
    """DualCFGGuider and PerpNegGuider call the model with three conds a step."""
    positive, negative = tiny_models.conditionings(FAMILY)
    third, _ = tiny_models.conditionings(FAMILY, seed=5)

    def dual(model: ModelPatcher) -> object:
        strengths = {"cfg_conds": 2.0, "cfg_cond2_negative": 2.0, "style": "regular"}
        return run_node(
            custom.DualCFGGuider, model=model, cond1=positive, cond2=third, negative=negative, **strengths
        )

    def perp_neg(model: ModelPatcher) -> object:
        conds = {"positive": positive, "negative": negative, "empty_conditioning": third}
        return run_node(perpneg.PerpNegGuider, model=model, **conds, cfg=2.0, neg_scale=1.0)

    for make_guider in (dual, perp_neg):
        report = assert_composes(guided(make_guider), model_of(FAMILY), FAMILY, close=2 * CLOSE)
        assert len(report.records) == 3 * STEPS
        assert len({record.branch for record in report.reused}) == 3
        assert 0 < report.bytes_held <= report.bytes_expected


class OneScaleAStep(CFGGuider):
    """A guider whose scale is a list, as another pack's node takes it."""

    def predict_noise(self, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        conds = [self.conds["negative"], self.conds["positive"]]
        scale = self.cfg[int((1 - float(timestep[0])) * len(self.cfg))]
        return sampling_function(self.inner_model, x, timestep, *conds, scale, *args, **kwargs)


class ScaleOfItsOwn(CFGGuider):
    """A guider that keeps its scale to itself until it is asked."""

    def set_cfg(self, first: float, last: float) -> None:
        self.ends = first, last

    def predict_noise(self, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        first, last = self.ends
        self.cfg = last + (first - last) * float(timestep[0])
        return super().predict_noise(x, timestep, *args, **kwargs)


@pytest.mark.parametrize(
    ("kind", "scales"), [(OneScaleAStep, ([4.0, 3.0, 2.0],)), (ScaleOfItsOwn, (4.0, 1.5))]
)
def test_a_scale_that_the_guider_does_not_say(kind: type[CFGGuider], scales: tuple[Any, ...]) -> None:
    def make_guider(model: ModelPatcher) -> CFGGuider:
        guider = kind(model)
        guider.set_conds(*tiny_models.conditionings(FAMILY))
        guider.set_cfg(*scales)
        return guider

    report = assert_composes(guided(make_guider), model_of(FAMILY), FAMILY, close=2 * CLOSE)

    assert len(report.records) == 2 * STEPS
    assert 0 < report.bytes_held <= report.bytes_expected


@only_on_the_cpu("ComfyUI takes DirectML for 1 GB, and to make room for the first model unloads the second")
def test_prompts_on_models_of_their_own() -> None:
    """DualModelGuider calls a second model in the run of the first: each keeps to its own past."""
    if not hasattr(custom, "DualModelGuider"):
        pytest.skip("this ComfyUI has no DualModelGuider")
    positive, negative = tiny_models.conditionings(FAMILY)
    other = tiny_models.load(FAMILY, seed=1)

    def with_second(second: ModelPatcher) -> Callable[[ModelPatcher], Tensor]:
        def make_guider(model: ModelPatcher) -> object:
            models = {"model": model, "model_negative": second}
            return run_node(custom.DualModelGuider, **models, positive=positive, negative=negative, cfg=2.0)

        return guided(make_guider)

    wrong = with_second(model_of(FAMILY))(model_of(FAMILY))
    report = assert_composes(with_second(other), model_of(FAMILY), FAMILY, close=2 * CLOSE)
    assert len(report.records) == 2 * STEPS

    # A node on the second model as well changes nothing: the run is the first one's.
    both = with_second(apply_correction(other, SOME_HITS))
    once = with_second(other)(apply_correction(model_of(FAMILY), SOME_HITS))
    assert torch.equal(both(apply_correction(model_of(FAMILY), SOME_HITS)), once)
    assert not torch.equal(wrong, once)
