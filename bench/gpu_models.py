"""Transformers at their real sizes with random weights, for timing: training does not change the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, HunyuanVideoTransformer3DModel, SD3Transformer2DModel
from torch import Tensor, nn

from bench.tiny_transformers import TINY, Tiny

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Spec:
    """A model to be timed.

    Attributes:
        name, task: what it is, and what it draws.
        transformer: its class.
        config: its arguments at the real size; those that make it tiny are in `tiny_transformers`.
        inputs: shapes of the floating-point arguments of a call: latent, words, and their pooled form.
        branches: conditionings in the batch.
        cfg: guidance that combines them; None where there is one.
        extra: arguments that are no random tensors, for the inputs.
        tiny_changes: arguments in which the tiny one differs from that of the tests.
    """

    name: str
    task: str
    transformer: type[nn.Module]
    config: dict[str, Any]
    inputs: Shapes
    branches: tuple[str, ...] = ("cond",)
    cfg: float | None = None
    extra: Callable[[Shapes], dict[str, Tensor]] = field(default=lambda shapes: {})
    tiny_changes: dict[str, Any] = field(default_factory=dict)

    @property
    def tiny(self) -> Tiny:
        """The same class, made tiny."""
        return TINY[self.transformer.__name__]

    @property
    def timestep_unit(self) -> float:
        """What it calls pure noise."""
        return self.tiny.timestep_unit

    @property
    def tiny_inputs(self) -> Shapes:
        """Shapes of the same arguments at the tiny size."""
        batch = self.inputs["hidden_states"][0]
        arguments = {"hidden_states": torch.empty(batch, *self.tiny.latent[1:]), **self.tiny.extra(batch)}
        return {name: tuple(arguments[name].shape) for name in self.inputs}

    def build(self, device: torch.device, dtype: torch.dtype, is_tiny: bool) -> nn.Module:
        """The transformer with random weights, made where it will run."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with torch.device(device):
                torch.manual_seed(0)
                config = {**self.tiny.config, **self.tiny_changes} if is_tiny else self.config
                return self.transformer(**config).to(device).eval()
        finally:
            torch.set_default_dtype(before)

    def arguments(self, device: torch.device, dtype: torch.dtype, is_tiny: bool) -> dict[str, Tensor]:
        """Everything of a call but the timestep."""
        shapes, generator = self.tiny_inputs if is_tiny else self.inputs, torch.Generator().manual_seed(1)
        drawn = {
            name: torch.randn(shape, generator=generator).to(device, dtype) for name, shape in shapes.items()
        }
        fixed = {name: tensor.to(device) for name, tensor in self.extra(shapes).items()}
        floating = {name: t.to(dtype) if t.is_floating_point() else t for name, t in fixed.items()}
        return {**drawn, **floating}


def flux_positions(shapes: Shapes) -> dict[str, Tensor]:
    """Rotary positions of picture and text."""
    side = round(shapes["hidden_states"][1] ** 0.5)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3).float()
    words = torch.zeros(shapes["encoder_hidden_states"][1], 3)
    return {"img_ids": places, "txt_ids": words}


def hunyuan_extra(shapes: Shapes) -> dict[str, Tensor]:
    """All words count; the distilled guidance."""
    mask = torch.ones(shapes["encoder_hidden_states"][:2], dtype=torch.long)
    return {"encoder_attention_mask": mask, "guidance": torch.tensor([6000.0])}


# Sizes as in the models' own config.json on the Hugging Face hub.
SPECS = [
    Spec(
        "FLUX.1-dev",
        "1024 x 1024",
        FluxTransformer2DModel,
        {"guidance_embeds": True},  # the class's own defaults are this model's sizes
        {
            "hidden_states": (1, 4096, 64),
            "encoder_hidden_states": (1, 512, 4096),
            "pooled_projections": (1, 768),
        },
        extra=lambda shapes: {**flux_positions(shapes), "guidance": torch.tensor([3.5])},
        tiny_changes={"guidance_embeds": True},
    ),
    Spec(
        "SD3.5-large",
        "1024 x 1024, cond and uncond in one batch",
        SD3Transformer2DModel,
        {
            "sample_size": 128,
            "num_layers": 38,
            "num_attention_heads": 38,
            "caption_projection_dim": 2432,
            "pos_embed_max_size": 192,
            "qk_norm": "rms_norm",
        },
        {
            "hidden_states": (2, 16, 128, 128),
            "encoder_hidden_states": (2, 333, 4096),
            "pooled_projections": (2, 2048),
        },
        branches=("uncond", "cond"),
        cfg=3.5,
    ),
    Spec(
        "HunyuanVideo",
        "480 x 848, 61 frames",
        HunyuanVideoTransformer3DModel,
        {},  # the class's own defaults are this model's sizes
        {
            "hidden_states": (1, 16, 16, 60, 106),
            "encoder_hidden_states": (1, 256, 4096),
            "pooled_projections": (1, 768),
        },
        extra=hunyuan_extra,
        tiny_changes={"guidance_embeds": True},
    ),
]
