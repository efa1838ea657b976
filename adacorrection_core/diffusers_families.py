"""Where the image tokens are in diffusers' transformers, and the unit of their noise level: data."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from .config import ConfigError
from .diffusers_levels import LOWEST_CERTAIN, TRAINED_TIMESTEPS
from .stages import Stage


@dataclass(frozen=True)
class Family:
    """A transformer class of diffusers.

    Attributes:
        stages: its lists of blocks.
        timestep_unit: what it calls pure noise, 1 or 1000.
        lowest_level: noise level above which its pipelines are sure to begin no last step, where steps are
            short. LTX-Video's schedule is stretched so that the last one begins at 0.1.
    """

    stages: tuple[Stage, ...]
    timestep_unit: float
    lowest_level: float = LOWEST_CERTAIN

    def noise_level(self, timestep: Tensor | float) -> Tensor | float:
        """The noise level, 0 to 1, of a call.

        Args:
            timestep: as the transformer was called with it: a number, (B,), or (B, N) where each token has
                its own (a picture to start from is clean); the noisiest counts.
        """
        if not isinstance(timestep, Tensor):
            return timestep / self.timestep_unit
        level = timestep.amax().reshape(1) if timestep.ndim > 1 else timestep
        return level.float() / self.timestep_unit


_IMAGE, _TEXT = (0, "hidden_states"), (1, "encoder_hidden_states")

# Block signatures and timesteps as in diffusers 0.42
# (https://github.com/huggingface/diffusers/tree/v0.42.1/src/diffusers/models/transformers). Since 0.35 the
# single blocks of Flux take and return image and text apart.
FAMILIES: dict[str, Family] = {
    "FluxTransformer2DModel": Family(
        (
            Stage("transformer_blocks", _IMAGE, _TEXT, ("text", "image")),
            Stage("single_transformer_blocks", _IMAGE, _TEXT, ("text", "image")),
        ),
        1.0,
    ),
    "SD3Transformer2DModel": Family(
        (Stage("transformer_blocks", _IMAGE, _TEXT, ("text", "image")),), TRAINED_TIMESTEPS
    ),
    "HunyuanVideoTransformer3DModel": Family(
        (
            Stage("transformer_blocks", _IMAGE, _TEXT, ("image", "text")),
            Stage("single_transformer_blocks", _IMAGE, _TEXT, ("image", "text")),
        ),
        TRAINED_TIMESTEPS,
    ),
    "WanTransformer3DModel": Family((Stage("blocks", _IMAGE),), TRAINED_TIMESTEPS),
    "QwenImageTransformer2DModel": Family(
        (Stage("transformer_blocks", _IMAGE, _TEXT, ("text", "image")),), 1.0
    ),
    "LTXVideoTransformer3DModel": Family((Stage("transformer_blocks", _IMAGE),), TRAINED_TIMESTEPS, 0.12),
}


def family_of(transformer: nn.Module) -> Family:
    """The entry of a transformer.

    Raises:
        ConfigError: a class that is not known.
    """
    name = type(transformer).__name__
    if name not in FAMILIES:
        raise ConfigError(
            f"AdaCorrection does not know {name!r}. Supported in diffusers: {', '.join(FAMILIES)}. One that "
            "torch.compile has wrapped is not: compile its blocks, transformer.compile_repeated_blocks()."
        )
    return FAMILIES[name]
