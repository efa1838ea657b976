"""When a run settles what its corrected steps owe, and when it must not."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from torch import Tensor

from .corrector import FOLLOWS, Corrector
from .evaluation import Evaluation
from .risk import Schedule


@dataclass
class Settlement:
    """The debt of one run and how its sampler moves.

    Attributes:
        schedule: noise levels of the run.
        corrector: the debt.
        is_stochastic: whether the sampler adds noise of its own, as seen from how it moves.
        index: evaluation that was settled last.
        branches: that were called in it.
    """

    schedule: Schedule
    corrector: Corrector = field(default_factory=Corrector)
    is_stochastic: bool = False
    index: int = -1
    branches: set[Hashable] = field(default_factory=set)

    def settle(
        self, evaluation: Evaluation | None, latent: Tensor, velocity: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """After an evaluation: settle the debt of the corrected steps where it was a full pass.

        Args:
            evaluation: the one that is over; None where the model was not called.
            latent: (B, ...) the sampler's own x.
            velocity: (B, ...) guided velocity, at the latent that the model was given.

        Returns:
            (B, ...) by how much the shift has grown, None where nothing was owed; and one number for
            `check_sampler`, None where there was no step.
        """
        corrector = self.corrector
        if evaluation is None or evaluation.index == self.index:
            self.stop()
            return None, None
        sigma, time = evaluation.sigma, self.schedule.time(evaluation.sigma)
        has_not_fallen = corrector.stood is not None and corrector.stood[0] <= sigma
        is_off_grid = not sigma > 0 or not self.schedule.has(sigma)
        if has_not_fallen or is_off_grid or latent.shape != velocity.shape:
            corrector.stop()
        if evaluation.seen != self.branches:
            corrector.begin_anew()
        self.index, self.branches = evaluation.index, evaluation.seen
        owed = None
        if evaluation.is_computed:
            owed = corrector.computed(sigma, time, velocity)
        else:
            corrector.corrected(sigma, time, velocity)
        handed = velocity if corrector.shift is None else velocity - corrector.shift
        return owed, corrector.seen(sigma, latent, handed)

    def check_sampler(self, off: list[float]) -> None:
        """A sampler that does not go straight adds noise of its own: nothing can be settled."""
        if not off[0] <= FOLLOWS**2:
            self.is_stochastic |= off[0] > FOLLOWS**2  # and not NaN
            self.corrector.stop()

    def stop(self) -> None:
        """Settle nothing from now on, and do not look how the sampler moves."""
        self.corrector.stop()
        self.corrector.stood = None

    def release(self) -> None:
        """Drop every tensor."""
        self.corrector = Corrector(is_active=False)
