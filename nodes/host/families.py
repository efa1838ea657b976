"""One entry a model family: where its blocks are and what they take and return. Data, no algorithm.

Facts and their places in ComfyUI 0.33 (https://github.com/yzkee/ComfyUI/tree/783545f):
    Flux          comfy/ldm/flux/model.py 219-256 and 275-303; blocks write into their input
    SD3           comfy/ldm/modules/diffusionmodules/mmdit.py 960-985; the last block returns no text
    HunyuanVideo  comfy/ldm/hunyuan_video/model.py 392-443; joint order is image first up to at least 0.8.0,
                  text first in 0.33, which then says so in transformer_options["img_slice"]
    Wan           comfy/ldm/wan/model.py 603-628, VACE 826-855, Camera 937
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ...adacorrection_core.config import ConfigError
from ...adacorrection_core.stages import Arguments, Layer, Stage, find_layers


def flux_reference_tokens(arguments: Arguments) -> int:
    """Tokens of reference pictures (Kontext), which follow those of the latent; the head cuts them off."""
    options = arguments[1].get("transformer_options") or {}
    return sum(options.get("reference_image_num_tokens", ()))


@dataclass(frozen=True)
class Family:
    """A model family.

    Attributes:
        name: as artists know it.
        classes: qualified names of its diffusion model's classes.
        stages: its lists of blocks, in the order in which they run.
        trailing_tokens: image tokens at the end that the head does not read; None where there are none.
    """

    name: str
    classes: tuple[str, ...]
    stages: tuple[Stage, ...]
    trailing_tokens: Callable[[Arguments], int] | None = None

    def layers(self, diffusion_model: nn.Module) -> list[Layer]:
        """All blocks of a model of this family, in order."""
        return find_layers(diffusion_model, self.stages)

    def describe(self, diffusion_model: nn.Module) -> str:
        """For reports: "Flux: 19 double + 38 single blocks"."""
        counts = [
            f"{len(getattr(diffusion_model, stage.blocks))} {stage.blocks.removesuffix('_blocks')}"
            for stage in self.stages
        ]
        return f"{self.name}: {' + '.join(counts)}".removesuffix(" blocks") + " blocks"


FAMILIES: tuple[Family, ...] = (
    Family(
        "Flux",
        ("comfy.ldm.flux.model.Flux",),
        (
            Stage("double_blocks", (0, "img"), (1, "txt"), ("image", "text")),
            Stage("single_blocks", (0, "x"), order="text_first"),
        ),
        flux_reference_tokens,
    ),
    Family(
        "SD3",
        ("comfy.ldm.modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper",),
        (Stage("joint_blocks", (1, "x"), (0, "context"), ("text", "image")),),
    ),
    Family(
        "HunyuanVideo",
        ("comfy.ldm.hunyuan_video.model.HunyuanVideo",),
        (
            Stage("double_blocks", (0, "img"), (1, "txt"), ("image", "text")),
            Stage("single_blocks", (0, "x"), order="image_first"),
        ),
    ),
    Family(
        "Wan",
        (
            "comfy.ldm.wan.model.WanModel",
            "comfy.ldm.wan.model.VaceWanModel",
            "comfy.ldm.wan.model.CameraWanModel",
        ),
        (Stage("blocks", (0, "x")),),
    ),
)

UNETS = ("UNetModel", "StableCascadeB", "StableCascadeC", "StageB", "StageC")


def unwrapped(diffusion_model: nn.Module) -> nn.Module:
    """The model itself where torch.compile has wrapped it."""
    return getattr(diffusion_model, "_orig_mod", diffusion_model)


def find_family(diffusion_model: nn.Module) -> Family | None:
    """The family of a model, None where it is not known."""
    cls = type(diffusion_model)
    name = f"{cls.__module__}.{cls.__qualname__}"
    return next((family for family in FAMILIES if name in family.classes), None)


def family_of(diffusion_model: nn.Module) -> Family:
    """The family of a model.

    Raises:
        ConfigError: an architecture that is not supported, in words that say what to do.
    """
    family = find_family(diffusion_model)
    if family is not None:
        return family
    supported = ", ".join(known.name for known in FAMILIES)
    name = type(diffusion_model).__name__
    if name in UNETS:
        raise ConfigError(
            f"This model is a U-Net ({name}, as in Stable Diffusion 1.5 or SDXL). AdaCorrection works on "
            f"diffusion transformers: {supported}. "
            "Connect such a model, or bypass the AdaCorrection node (Ctrl+B)."
        )
    raise ConfigError(
        f"AdaCorrection does not know the architecture {name!r}. Supported: {supported}. "
        "Bypass the AdaCorrection node (Ctrl+B) to sample without it."
    )
