"""Draws a picture with the demo model by any of the methods, and times it.

Euler's method on the levels of ComfyUI's `simple` scheduler. ComfyUI reads a Flux without guidance
embedding as schnell (supported_models.FluxSchnell: ModelType.FLOW, shift 1), so the levels fall in
a line from 1 to 0, on its grid of 1000: sigma_i = 1 - floor(1000 i / num_steps) / 1000.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from adacorrection_core.diffusers import adacorrection
from adacorrection_core.stats import RunReport
from demo.flux import new_noise, simple_sigmas
from demo.methods import Method
from demo.networks import NETWORKS, Network, stored_network
from demo.picture_code import PictureCode
from demo.words import Conditioning, load_conditioning

MODEL_FOLDER = Path(__file__).parent / "model"
PROMPTS, CODE = "conds.safetensors", "picture_code.safetensors"
REMEDY = (
    "A full clone of the repository has it (git checkout -- demo/model brings it back); "
    "python -m demo.train makes one."
)


class DemoError(Exception):
    """Something that the person who runs the demo can put right. The message says how."""


@dataclass(frozen=True)
class DemoModel:
    """What is needed to draw: the network, the prompts as it reads them, the code of its pictures."""

    network: Network
    transformer: nn.Module
    conditioning: Conditioning
    code: PictureCode

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return next(self.transformer.parameters()).device

    @property
    def prompts(self) -> list[str]:
        """Short names of the prompts, in order: "04_noto_green_cat" is "cat"."""
        return [name.split("_", 3)[-1] for name in self.conditioning.names]


@dataclass(frozen=True)
class Setting:
    """The sampling that is to be made faster.

    Attributes:
        num_steps: steps of the full run.
        cfg: scale of classifier-free guidance; 1 runs the prompt alone.
    """

    num_steps: int = 28
    cfg: float = 3.0


@dataclass(frozen=True)
class Result:
    """One picture drawn.

    Attributes:
        latent: (1, C, h, w) in model space.
        block_fraction: block executions over those of the full run.
        seconds: measured time of the sampling loop.
        report: the cache's record; None where there was no cache.
    """

    latent: Tensor
    block_fraction: float
    seconds: float
    report: RunReport | None


def load_model(folder: Path) -> DemoModel:
    """Reads a model folder into float32: whichever network it holds; prompts and code are the demo's without.

    Raises:
        DemoError: a file is missing.
    """
    network = stored_network(folder)
    if network is None:
        names = " nor ".join(known.file for known in NETWORKS.values())
        raise DemoError(f"No weights in {folder}, neither {names}. {REMEDY}")
    prompts, code = _own_or_demo(folder, PROMPTS), _own_or_demo(folder, CODE)
    transformer = network.load(folder / network.file)
    return DemoModel(network, transformer, load_conditioning(prompts), PictureCode.load(code))


def _own_or_demo(folder: Path, name: str) -> Path:
    """A file of a model folder, or else the demo model's."""
    found = next((path for path in (folder / name, MODEL_FOLDER / name) if path.is_file()), None)
    if found is None:
        raise DemoError(f"The demo model is incomplete: {name} not found in {folder}. {REMEDY}")
    return found


@torch.inference_mode()
def sample(
    model: DemoModel, prompt: int, seed: int, method: Method, setting: Setting | None = None
) -> Result:
    """Draws prompt number `prompt` from the noise of `seed`, by `method`, on the transformer's device."""
    setting = setting or Setting()
    num_steps = method.num_steps or setting.num_steps
    sigmas = simple_sigmas(num_steps)
    velocity = guided_velocity(model, prompt, setting.cfg)
    noise = new_noise([seed]).to(model.device)
    started = time.perf_counter()
    if method.config is None:
        latent, report = euler(velocity, noise, sigmas), None
    else:
        with adacorrection(
            model.transformer,
            method.config,
            sigmas,
            branches=("cond", "uncond") if setting.cfg != 1 else ("cond",),
            cfg=setting.cfg,
            make_rule=method.make_rule,
            is_correcting=method.is_correcting,
        ) as run:
            latent = euler(velocity, noise, sigmas)
        report = run.report
    seconds = time.perf_counter() - started
    fraction = num_steps / setting.num_steps * (report.block_fraction if report else 1.0)
    return Result(latent, fraction, seconds, report)


def guided_velocity(model: DemoModel, prompt: int, cfg: float) -> Callable[[Tensor, float], Tensor]:
    """The guided velocity at a latent (1, C, h, w) on the transformer's device and a noise level.

    Cond and uncond are one batch.
    """
    words = model.conditioning
    context, pooled = words.context[prompt : prompt + 1].float(), words.pooled[prompt : prompt + 1].float()
    if cfg != 1:
        context = torch.cat([context, words.neg_context.float()])
        pooled = torch.cat([pooled, words.neg_pooled.float()])
    context, pooled = context.to(model.device), pooled.to(model.device)
    batch, predict = len(context), model.network.predict

    def velocity(latent: Tensor, sigma: float) -> Tensor:
        level = torch.full((batch,), sigma, device=model.device)
        both = predict(model.transformer, latent.expand(batch, -1, -1, -1), level, context, pooled)
        return both if batch == 1 else both[1:] + cfg * (both[:1] - both[1:])

    return velocity


def euler(velocity: Callable[[Tensor, float], Tensor], latent: Tensor, sigmas: list[float]) -> Tensor:
    """Follows the velocity from noise to picture in straight steps."""
    for sigma, sigma_next in zip(sigmas[:-1], sigmas[1:], strict=True):
        latent = latent + (sigma_next - sigma) * velocity(latent, sigma)
    return latent
