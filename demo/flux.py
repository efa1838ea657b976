"""The demo network and how to draw with it, without ComfyUI.

A FLUX.1 of hidden size 256: diffusers' FluxTransformer2DModel with the weights of demo/model.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor

from demo.flux_keys import bfl_to_diffusers
from demo.words import WIDTH, Conditioning

LATENT_CHANNELS = 16
LATENT_SIDE = 16  # 64 px by patches of 4
TRAINED_TIMES = 1000  # ComfyUI's `simple` schedule picks from this many

Predict = Callable[[torch.nn.Module, Tensor, Tensor, Tensor, Tensor], Tensor]


def new_flux() -> FluxTransformer2DModel:
    """The architecture with fresh weights: 18 M parameters, 4 double and 8 single blocks."""
    return FluxTransformer2DModel(
        patch_size=1,  # diffusers packs 2 x 2 latents into a token before the model
        in_channels=4 * LATENT_CHANNELS,
        num_layers=4,
        num_single_layers=8,
        attention_head_dim=128,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(16, 56, 56),
    )


def flux_of(weights: dict[str, Tensor]) -> FluxTransformer2DModel:
    """The network that weights in BFL's names make, of whatever size."""
    model = FluxTransformer2DModel(**flux_config(weights))
    model.load_state_dict(bfl_to_diffusers(weights), assign=True)
    return model


def flux_config(weights: dict[str, Tensor]) -> dict[str, object]:
    """The arguments of FluxTransformer2DModel that fit a state dict in BFL's names."""
    width, in_channels = weights["img_in.weight"].shape
    head_dim = len(weights["single_blocks.0.norm.query_norm.scale"])
    return {
        "patch_size": 1,  # diffusers packs 2 x 2 latents into a token before the model
        "in_channels": in_channels,
        "num_layers": count_blocks(weights, "double_blocks"),
        "num_single_layers": count_blocks(weights, "single_blocks"),
        "attention_head_dim": head_dim,
        "num_attention_heads": width // head_dim,
        "joint_attention_dim": weights["txt_in.weight"].shape[1],
        "pooled_projection_dim": weights["vector_in.in_layer.weight"].shape[1],
        "guidance_embeds": "guidance_in.in_layer.weight" in weights,
        # Flux's shares of the rotary positions: 16, 56 and 56 of 128
        "axes_dims_rope": (head_dim // 8, head_dim * 7 // 16, head_dim * 7 // 16),
    }


def count_blocks(weights: dict[str, Tensor], kind: str) -> int:
    """How many blocks of a kind a state dict has."""
    return len({key.split(".")[1] for key in weights if key.startswith(f"{kind}.")})


def pack(latent: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h / 2 * w / 2, 4 * C) tokens, channel before row before column."""
    batch, channels, height, width = latent.shape
    grid = latent.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, height * width // 4, 4 * channels)


def unpack(tokens: Tensor) -> Tensor:
    """The inverse of `pack` for a square latent."""
    batch, count, features = tokens.shape
    side = round(count**0.5)
    grid = tokens.reshape(batch, side, side, features // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(batch, features // 4, 2 * side, 2 * side)


def picture_ids(side: int) -> Tensor:
    """(side * side, 3) rotary positions (0, row, column) of a picture of side x side tokens."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3).float()


def predict(model: torch.nn.Module, latent: Tensor, sigma: Tensor, context: Tensor, pooled: Tensor) -> Tensor:
    """The velocity noise - picture at noise level `sigma` (B,), for a latent (B, C, h, w) in model space."""
    tokens = model(
        hidden_states=pack(latent),
        encoder_hidden_states=context,
        pooled_projections=pooled,
        timestep=sigma,
        img_ids=picture_ids(latent.shape[-1] // 2).to(latent.device),
        txt_ids=torch.zeros(context.shape[1], 3, device=latent.device),
        return_dict=False,
    )[0]
    return unpack(tokens)


def simple_sigmas(num_steps: int) -> list[float]:
    """ComfyUI's `simple` schedule for an unshifted flow: num_steps + 1 noise levels from 1 to 0."""
    stride = TRAINED_TIMES / num_steps
    return [1 - int(i * stride) / TRAINED_TIMES for i in range(num_steps)] + [0.0]


def new_noise(seeds: list[int], side: int = LATENT_SIDE) -> Tensor:
    """(B, 16, side, side) Gaussian noise, each picture's from its own seed, as ComfyUI draws it."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return torch.stack([torch.randn(LATENT_CHANNELS, side, side, generator=g) for g in generators])


@torch.inference_mode()
def euler_sample(
    model: torch.nn.Module,
    noise: Tensor,
    conditioning: Conditioning,
    num_steps: int = 24,
    cfg: float = 3.0,
    predict: Predict = predict,
) -> Tensor:
    """Draws one picture for each prompt: noise (B, C, h, w) -> latent (B, C, h, w) in model space."""
    count = len(noise)
    context = torch.cat([conditioning.context, conditioning.neg_context.expand(count, -1, -1)]).to(noise)
    pooled = torch.cat([conditioning.pooled, conditioning.neg_pooled.expand(count, -1)]).to(noise)
    sigmas, latent = simple_sigmas(num_steps), noise
    for sigma, sigma_next in zip(sigmas[:-1], sigmas[1:], strict=True):
        level = torch.full((2 * count,), sigma).to(noise)
        cond, uncond = predict(model, latent.repeat(2, 1, 1, 1), level, context, pooled).chunk(2)
        latent = latent + (sigma_next - sigma) * (uncond + cfg * (cond - uncond))
    return latent
