"""The caches that Hugging Face diffusers brings (diffusers.hooks), on the demo's transformer."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import (
    FasterCacheConfig,
    FirstBlockCacheConfig,
    FluxTransformer2DModel,
    MagCacheConfig,
    PyramidAttentionBroadcastConfig,
    TaylorSeerCacheConfig,
    hooks,
)
from diffusers.hooks import SeaCacheConfig
from diffusers.utils import logging
from torch import Tensor, nn

from adacorrection_core.diffusers_families import family_of
from bench.peer import Context, Peer, hand_text_on, instance_attributes, one_cache_context, restored
from demo.flux import pack, unpack

TRAINED_TIMESTEPS = 1000
APPLY: dict[type, Callable[[nn.Module, Any], None]] = {
    FasterCacheConfig: hooks.apply_faster_cache,
    FirstBlockCacheConfig: hooks.apply_first_block_cache,
    MagCacheConfig: hooks.apply_mag_cache,
    PyramidAttentionBroadcastConfig: hooks.apply_pyramid_attention_broadcast,
    SeaCacheConfig: hooks.apply_sea_cache,
    TaylorSeerCacheConfig: hooks.apply_taylorseer_cache,
}


@contextmanager
def enabled(transformer: nn.Module, num_steps: int, config: Any) -> Iterator[None]:
    """One of diffusers' caches, in one cache context.

    Applied as `enable_cache` does it, which diffusers' SD3 lacks.
    """
    with restored(transformer):
        hand_text_on(transformer)
        APPLY[type(config)](transformer, config)
        with one_cache_context(transformer, num_steps):
            yield


def first_block_cache(transformer: nn.Module, num_steps: int, threshold: float) -> Any:
    return enabled(transformer, num_steps, FirstBlockCacheConfig(threshold=threshold))


def mag_cache(**settings: Any) -> Callable[[nn.Module, int, Callable[[], object]], Context]:
    """MagCache with the ratios of one run in full: its own calibration, at this number of steps."""

    def calibrate(transformer: nn.Module, num_steps: int, sample: Callable[[], object]) -> Context:
        ratios = magnitude_ratios(transformer, num_steps, sample)

        def context(transformer: nn.Module, num_steps: int, threshold: float) -> Any:
            config = MagCacheConfig(
                threshold=threshold, num_inference_steps=num_steps, mag_ratios=ratios, **settings
            )
            return enabled(transformer, num_steps, config)

        return context

    return calibrate


def magnitude_ratios(transformer: nn.Module, num_steps: int, sample: Callable[[], object]) -> list[float]:
    """The ratios of MagCache's calibration, read off its printout: they are handed over in no other way."""
    printed = io.StringIO()
    calibration = MagCacheConfig(calibrate=True, num_inference_steps=num_steps)
    with contextlib.redirect_stdout(printed), enabled(transformer, num_steps, calibration):
        sample()
    listed = printed.getvalue().split("...):")[1]
    return [float(number) for number in listed.strip(" []\n").split(",")]


def not_calibrated(transformer: nn.Module, num_steps: int, value: float) -> Any:
    raise RuntimeError("MagCache needs a calibration first: use what Peer.prepared returns.")


def taylor_seer(**settings: Any) -> Context:
    """A TaylorSeer whose knob is the interval between full passes."""

    def context(transformer: nn.Module, num_steps: int, interval: float) -> Any:
        config = TaylorSeerCacheConfig(
            cache_interval=int(interval), taylor_factors_dtype=torch.float32, **settings
        )
        return enabled(transformer, num_steps, config)

    return context


def sea_cache(**settings: Any) -> Context:
    """SeaCache on its generic path: it is told the latent pictures as (C, T, H, W) with one frame each."""

    def pictures(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
        return [latent.unsqueeze(1) for latent in as_grid(kwargs["hidden_states"])]

    def context(transformer: nn.Module, num_steps: int, threshold: float) -> Any:
        config = SeaCacheConfig(threshold=threshold, raw_vision_callback=pictures, **settings)
        return enabled(transformer, num_steps, config)

    return context


@contextmanager
def told_timesteps(transformer: nn.Module) -> Iterator[Callable[[], float]]:
    """Yields a function that says the timestep, 1000 to 0, of the transformer's present call."""
    forward, present, noise_level = transformer.forward, [0.0], family_of(transformer).noise_level

    def noting_forward(*args: Any, **kwargs: Any) -> Any:
        present[0] = TRAINED_TIMESTEPS * float(noise_level(kwargs["timestep"])[0])
        return forward(*args, **kwargs)

    with instance_attributes(transformer, forward=noting_forward):
        yield lambda: present[0]


@contextmanager
def pyramid_attention_broadcast(transformer: nn.Module, num_steps: int, skip_range: float) -> Iterator[None]:
    timesteps: list[Callable[[], float]] = []
    config = PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=int(skip_range),
        current_timestep_callback=lambda: timesteps[0](),
    )
    with enabled(transformer, num_steps, config), told_timesteps(transformer) as timestep:
        timesteps.append(timestep)
        yield


class GridDenoiser(nn.Module):
    """The transformer as FasterCache wants it: latents (B, C, h, w) in and out, uncond before cond.

    Args:
        transformer: its lists of blocks keep their names, by which FasterCache finds them.
        forward: its forward.
    """

    def __init__(self, transformer: nn.Module, forward: Callable[..., Any]) -> None:
        super().__init__()
        for stage in family_of(transformer).stages:
            setattr(self, stage.blocks, getattr(transformer, stage.blocks))
        self.inner_forward = forward
        self.is_packed = isinstance(transformer, FluxTransformer2DModel)

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        inputs = pack(hidden_states) if self.is_packed else hidden_states
        return as_grid(self.inner_forward(hidden_states=inputs, **kwargs)[0])


