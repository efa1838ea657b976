"""Pipelines with two transformers, one for the high noise levels and one for the low: Wan 2.2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass
class Handover:
    """What the first transformer leaves to the second one, which takes its run over.

    Each has its own past, since their velocities differ. What the corrected steps of the first one owe is in
    the latent, and the second one goes on with that.

    Attributes:
        find_boundary: noise level below which the second one is called; None where it never is.
        timesteps: of the scheduler, in the run that has left something.
        shift: (B, ...) as in `Corrector`; None where nothing is left.
    """

    find_boundary: Callable[[], float | None]
    timesteps: Tensor | None = None
    shift: Tensor | None = None

    def leave(self, timesteps: Tensor | None, shift: Tensor | None) -> None:
        """The first transformer has run its last step."""
        self.timesteps, self.shift = timesteps, shift

    def take(self, timesteps: Tensor | None) -> Tensor | None:
        """The second transformer begins: what the first one left in the same run."""
        shift = self.shift if self.timesteps is timesteps else None
        self.leave(None, None)
        return shift
