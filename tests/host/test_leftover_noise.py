"""A run that ends above noise level 0 hands on what is settled, and the run after it starts from there.

Shown on the demo model, since only a trained one has a picture to come near to.
"""

from collections.abc import Callable
from typing import Any

import comfy.sd
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfyui_version import __version__ as comfyui_version
from runs import relative_error, run_node
from safetensors.torch import load_file
from test_server import MODEL, host_counts_heads
from torch import Tensor

import nodes as comfy_nodes
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.nodes.demo_nodes import AdaCorrectionDemoPrompt, prompt_names
from adacorrection.nodes.host.session import Session, apply_correction, report_of

STEPS, SPLIT = 20, 10
BALANCED = CorrectionConfig.from_preset("balanced")
Models = tuple[ModelPatcher, ModelPatcher]

pytestmark = pytest.mark.skipif(
    not host_counts_heads(), reason=f"ComfyUI {comfyui_version} cannot load the demo model"
)


@pytest.fixture(scope="module", params=["one model", "two experts"])
def models(request: pytest.FixtureRequest) -> Models:
    """For the first half of the steps and for the second; the second expert draws a little otherwise."""
    weights = load_file(MODEL)
    first = comfy.sd.load_diffusion_model_state_dict(dict(weights))
    if request.param == "one model":
        return first, first
    other = {name: (1.02 * tensor.float()).bfloat16() for name, tensor in weights.items()}
    return first, comfy.sd.load_diffusion_model_state_dict(other)


def in_a_row(first: ModelPatcher, second: ModelPatcher) -> Tensor:
    """KSampler (Advanced) twice, as the workflows of Wan 2.2 are wired."""
    positive, negative = AdaCorrectionDemoPrompt.execute(prompt_names()[0]).args
    shared = {"noise_seed": 3, "steps": STEPS, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple"}
    conds = {"positive": positive, "negative": negative}
    latent: dict[str, Any] = {"samples": torch.zeros(1, 16, 16, 16)}
    halves = ((first, 0, SPLIT, "enable", "enable"), (second, SPLIT, 1000, "disable", "disable"))
    with torch.inference_mode():
        for model, start, end, noise, leftover in halves:
            place = {"start_at_step": start, "end_at_step": end}
            ends = {"add_noise": noise, "return_with_leftover_noise": leftover}
            latent = run_node(
                comfy_nodes.KSamplerAdvanced,
                model=model,
                latent_image=latent,
                **shared,
                **conds,
                **place,
                **ends,
            )
    return latent["samples"]


def keep_it(self: Session, executor: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """The wrapper as if nothing were handed on."""
    return executor(*args, **kwargs)


def test_what_is_settled_is_handed_on(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    full = in_a_row(*models)

    def error() -> float:
        patched = [apply_correction(model, BALANCED) for model in models]
        off = relative_error(in_a_row(*patched), full)
        assert all(report_of(model).hit_rate > 0.3 for model in patched)
        return off

    handed_on = error()
    monkeypatch.setattr(Session, "sampler_sample", keep_it)
    kept = error()

    assert 0 < handed_on < 0.9 * kept
