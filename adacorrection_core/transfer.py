"""The one way from the device to the host: all numbers that wait go in one transfer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Transfer:
    """Numbers of a run on their way to the host.

    Attributes:
        unread: (numbers, callback) that wait, in order; what a callback holds is held until then.
    """

    unread: list[tuple[Tensor, Callable[[list[float]], object]]] = field(default_factory=list)

    def when_read(self, numbers: Tensor | float, callback: Callable[[list[float]], object]) -> None:
        """Hand numbers to a callback when they are next brought to the host; at once where they are there."""
        if isinstance(numbers, Tensor):
            self.unread.append((numbers, callback))
        else:
            callback([numbers])

    def read(self, sigma: Tensor | float, numbers: Tensor | None = None) -> tuple[float, list[float]]:
        """Bring a call's noise level and numbers to the host, with all that waited.

        This is the one place that waits for the device: once a model call, and once more where the decision
        hangs on the probe.

        Args:
            sigma: noise level, any shape with the level first.
            numbers: any shape.

        Returns:
            the noise level, and the values of `numbers`, flat.
        """
        parts: list[list[float]] = []
        self.when_read(sigma, parts.append)
        if numbers is not None:
            self.unread.append((numbers, parts.append))
        self.read_waiting()
        sigmas = parts[0]
        return sigmas[0], parts[1] if len(parts) > 1 else []

    def read_waiting(self) -> None:
        """Transfer everything unread at once and hand it out in order."""
        waiting, self.unread = self.unread, []
        if not waiting:
            return
        device = waiting[-1][0].device
        flat = [tensor.reshape(-1).to(device, torch.float32) for tensor, _ in waiting]
        values: list[float] = torch.cat(flat).tolist()
        start = 0
        for tensor, callback in waiting:
            callback(values[start : start + tensor.nelement()])
            start += tensor.nelement()
