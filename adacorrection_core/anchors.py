"""What is remembered of the last full passes of a branch."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .drift import num_sampled, token_weights

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
    time: float,
    probe: Tensor,
    residual: Tensor,
    residual_sample: Tensor,
    spatial_weight: float,
    is_offloaded: bool,
) -> Anchor:
    """Anchor of a full pass; the tensors must belong to the caller alone."""
    stored = to_ram(residual) if is_offloaded else residual
    return Anchor(time, probe, stored, residual_sample, token_weights(probe, spatial_weight))


def to_ram(tensor: Tensor) -> Tensor:
    """Copy to RAM: pinned and without waiting where the tensor is on a CUDA device."""
    if tensor.device.type == "cpu":
        return tensor
    pinned = torch.empty(
        tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=tensor.device.type == "cuda"
    )
    return pinned.copy_(tensor, non_blocking=True)


@dataclass(frozen=True)
class CacheSize:
    """What the anchors of one branch will take, known before anything is computed.

    Attributes:
        rows: pictures or videos of the branch.
        num_tokens: image tokens of each.
        width: numbers a token.
        element_size: bytes a number, in the model's dtype.
        is_weighted: whether a weight is kept for each sampled token.
    """

    rows: int
    num_tokens: int
    width: int
    element_size: int
    is_weighted: bool = True

    @property
    def residual_bytes(self) -> int:
        """Bytes of one residual."""
        return self.rows * self.num_tokens * self.width * self.element_size

    @property
    def sample_bytes(self) -> int:
        """Bytes of what the statistics of one anchor look at: probe and residual in fp32, and the weights."""
        numbers = 2 * self.width + (1 if self.is_weighted else 0)
        return 4 * self.rows * num_sampled(self.num_tokens) * numbers

    @property
    def bytes_held(self) -> int:
        """Bytes that the branch holds once it has all its anchors."""
        return MAX_ANCHORS * (self.residual_bytes + self.sample_bytes)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the device or in RAM: PyTorch has several for it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in words or "allocate memory" in words)


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

    def make_room(self, time: float) -> None:
        """Drop what the next anchor, at this noise level, will push out, before memory for it is taken."""
        is_replaced = bool(self.anchors) and abs(self.newest.time - time) < SAME_TIME
        if not is_replaced and len(self.anchors) == MAX_ANCHORS:
            self.anchors.pop()

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