def as_grid(latents: Tensor) -> Tensor:
    """Latents (B, C, h, w), whether given so, as SD3 is, or as Flux's tokens (B, N, 4 * C)."""
    return unpack(latents) if latents.ndim == 3 else latents


IN_BATCH = ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep")


@contextmanager
def faster_cache(transformer: nn.Module, num_steps: int, last_timestep: float) -> Iterator[None]:
    """FasterCache, uncond skipped and attention approximated below `last_timestep`."""
    from diffusers.hooks import apply_faster_cache

    timesteps: list[Callable[[], float]] = []
    config = FasterCacheConfig(
        spatial_attention_timestep_skip_range=(-1, int(last_timestep)),
        unconditional_batch_timestep_skip_range=(-1, int(last_timestep)),
        tensor_format="BCHW",
        current_timestep_callback=lambda: timesteps[0](),
        _unconditional_conditional_input_kwargs_identifiers=list(IN_BATCH),
    )

    with restored(transformer):
        denoiser = GridDenoiser(transformer, transformer.forward)
        apply_faster_cache(denoiser, config)

        def forward(**kwargs: Any) -> tuple[Tensor]:
            if len(kwargs["hidden_states"]) != 2:
                raise ValueError("FasterCache needs a batch of cond and uncond: sample with guidance.")
            swapped = {key: value.flip(0) if key in IN_BATCH else value for key, value in kwargs.items()}
            swapped["hidden_states"] = as_grid(swapped["hidden_states"])
            velocity = denoiser(**swapped).flip(0)
            return (pack(velocity) if denoiser.is_packed else velocity,)

        transformer.forward = forward
        with told_timesteps(transformer) as timestep:
            timesteps.append(timestep)
            yield


ATTENTION_AND_MLP = [
    r"transformer_blocks\.\d+\.(attn|ff|ff_context)",
    r"single_transformer_blocks\.\d+\.(attn|proj_mlp|proj_out)",
]

# FasterCache warns at each use that it is experimental, and calls meshgrid in the old way.
logging.set_verbosity_error()
warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)

OWN_RATIOS = "Ratios from its own calibration, on one run in full at the same number of steps."
ONE_FRAME = "Generic path, the latent as a video of one frame; residual_order 1, retention_steps 1, "

DIFFUSERS_PEERS = [
    Peer(
        "FirstBlockCache (diffusers)",
        "threshold",
        (0.035, 0.065, 0.1, 0.16, 0.28, 0.5),
        first_block_cache,
        "It has no other setting: no warm-up, and the last step may be a cached one.",
    ),
    Peer(
        "MagCache (diffusers)",
        "threshold",
        (0.02, 0.035, 0.06, 0.12, 0.24),
        not_calibrated,
        f"{OWN_RATIOS} retention_ratio 0.2 and max_skip_steps 3 (defaults), which leave 0.4 of the steps.",
        calibrate=mag_cache(),
    ),
    Peer(
        "MagCache, longer skips (diffusers)",
        "threshold",
        (0.03, 0.06, 0.12, 0.24, 0.5),
        not_calibrated,
        f"{OWN_RATIOS} retention_ratio 0.1 and max_skip_steps 5.",
        calibrate=mag_cache(retention_ratio=0.1, max_skip_steps=5),
    ),
    Peer(
        "TaylorSeer (diffusers)",
        "interval",
        (2, 3, 4, 5, 6),
        taylor_seer(cache_identifiers=ATTENTION_AND_MLP),
        "Attention and MLP outputs forecast, as in its paper; first order, first 3 steps in full (defaults); "
        "factors in float32 (default bfloat16), as in diffusers' example.",
    ),
    Peer(
        "TaylorSeer, order 2 (diffusers)",
        "interval",
        (2, 3, 4, 5, 6),
        taylor_seer(cache_identifiers=ATTENTION_AND_MLP, max_order=2),
        "As above, second order.",
    ),
    Peer(
        "TaylorSeer lite (diffusers)",
        "interval",
        (2, 3, 4, 5, 6),
        taylor_seer(use_lite_mode=True),
        "use_lite_mode: blocks skipped, the output projection forecast; otherwise as TaylorSeer.",
    ),
    Peer(
        "TaylorSeer, attention (diffusers)",
        "interval",
        (2, 3, 4, 5, 6),
        taylor_seer(),
        "diffusers' default modules: attention alone. MLPs run at every step, so most of the work is left.",
    ),
    Peer(
        "SeaCache (diffusers)",
        "threshold",
        (0.06, 0.1, 0.16, 0.3, 0.8, 1.5),
        sea_cache(),
        f"{ONE_FRAME}cache_end_steps 1, power_exp 3 and max_consecutive_cached 2 (defaults), which "
        "leave 0.36 of the steps.",
    ),
    Peer(
        "SeaCache, longer skips (diffusers)",
        "threshold",
        (0.1, 0.2, 0.4, 0.8, 1.5),
        sea_cache(max_consecutive_cached=5),
        f"{ONE_FRAME}cache_end_steps 1 and power_exp 3 (defaults), max_consecutive_cached 5.",
    ),
    Peer(
        "FasterCache (diffusers)",
        "last timestep",
        (400, 641, 800, 900, 999),
        faster_cache,
        "The upper end of both timestep ranges is the knob (defaults 681 and 641); the rest at the defaults. "
        "The transformer is given it as a denoiser of latents (B, C, h, w), for it has no form for tokens.",
        needs_guidance=True,
    ),
    Peer(
        "PyramidAttentionBroadcast (diffusers)",
        "skip range",
        (2, 3, 4, 6, 8),
        pyramid_attention_broadcast,
        "Timestep range (100, 800) (default). Attention alone is skipped, so most of the work is left.",
    ),
]
