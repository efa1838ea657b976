"""The forecast of one model call: what the anchors of its branches say of their velocities now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .evaluation import BranchState, Measurement
from .probe import branch_rows
from .readings import Reading


@dataclass(frozen=True)
class Forecast:
    """The forecast of one model call.

    Attributes:
        reading: how the model's output is read.
        states: of the call's branches, in order.
        time: noise level of the call on the flow's scale.
        is_stochastic: whether the sampler adds noise of its own.
    """

    reading: Reading
    states: Sequence[BranchState]
    time: float
    is_stochastic: bool

    def output(self, weight: float) -> Tensor:
        """(B, ...) cached velocity and its forecast, blended at a correction weight, as the model's output.

        A fresh tensor.
        """
        parts = []
        for index in range(len(self.states)):
            velocity, movement, gain = self.extrapolation(index, weight)
            parts.append(velocity if movement is None else torch.add(velocity, movement, alpha=gain))
        return self.reading.output(torch.cat(parts))

    def extrapolation(self, index: int, weight: float = 1.0) -> tuple[Tensor, Tensor | None, float]:
        """What the anchors of one branch say of its velocity now.

        Returns:
            (b, ...) cached velocity, its last movement, and how many of these to add at this correction
            weight; None and 0 where it is to be held.
        """
        history = self.states[index].history
        rows = branch_rows(self.reading.like, index, len(self.states))
        held = self.reading.hold(history.newest, rows, self.is_stochastic)
        gain = weight * history.gain(self.time)
        return held, self.reading.movement(history, rows, self.is_stochastic) if gain else None, gain

    def measure(self, index: int, role: str, truth: Tensor) -> Measurement:
        """Hold the cached velocity, and how far the forecast would have reached, against the truth.

        Args:
            index: of the branch.
            role: of the branch.
            truth: (b, ...) its velocity.
        """
        held, movement, gain = self.extrapolation(index)
        reach = torch.zeros_like(truth, dtype=torch.float32)
        if movement is not None:
            reach.add_(movement, alpha=gain)
        return Measurement(role, [truth.float(), truth.float() - held.float(), reach])
