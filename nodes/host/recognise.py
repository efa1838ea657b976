"""Which family a model belongs to."""

from __future__ import annotations

from torch import nn

from ...adacorrection_core.config import ConfigError
from .families import FAMILIES
from .family import Family

UNETS = ("UNetModel", "StableCascadeB", "StableCascadeC", "StageB", "StageC")


def unwrapped(diffusion_model: nn.Module) -> nn.Module:
    """The model itself where torch.compile has wrapped it."""
    return getattr(diffusion_model, "_orig_mod", diffusion_model)


def find_family(diffusion_model: nn.Module) -> Family | None:
    """The family of a model, None where it is not known."""
    cls = type(diffusion_model)
    name = f"{cls.__module__}.{cls.__qualname__}".removeprefix("comfy.ldm.")
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
