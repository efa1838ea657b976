"""Settling the debt of corrected steps in diffusers, where the transformer sees latents and no sampler."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .state import RunState

GUIDED = {"cond", "uncond"}
LEAST_WEIGHT = 0.1  # an output that guidance hardly looks at cannot carry what is owed


class GuidedSettlement:
    """The corrector of one run, over calls that hold one conditioning each or both.

    The model is given x + sigma * shift, and the shift is taken off what it returns, so the pipeline's own
    latent stays as it is. What a full pass shows to be owed is known when all its calls are over: it goes
    into the output of the last one, divided by the weight that guidance gives to that output.

    It does nothing where that would not be right: where the guidance is not told (`cfg`), where the latent
    comes twice in the batch and nobody says for which conditionings, and where tokens do not move (a
    reference picture beside the latent) or have noise levels of their own.

    Args:
        run: state of the run.
        cfg: scale of classifier-free guidance; None or 1 where one conditioning is all.
        is_active: False where the pipeline is known to change the latents between steps.
    """

    def __init__(self, run: RunState, cfg: float | None, is_active: bool) -> None:
        self.run = run
        self.cfg = None if cfg == 1.0 else cfg
        self.num_checked = 0
        self.evaluation = -1
        self.parts: dict[str, Tensor] = {}
        config = run.config
        if not is_active or not run.is_correcting or config.is_off or config.mode == "paper":
            run.settlement.stop()

    def call(
        self,
        roles: Sequence[str],
        latent: Tensor,
        level: Tensor | float,
        compute: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """One call of the transformer.

        Args:
            roles: of the conditionings in the batch, in order.
            latent: (B, ...) what the pipeline hands over.
            level: noise level of each row, or one for all.
            compute: the velocity (B, ...) of a latent.

        Returns:
            (B, ...) velocity for the pipeline.
        """
        if not self.run.corrector.is_active:
            self.parts = {}
            return compute(latent)
        count = len(roles)
        self.run.corrector.expect((len(latent) // count, *latent.shape[1:]))
        shift = self.run.corrector.shift
        given = latent
        if shift is not None:
            given = latent + (repeated(shift, count) * flat_level(level, latent)).to(latent.dtype)
        velocity = compute(given)
        if not self.run.corrector.is_active:  # it was seen only now that it must not be
            return velocity if shift is None else velocity - repeated(shift, count).to(velocity.dtype)
        self.check(latent, count)
        moved = self.settle(roles, latent, velocity)
        if moved is not None:
            weight = 1.0 if count == 2 else self.weight(roles[0])
            if abs(weight) >= LEAST_WEIGHT:
                shift = moved / weight if shift is None else shift + moved / weight
        return velocity if shift is None else velocity - repeated(shift, count).to(velocity.dtype)

    @torch.no_grad()
    def settle(self, roles: Sequence[str], latent: Tensor, velocity: Tensor) -> Tensor | None:
        """Settle once all calls of an evaluation are over; how far to move its output, if at all."""
        guided = self.guided(roles, velocity)
        return None if guided is None else self.run.settle(latent[: len(guided)], guided)

    def guided(self, roles: Sequence[str], velocity: Tensor) -> Tensor | None:
        """(b, ...) the guided velocity, a tensor of its own; None as long as a part of it is missing."""
        evaluation = self.run.evaluation
        index = -1 if evaluation is None else evaluation.index
        if index != self.evaluation and self.parts:
            self.without_guidance()
        if not self.can_be_combined(roles):
            self.stop()
            return None
        self.evaluation = index
        if self.cfg is None:
            return velocity.clone()  # what the pipeline is handed it may write into
        parts = self.parts | dict(zip(roles, velocity.chunk(len(roles)), strict=True))
        if parts.keys() != GUIDED:
            self.parts = {role: part.clone() for role, part in parts.items()}
            return None
        self.parts = {}
        return torch.lerp(parts["uncond"], parts["cond"], self.cfg)

    def without_guidance(self) -> None:
        """The other conditioning did not come: from the start there is but one, or the guidance is over."""
        if self.evaluation == 0 and self.parts.keys() == {"cond"}:
            self.cfg, self.parts = None, {}
        else:
            self.stop()

    def can_be_combined(self, roles: Sequence[str]) -> bool:
        """Whether the guided velocity can be made of such parts."""
        return len(roles) == 1 if self.cfg is None else set(roles) <= GUIDED

    def weight(self, role: str) -> float:
        """What guidance multiplies an output with."""
        if self.cfg is None:
            return 1.0
        return self.cfg if role == "cond" else 1.0 - self.cfg

    def check(self, latent: Tensor, count: int) -> None:
        """In the first two evaluations, before anything can be owed: see whether all of it is one latent.

        The answer comes with the next transfer, so that nothing waits for it.
        """
        standing, latent = self.run.settlement.standing, latent[: len(latent) // count]
        if self.num_checked == 0 and count == 1 and len(latent) % 2 == 0:
            first, second = latent.chunk(2)
            self.run.transfer.when_read((first == second).all().float(), self.stop_if)
            self.num_checked = 1
        elif standing is not None and standing.latent.shape == latent.shape and self.num_checked < 2:
            self.run.transfer.when_read((latent == standing.latent).all(dim=-1).any().float(), self.stop_if)
            self.num_checked = 2

    def stop_if(self, values: list[float]) -> None:
        """What was looked for is there."""
        if values[0]:
            self.stop()

    def stop(self) -> None:
        """Settle nothing from now on."""
        self.parts = {}
        self.run.settlement.stop()


def repeated(tensor: Tensor, count: int) -> Tensor:
    """(count * b, ...) the same for each conditioning in the batch."""
    return tensor.repeat(count, *[1] * (tensor.ndim - 1)) if count > 1 else tensor


def flat_level(level: Tensor | float, latent: Tensor) -> Tensor | float:
    """A noise level, to go with a latent (B, ...)."""
    return level.reshape(-1, *[1] * (latent.ndim - 1)) if isinstance(level, Tensor) else level
