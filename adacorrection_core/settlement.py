"""When a run settles what its corrected steps owe, and when it must not."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .anchors import bytes_of
from .corrector import RESPONSE, Corrector, last_response
from .evaluation import Evaluation
from .risk import Schedule

STRAYS = 0.5  # a step off its straight line by more than this share of its length adds noise of its own
# What rounding takes off numbers, root mean square, in units of eps times the number: 1 / sqrt(12) of the
# distance to the next one, which is eps times the number over its mantissa, 1 to 2.
ROUNDED = 0.21


@dataclass(frozen=True)
class Standing:
    """Where the sampler was at an evaluation. The tensors are the run's own: samplers may work in place.

    Attributes:
        sigma: noise level.
        latent: (B, ...) the sampler's own x.
        velocity: (B, ...) that it was handed, (x - denoised) / sigma.
    """

    sigma: float
    latent: Tensor
    velocity: Tensor

    def departure(self, sigma: float, latent: Tensor) -> Tensor | None:
        """How the sampler has moved since.

        Args:
            sigma, latent: where it is now.

        Returns:
            how far off the straight step it is, as a share of the step's length, squared, one number;
            None where there was no step. A sampler of second order is a little off, one that adds noise far.
        """
        if self.sigma == sigma or self.latent.shape != latent.shape:
            return None
        step = self.velocity * (sigma - self.sigma)
        off = squared(latent - self.latent - step)
        # In half precision both places are rounded, by as much as a short step goes.
        grain = (ROUNDED * torch.finfo(latent.dtype).eps) ** 2 * (squared(latent) + squared(self.latent))
        share: Tensor = (off - grain).clamp_min(0.0) / squared(step)
        return share.reshape(1)


@dataclass
class Settlement:
    """The debt of one run and how its sampler moves.

    Attributes:
        corrector: the debt.
        standing: where the sampler was at the evaluation before; None where it is not looked at.
        is_stochastic: whether the sampler adds noise of its own, as seen from how it moves.
        index: evaluation that was settled last.
        branches: that were called in it.
    """

    corrector: Corrector = field(default_factory=Corrector)
    standing: Standing | None = None
    is_stochastic: bool = False
    index: int = -1
    branches: set[Hashable] = field(default_factory=set)

    def settle(
        self, schedule: Schedule, evaluation: Evaluation | None, latent: Tensor, velocity: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """After an evaluation: settle the debt of the corrected steps where it was a full pass.

        Args:
            schedule: noise levels of the run.
            evaluation: the one that is over; None where the model was not called.
            latent: (B, ...) the sampler's own x; a copy is kept.
            velocity: (B, ...) guided velocity, at the latent that the model was given; it is kept, so it must
                be nobody else's.

        Returns:
            (B, ...) how far the pass's own output is to be moved, as the noise, None where nothing was owed;
            and one number for `check_sampler`, None where there was no step.
        """
        corrector = self.corrector
        if evaluation is None or evaluation.index == self.index:
            self.stop()
            return None, None
        sigma, time = evaluation.sigma, schedule.time(evaluation.sigma)
        has_not_fallen = self.standing is not None and self.standing.sigma <= sigma
        is_off_grid = not sigma > 0 or not schedule.has(sigma)
        if has_not_fallen or is_off_grid or latent.shape != velocity.shape:
            corrector.stop()
        if evaluation.seen != self.branches:
            corrector.begin_anew()
        self.index, self.branches = evaluation.index, evaluation.seen
        moved, handed = None, velocity if corrector.shift is None else velocity - corrector.shift
        if evaluation.is_computed:
            owed = corrector.computed(sigma, time, velocity)
            if owed is not None:
                moved = owed * response(schedule, evaluation)
                handed = handed - moved
        else:
            corrector.corrected(sigma, time, velocity)
        return moved, self.stand(sigma, latent, handed)

    def stand(self, sigma: float, latent: Tensor, handed: Tensor) -> Tensor | None:
        """Take note of where the sampler is, until it is known to add noise.

        Returns:
            see `Standing.departure`.
        """
        before, self.standing = self.standing, None
        if self.is_stochastic:
            return None
        self.standing = Standing(sigma, latent.clone(), handed)
        return None if before is None else before.departure(sigma, latent)

    def check_sampler(self, off: list[float]) -> None:
        """A sampler that does not go straight adds noise of its own: nothing can be settled."""
        if not off[0] <= STRAYS**2:
            self.is_stochastic |= off[0] > STRAYS**2  # and not NaN
            self.stop()

    def stop(self) -> None:
        """Settle nothing from now on, and forget where the sampler was."""
        self.corrector.stop()
        self.standing = None

    def release(self) -> None:
        """Drop every tensor."""
        self.corrector, self.standing = Corrector(is_active=False), None

    @property
    def bytes_held(self) -> int:
        """Bytes of all tensors held."""
        standing = self.standing
        return bytes_of(self.corrector.tensors + ([standing.latent, standing.velocity] if standing else []))


def response(schedule: Schedule, evaluation: Evaluation) -> float:
    """How far the clean latent of a full pass moves with the latent that it was given."""
    if not schedule.is_last(evaluation.step_index) or schedule.sigmas[-1] > 0:
        return RESPONSE
    return last_response(evaluation.sigma, schedule.is_flow)


def squared(tensor: Tensor) -> Tensor:
    """Squared norm of a tensor, one number in float32."""
    norm: Tensor = torch.linalg.vector_norm(tensor, dtype=torch.float32)
    return norm.square()
