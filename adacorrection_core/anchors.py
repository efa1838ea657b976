"""What is remembered of the last full passes of a branch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from .correction import time_gain
from .corrector import KNOTS
from .drift import num_sampled
from .kept import HALVES, Kept, keep
from .risk import turned

MAX_ANCHORS = 2
# Of the last step: the sampler's latent, and the velocity that it was handed.
STEP_LATENTS = 2
# Its knots, the shift, the forecast summed up, and the velocity of the last step, as it was forecast.
CORRECTOR_LATENTS = KNOTS + 3
SAME_TIME = 1e-6


def bytes_of(tensors: Iterable[Tensor | None]) -> int:
    """Bytes of tensors; one that comes twice counts once."""
    different = {id(tensor): tensor for tensor in tensors if tensor is not None}
    return sum(tensor.element_size() * tensor.nelement() for tensor in different.values())


@dataclass(frozen=True)
class Anchor:
    """One full pass of one branch.

    Attributes:
        time: noise level on the flow's scale.
        velocity: (b, ...) direction in which the sampler moves, (x - denoised) / sigma.
        denoised: (b, ...) clean latent that the model expected; None where the seam does not know the latent.
        probe: (b, n, D) probe residual at the sampled tokens; None where it is not asked.
        weights: (b, n, 1) weight of each sampled token in the drift, or None.
    """

    time: float
    velocity: Kept
    denoised: Kept | None = None
    probe: Kept | None = None
    weights: Kept | None = None

    @property
    def kept(self) -> list[Kept]:
        """All tensors of this anchor."""
        return [kept for kept in (self.velocity, self.denoised, self.probe, self.weights) if kept is not None]

    @cached_property
    def bytes_held(self) -> int:
        """Bytes of all of them."""
        return bytes_of(kept.tensor for kept in self.kept)

    @cached_property
    def bytes_on_device(self) -> int:
        """Bytes of those that are not in RAM."""
        return bytes_of(kept.tensor for kept in self.kept if kept.tensor.device.type != "cpu")

    def in_ram(self) -> Anchor:
        """The same with its tensors in RAM."""
        optional = (self.denoised, self.probe, self.weights)
        return Anchor(self.time, self.velocity.in_ram(), *(kept and kept.in_ram() for kept in optional))


def make_anchor(
    time: float,
    velocity: Tensor,
    denoised: Tensor | None,
    probe: Tensor | None,
    weights: Tensor | None,
    dtype: torch.dtype,
) -> Anchor:
    """Anchor of a full pass; the tensors must belong to the caller alone.

    A model in half precision returns half precision, and so its velocity is kept as it was. The clean latent
    is a sum with the sampler's latent, in float32. In bfloat16 it costs up to 0.2 dB with samplers that add
    noise, which alone forecast it; in float16, which has as many bytes and eight times as fine a grid, none
    (bench/RESULTS.md, "Precision of what is kept").

    Args:
        time, velocity, denoised, probe, weights: see `Anchor`.
        dtype: precision that the model computes in.
    """
    finest = torch.float16 if dtype in HALVES else dtype
    return Anchor(
        time,
        keep(velocity, dtype),
        None if denoised is None else keep(denoised, finest),
        None if probe is None else keep(probe, dtype),
        None if weights is None else keep(weights),
    )


@dataclass(frozen=True)
class CacheSize:
    """What the anchors of one branch will take, known before anything is computed.

    Attributes:
        rows: pictures or videos of the branch.
        latent_numbers: numbers in the latent of each.
        num_tokens: image tokens of each; 0 where no probe is taken.
        width: numbers a token.
        is_weighted: whether a weight is kept for each sampled token.
        dtype: precision that the model computes in.
    """

    rows: int
    latent_numbers: int
    num_tokens: int
    width: int
    is_weighted: bool = True
    dtype: torch.dtype = torch.float32

    @property
    def element_size(self) -> int:
        """Bytes of a number that an anchor keeps."""
        return 2 if self.dtype in HALVES else 4

    @property
    def latent_bytes(self) -> int:
        """Bytes of velocity and clean latent of one anchor."""
        return 2 * self.rows * self.latent_numbers * self.element_size

    @property
    def probe_bytes(self) -> int:
        """Bytes of the probe of one anchor and of its tokens' weights, which stay in float32."""
        if not self.num_tokens:
            return 0
        token_bytes = self.element_size * self.width + 4 * self.is_weighted
        return self.rows * num_sampled(self.num_tokens) * token_bytes

    @property
    def anchor_bytes(self) -> int:
        """Bytes of one anchor."""
        return self.latent_bytes + self.probe_bytes

    @property
    def bytes_held(self) -> int:
        """Bytes that the branch holds once it has all its anchors."""
        return MAX_ANCHORS * self.anchor_bytes


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
        if self.replaces_newest(anchor):
            self.anchors.popleft()
        self.anchors.appendleft(anchor)

    def replaces_newest(self, anchor: Anchor) -> bool:
        """Whether an anchor is at the noise level of the newest one."""
        return bool(self.anchors) and abs(self.newest.time - anchor.time) < SAME_TIME

    def bytes_on_device_with(self, anchor: Anchor) -> int:
        """Bytes on the device once an anchor has been pushed."""
        after = AnchorHistory(self.anchors.copy())
        after.push(anchor)
        return after.bytes_on_device

    def is_below(self, time: float) -> bool:
        """Whether a noise level lies above the newest anchor's: the sampler has gone back up."""
        return bool(self.anchors) and time > self.newest.time + SAME_TIME

    def __len__(self) -> int:
        return len(self.anchors)

    @property
    def newest(self) -> Anchor:
        """The last full pass."""
        return self.anchors[0]

    def gain(self, time: float) -> float:
        """How many of its last movements the velocity should have moved; 0 where there is but one pass."""
        if len(self.anchors) < 2:
            return 0.0
        return time_gain(turned(time), turned(self.anchors[0].time), turned(self.anchors[1].time))

    @property
    def bytes_held(self) -> int:
        """Bytes of all anchors."""
        return sum(anchor.bytes_held for anchor in self.anchors)

    @property
    def bytes_on_device(self) -> int:
        """Bytes of the anchors that are not in RAM."""
        return sum(anchor.bytes_on_device for anchor in self.anchors)
