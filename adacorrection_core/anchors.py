"""What is remembered of the last full passes of a branch."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .config import Placement
from .drift import sample_tokens, token_weights

MAX_ANCHORS = 3
SAME_TIME = 1e-6


@dataclass(frozen=True)
class Anchor:
    """One full pass of one branch. All tensors are its own, none is a view.

    Attributes:
        time: noise level on the flow's scale.
        probe: (b, n, D) float32 probe residual p = h_m - h_0 at the sampled tokens.
        residual: (b, N, D) deep residual r = h_L - h_m in the model's dtype, on the device or in RAM.
        residual_sample: (b, n, D) float32 r at the sampled tokens.
        weights: (b, n, 1) weight of each sampled token in the drift, or None.
    """

    time: float
    probe: Tensor
    residual: Tensor
    residual_sample: Tensor
    weights: Tensor | None

    @property
    def bytes_held(self) -> int:
        """Bytes of all tensors of this anchor."""
        tensors = (self.probe, self.residual, self.residual_sample, self.weights)
        return sum(t.element_size() * t.nelement() for t in tensors if t is not None)


def make_anchor(
    time: float, probe: Tensor, residual: Tensor, spatial_weight: float, placement: Placement
) -> Anchor:
    """Anchor of a full pass; `probe` and `residual` must belong to the caller alone."""
    sample = sample_tokens(residual)
    stored = to_ram(residual) if placement == "offload" else residual
    return Anchor(time, probe, stored, sample, token_weights(probe, spatial_weight))


def to_ram(tensor: Tensor) -> Tensor:
    """Copy to RAM: pinned and without waiting where the tensor is on a CUDA device."""
    if tensor.device.type == "cpu":
        return tensor
    pinned = torch.empty(
        tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=tensor.device.type == "cuda"
    )
    return pinned.copy_(tensor, non_blocking=True)


@dataclass
class AnchorHistory:
    """The last anchors of a branch, newest first."""

    anchors: deque[Anchor] = field(default_factory=lambda: deque(maxlen=MAX_ANCHORS))

    def push(self, anchor: Anchor) -> None:
        """Remember an anchor.

        One at the noise level of the newest takes its place: a forecast needs distance.
        """
        if self.anchors and abs(self.anchors[0].time - anchor.time) < SAME_TIME:
            self.anchors[0] = anchor
        else:
            self.anchors.appendleft(anchor)

    def is_below(self, time: float) -> bool:
        """Whether a noise level lies above the newest anchor's: the sampler has gone back up."""
        return bool(self.anchors) and time > self.newest.time + SAME_TIME

    def __len__(self) -> int:
        return len(self.anchors)

    @property
    def newest(self) -> Anchor:
        """The last full pass."""
        return self.anchors[0]

    @property
    def times(self) -> list[float]:
        """Noise levels, newest first."""
        return [anchor.time for anchor in self.anchors]

    @property
    def residuals(self) -> list[Tensor]:
        """(b, N, D) deep residuals, newest first."""
        return [anchor.residual for anchor in self.anchors]

    @property
    def bytes_held(self) -> int:
        """Bytes of all anchors."""
        return sum(anchor.bytes_held for anchor in self.anchors)

    def probe_moves(self, probe: Tensor) -> list[Tensor]:
        """(b, n, D) movements of the probe, present first: [p - p_1, p_1 - p_2, ...]."""
        probes = [probe, *(anchor.probe for anchor in self.anchors)]
        return [now - before for now, before in zip(probes, probes[1:], strict=False)]

    def residual_sample_moves(self) -> list[Tensor]:
        """(b, n, D) past movements of the residual at the sampled tokens: [r_1 - r_2, ...]."""
        samples = [anchor.residual_sample for anchor in self.anchors]
        return [now - before for now, before in zip(samples, samples[1:], strict=False)]
