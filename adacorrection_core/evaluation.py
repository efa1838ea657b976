"""What a run knows of its branches and of one evaluation, and how full passes measure the forecast."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .anchors import AnchorHistory, bytes_of
from .drift import gram
from .stats import Outcome, StepRecord


@dataclass(frozen=True)
class Branch:
    """One conditioning of a model call.

    Attributes:
        key: identity across the calls of a run; nothing is shared between different keys.
        role: "cond", "uncond", or another name where guidance does not combine it.
    """

    key: Hashable
    role: str


@dataclass
class BranchState:
    """What a run remembers of one branch. A change of shape, dtype or device makes a new one.

    Attributes:
        signature: shape, dtype and device of the tokens.
        history: the last full passes.
        was_reset: whether what was remembered was dropped since it was not finite.
        layers: paper mode's cache, by block index.
        probe_before: (b, n, D) probe of the step before; None unless the rule goes by it.
        last_seen: evaluation in which it was last called.
    """

    signature: Hashable
    history: AnchorHistory = field(default_factory=AnchorHistory)
    was_reset: bool = False
    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    probe_before: Tensor | None = None
    last_seen: int = 0

    @property
    def bytes_held(self) -> int:
        """Bytes of the anchors, the layer cache and the probe of the step before."""
        kept = [t for pair in self.layers.values() for t in pair]
        return self.history.bytes_held + bytes_of([*kept, self.probe_before])


@dataclass
class Measurement:
    """Truth against forecast at a full pass of one branch.

    Attributes:
        role: role of the branch.
        vectors: (b, ...) float32 velocities [v, v - v_1, forecast - v_1].
    """

    role: str
    vectors: list[Tensor]


@dataclass
class Evaluation:
    """One evaluation of the model by the sampler: one call, or one a branch.

    Attributes:
        index: from 0.
        step_index: sampler step.
        sigma: noise level.
        should_compute: the decision, shared by all calls of the evaluation; None until made.
        time_drift: how far the velocity should have turned, as the noise level tells it; NaN until known.
        weight: correction weight.
        seen: branches that have been called.
        records: records of the calls so far.
        measurements: truth against forecast, by branch.
        probe_looks: what the probe showed at a full pass, by call.
        is_closed: whether it is over.
    """

    index: int
    step_index: int
    sigma: float
    should_compute: bool | None = None
    time_drift: float = math.nan
    weight: float = 0.0
    seen: set[Hashable] = field(default_factory=set)
    records: list[StepRecord] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    probe_looks: list[Tensor] = field(default_factory=list)
    is_closed: bool = False

    @property
    def is_computed(self) -> bool:
        """Whether every call of it was computed."""
        return all(record.outcome is Outcome.COMPUTE for record in self.records)

    def drop_measurements(self) -> None:
        """They have been taken in, or there is no room for them."""
        self.measurements, self.probe_looks = [], []


def guided_gram(measurements: list[Measurement], cfg: float | None) -> Tensor:
    """Inner products of [v, v - v_1, f - v_1] as classifier-free guidance composes the branches.

    Guidance is linear, uncond + cfg * (cond - uncond), and so are all three vectors in the branch.
    Where there is no single pair of branches the inner products of all branches are added up.

    Returns:
        (3, 3).
    """
    roles = {measurement.role: measurement.vectors for measurement in measurements}
    if cfg is not None and len(measurements) == 2 and roles.keys() == {"cond", "uncond"}:
        pairs = list(zip(roles["cond"], roles["uncond"], strict=True))
        if all(cond.shape == uncond.shape and cond.device == uncond.device for cond, uncond in pairs):
            return gram([torch.lerp(uncond, cond, cfg) for cond, uncond in pairs])
    device = measurements[0].vectors[0].device
    return torch.stack([gram(m.vectors).to(device) for m in measurements]).sum(dim=0)
