"""Tensors that outlive their call, in the precision that their model computes in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

HALVES = (torch.float16, torch.bfloat16)
# Values are kept below it in float16, which ends at 65504.
ROOM = 2.0**15
# Apple's GPUs have no memory of their own that pinned RAM would be faster for.
SHARING_RAM = ("mps",)


@dataclass(frozen=True)
class Kept:
    """A tensor that is kept between calls; nobody else's, and no view.

    Attributes:
        tensor: (...) as it is stored.
        scale: (), what it was divided by, a power of two; None for 1.
    """

    tensor: Tensor
    scale: Tensor | None = None

    def near(self, like: Tensor) -> Tensor:
        """The tensor to compute with: (...) in float32 or wider, on the device of another one."""
        tensor = self.tensor.to(like.device, non_blocking=True)
        tensor = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
        return tensor if self.scale is None else tensor.mul_(self.scale.to(like.device, non_blocking=True))

    def in_ram(self) -> Kept:
        """Copy in RAM: pinned and without waiting where the tensor's device can."""
        return Kept(to_ram(self.tensor), self.scale)


def keep(tensor: Tensor, dtype: torch.dtype | None = None) -> Kept:
    """A tensor to keep.

    Args:
        tensor: (...), the caller's own.
        dtype: precision that the model computes in. Only float16 and bfloat16 take fewer bytes than float32;
            with any other, and with None, the tensor stays as it is.
    """
    if dtype not in HALVES or tensor.element_size() <= 2:
        return Kept(tensor)
    if dtype != torch.float16:
        return Kept(tensor.to(dtype))
    # Latents and residuals may be larger than what a model in float16 can return. No wait for the device.
    largest = torch.linalg.vector_norm(tensor, torch.inf)
    scale = (largest / ROOM).log2().ceil().exp2().clamp_min(1.0)
    return Kept((tensor / scale).to(dtype), scale)


def to_ram(tensor: Tensor) -> Tensor:
    """Copy to RAM: pinned and without waiting where the tensor's device can, else an ordinary one."""
    if tensor.device.type == "cpu":
        return tensor
    ram = _ram_for(tensor)
    # Without pinned memory some devices return before the copy has arrived, and nothing tells when it has.
    return ram.copy_(tensor, non_blocking=ram.is_pinned())


def _ram_for(tensor: Tensor) -> Tensor:
    if tensor.device.type not in SHARING_RAM:
        try:
            return torch.empty_like(tensor, device="cpu", pin_memory=True)
        except RuntimeError:  # the device cannot, or all the memory that may be pinned is taken
            pass
    return torch.empty_like(tensor, device="cpu")
