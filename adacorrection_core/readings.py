"""How a model's output is read as a velocity, and what of it is forecast.

The velocity (x - denoised) / sigma is the direction in which a sampler moves. It changes slowly, and it is
the same whether a model predicts noise, velocity or the clean latent. Where a sampler adds noise of its own
at each step, that noise is in the velocity too, and the clean latent is what changes slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .anchors import Anchor, AnchorHistory


class Reading(Protocol):
    """What a seam's model is given and returns."""

    @property
    def like(self) -> Tensor:
        """(B, ...) a tensor whose rows tell branches apart by shape, dtype and device."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Precision that the model computes in."""
        ...

    def velocity(self, output: Tensor) -> Tensor:
        """(B, ...) velocity of a model output; the same tensor where it is one."""
        ...

    def output(self, velocity: Tensor) -> Tensor:
        """The model output of a velocity."""
        ...

    def denoised(self, output: Tensor) -> Tensor | None:
        """(B, ...) clean latent of a model output; None where the latent is not known."""
        ...

    def hold(self, anchor: Anchor, rows: slice, is_stochastic: bool) -> Tensor:
        """(b, ...) velocity of a branch if nothing had changed since an anchor."""
        ...

    def movement(self, history: AnchorHistory, rows: slice, is_stochastic: bool) -> Tensor:
        """(b, ...) last movement of what is forecast, as a velocity."""
        ...


@dataclass(frozen=True)
class VelocityReading:
    """A model that returns its velocity, as diffusers' flow transformers do.

    Attributes:
        like: (B, ...) the model's input.
    """

    like: Tensor

    @property
    def dtype(self) -> torch.dtype:
        """That of the input."""
        return self.like.dtype

    def velocity(self, output: Tensor) -> Tensor:
        """The output itself."""
        return output

    def output(self, velocity: Tensor) -> Tensor:
        """The velocity, in the model's precision."""
        return velocity.to(self.dtype)

    def denoised(self, output: Tensor) -> None:
        """Not known: the input may hold more than the latent."""

    def hold(self, anchor: Anchor, rows: slice, is_stochastic: bool) -> Tensor:
        """The anchor's velocity."""
        return anchor.velocity.near(self.like)

    def movement(self, history: AnchorHistory, rows: slice, is_stochastic: bool) -> Tensor:
        """Last movement of the velocity."""
        newest, older = history.anchors
        return newest.velocity.near(self.like) - older.velocity.near(self.like)


@dataclass(frozen=True)
class DenoisedReading:
    """A model that returns the clean latent, as ComfyUI's do.

    Attributes:
        like: (B, ...) latent x.
        sigma: noise level of each row, broadcast against the latent.
        dtype: precision that the model computes in; the latent's is the sampler's.
    """

    like: Tensor
    sigma: Tensor
    dtype: torch.dtype = torch.float32

    def velocity(self, output: Tensor) -> Tensor:
        """(x - denoised) / sigma."""
        return (self.like - output) / self.sigma

    def output(self, velocity: Tensor) -> Tensor:
        """x - sigma * velocity."""
        return self.like - self.sigma * velocity

    def denoised(self, output: Tensor) -> Tensor:
        """The output itself."""
        return output

    def hold(self, anchor: Anchor, rows: slice, is_stochastic: bool) -> Tensor:
        """The anchor's velocity, or that towards its clean latent."""
        if not is_stochastic or anchor.denoised is None:
            return anchor.velocity.near(self.like)
        return (self.like[rows] - anchor.denoised.near(self.like)) / self.sigma[rows]

    def movement(self, history: AnchorHistory, rows: slice, is_stochastic: bool) -> Tensor:
        """Last movement of the velocity, or of the clean latent."""
        newest, older = history.anchors
        if not is_stochastic or newest.denoised is None or older.denoised is None:
            return newest.velocity.near(self.like) - older.velocity.near(self.like)
        return (older.denoised.near(self.like) - newest.denoised.near(self.like)) / self.sigma[rows]
