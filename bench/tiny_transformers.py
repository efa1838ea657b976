"""Tiny random transformers of diffusers' real classes, and how to call them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

TEXT_TOKENS = 5


@dataclass(frozen=True)
class Tiny:
    """A transformer class, made tiny.

    Attributes:
        config: its arguments.
        latent: (1, ...) shape of what it denoises.
        extra: further arguments of a call, for a batch size.
        timestep_unit: what it calls pure noise.
        num_blocks: blocks in all.
    """

    config: dict[str, Any]
    latent: tuple[int, ...]
    extra: Callable[[int], dict[str, Any]]
    timestep_unit: float
    num_blocks: int


def text(batch: int, width: int) -> Tensor:
    """(batch, tokens, width) the same words in each row but for their size."""
    words = torch.randn(1, TEXT_TOKENS, width, generator=torch.Generator().manual_seed(1))
    return torch.cat([words * (1 + 0.3 * i) for i in range(batch)])


def pooled(batch: int, width: int = 8) -> Tensor:
    """(batch, width)."""
    return text(batch, width)[:, 0]


TINY = {
    "FluxTransformer2DModel": Tiny(
        {
            "patch_size": 1,
            "in_channels": 16,
            "num_layers": 2,
            "num_single_layers": 4,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 24,
            "pooled_projection_dim": 8,
            "axes_dims_rope": (4, 6, 6),
        },
        (1, 16, 16),
        lambda batch: {
            "encoder_hidden_states": text(batch, 24),
            "pooled_projections": pooled(batch),
            "img_ids": torch.zeros(16, 3),
            "txt_ids": torch.zeros(TEXT_TOKENS, 3),
        },
        1.0,
        6,
    ),
    "SD3Transformer2DModel": Tiny(
        {
            "sample_size": 8,
            "patch_size": 2,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 5,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 24,
            "caption_projection_dim": 32,
            "pooled_projection_dim": 8,
            "pos_embed_max_size": 8,
            "dual_attention_layers": (0, 1),
            "qk_norm": "rms_norm",
        },
        (1, 4, 8, 8),
        lambda batch: {"encoder_hidden_states": text(batch, 24), "pooled_projections": pooled(batch)},
        1000.0,
        5,
    ),
    "HunyuanVideoTransformer3DModel": Tiny(
        {
            "in_channels": 4,
            "out_channels": 4,
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "num_layers": 2,
            "num_single_layers": 3,
            "num_refiner_layers": 1,
            "patch_size": 2,
            "patch_size_t": 1,
            "guidance_embeds": False,
            "text_embed_dim": 24,
            "pooled_projection_dim": 8,
            "rope_axes_dim": (4, 6, 6),
        },
        (1, 4, 2, 4, 4),
        lambda batch: {
            "encoder_hidden_states": text(batch, 24),
            "encoder_attention_mask": torch.ones(batch, TEXT_TOKENS),
            "pooled_projections": pooled(batch),
        },
        1000.0,
        5,
    ),
    "WanTransformer3DModel": Tiny(
        {
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "in_channels": 4,
            "out_channels": 4,
            "text_dim": 24,
            "freq_dim": 16,
            "ffn_dim": 32,
            "num_layers": 5,
            "rope_max_seq_len": 32,
        },
        (1, 4, 2, 4, 4),
        lambda batch: {"encoder_hidden_states": text(batch, 24)},
        1000.0,
        5,
    ),
    "QwenImageTransformer2DModel": Tiny(
        {
            "patch_size": 2,
            "in_channels": 16,
            "out_channels": 4,
            "num_layers": 5,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 24,
            "axes_dims_rope": (4, 6, 6),
        },
        (1, 16, 16),
        lambda batch: {"encoder_hidden_states": text(batch, 24), "img_shapes": [[(1, 4, 4)]] * batch},
        1.0,
        5,
    ),
    "LTXVideoTransformer3DModel": Tiny(
        {
            "in_channels": 8,
            "out_channels": 8,
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "cross_attention_dim": 32,
            "num_layers": 5,
            "caption_channels": 24,
        },
        (1, 32, 8),
        lambda batch: {
            "encoder_hidden_states": text(batch, 24),
            "encoder_attention_mask": torch.ones(batch, TEXT_TOKENS),
            "num_frames": 2,
            "height": 4,
            "width": 4,
        },
        1000.0,
        5,
    ),
}


def make(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The tiny transformer of a class, always with the same random weights."""
    torch.manual_seed(0)
    transformer = getattr(diffusers, name)(**TINY[name].config).eval()
    return transformer if dtype == torch.float32 else transformer.to(dtype)


def start_latent(name: str) -> Tensor:
    """(1, ...) noise."""
    return torch.randn(TINY[name].latent, generator=torch.Generator().manual_seed(2))


def velocity(transformer: nn.Module, latent: Tensor, sigma: float) -> Tensor:
    """What the transformer gives for a latent (B, ...) at a noise level; the rows differ in their words."""
    tiny, batch = TINY[type(transformer).__name__], len(latent)
    dtype = transformer.dtype
    inputs = {"hidden_states": latent, "timestep": torch.full((batch,), sigma * tiny.timestep_unit)}
    tensors = {
        key: value.to(dtype) if isinstance(value, Tensor) else value
        for key, value in {**inputs, **tiny.extra(batch)}.items()
    }
    return transformer(return_dict=False, **tensors)[0].float()


@torch.inference_mode()
def sample(transformer: nn.Module, sigmas: list[float], batch: int = 1) -> Tensor:
    """Euler on the start latent, along the mean velocity of a batch."""
    latent = start_latent(type(transformer).__name__)
    for sigma, sigma_next in zip(sigmas[:-1], sigmas[1:], strict=True):
        rows = latent.expand(batch, *latent.shape[1:])
        latent = latent + (sigma_next - sigma) * velocity(transformer, rows, sigma).mean(0, keepdim=True)
    return latent
