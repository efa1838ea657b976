"""Which family a model belongs to."""

from __future__ import annotations

from torch import nn

from ...adacorrection_core.config import ConfigError
from .families import FAMILIES
from .family import Family

UNETS = {"UNetModel", "StageB", "StageC"}


def unwrapped(diffusion_model: nn.Module) -> nn.Module:
    """The model itself where torch.compile has wrapped it."""
    return getattr(diffusion_model, "_orig_mod", diffusion_model)


def find_family(diffusion_model: nn.Module) -> Family | None:
    """The family of a model; a transformer of none is a family of its own, looked after as a whole.

    Returns:
        None for what is no transformer.
    """
    cls = type(diffusion_model)
    name = f"{cls.__module__}.{cls.__qualname__}".removeprefix("comfy.ldm.")
    known = next((family for family in FAMILIES if name in family.classes), None)
    if known is None and is_transformer(diffusion_model):
        return Family(cls.__name__, (name,), ())
    return known


def is_unet(diffusion_model: nn.Module) -> bool:
    """Whether a model is a U-Net, whose levels a cache would have to know."""
    return any(cls.__name__ in UNETS for cls in type(diffusion_model).__mro__)


def is_transformer(diffusion_model: nn.Module) -> bool:
    """Whether a model is a row of like blocks with attention in them."""
    lists = [part for part in diffusion_model.modules() if isinstance(part, (nn.ModuleList, nn.ModuleDict))]
    return not is_unet(diffusion_model) and any(map(is_row_of_blocks, lists))


def is_row_of_blocks(part: nn.ModuleList | nn.ModuleDict) -> bool:
    """Whether a list holds two or more blocks of one class with attention in them."""
    blocks = list(part.children())
    if len(blocks) < 2 or len({type(block) for block in blocks}) > 1:
        return False
    return any(is_attention(name, inner) for name, inner in blocks[0].named_modules())


def is_attention(name: str, part: nn.Module) -> bool:
    """Whether a part of a block attends, or belongs to what does, by its class or by its name.

    A block that attends itself (CogVideoX) has parts for it: q, k and v, and what comes behind.
    """
    return "attention" in type(part).__name__.lower() or "attn" in name.lower()


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
    if is_unet(diffusion_model):
        raise ConfigError(
            f"This model is a U-Net ({name}, as in Stable Diffusion 1.5 or SDXL). AdaCorrection works on "
            f"diffusion transformers: {supported}. "
            "Connect such a model, or bypass the AdaCorrection node (Ctrl+B)."
        )
    raise ConfigError(
        f"AdaCorrection does not know the architecture {name!r}, and it is no transformer. "
        f"Supported: {supported}, and other diffusion transformers as a whole. "
        "Bypass the AdaCorrection node (Ctrl+B) to sample without it."
    )
