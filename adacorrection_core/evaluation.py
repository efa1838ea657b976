"""What a run knows of its branches and of one evaluation, and how full passes measure the forecast."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .anchors import AnchorHistory, bytes_of
from .drift import gram
from .kept import Kept
from .stats import Outcome, StepRecord

STALE_EVALUATIONS = 4  # a branch that has not been called for more is let go


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
    probe_before: Kept | None = None
    last_seen: int = 0

    def release(self) -> None:
        """Drop every tensor: what waits to be read may hold on to the state itself."""
        self.history.anchors.clear()
        self.layers.clear()
        self.probe_before = None

    @property
    def bytes_held(self) -> int:
        """Bytes of the anchors, the layer cache and the probe of the step before."""
        kept = [t for pair in self.layers.values() for t in pair]
        before = None if self.probe_before is None else self.probe_before.tensor
        return self.history.bytes_held + bytes_of([*kept, before])


@dataclass(frozen=True)
class Measurement:
    """Truth against forecast at a full pass of one branch.

    Attributes:
        role: role of the branch.
        vectors: (b, ...) float32 velocities [v, v - v_1, forecast - v_1].
    """

    role: str
    vectors: list[Tensor]

    def is_like(self, other: Measurement) -> bool:
        """Whether shapes and devices are the same."""
        pairs = zip(self.vectors, other.vectors, strict=True)
        return all(one.shape == two.shape and one.device == two.device for one, two in pairs)


@dataclass
class GuidedMeasurement:
    """Truth against forecast over the branches of an evaluation: inner products of [v, v - v_1, f - v_1].

    Guidance is linear, uncond + cfg * (cond - uncond), and so are all three vectors in the branch: a single
    pair of branches is composed as guidance does. Else the inner products of all branches are added up.

    Attributes:
        cfg: guidance scale; None where the host does not say.
        count: branches so far.
        summed: (3, 3) over all of them.
        guided: (3, 3) of the pair.
        waiting: one of the pair, until the other comes.
    """

    cfg: float | None = None
    count: int = 0
    summed: Tensor | None = None
    guided: Tensor | None = None
    waiting: Measurement | None = None

    def add(self, measurement: Measurement) -> None:
        """Take in one branch."""
        own = gram(measurement.vectors)
        self.summed = own if self.summed is None else self.summed + own.to(self.summed.device)
        self.count += 1
        first, self.waiting = self.waiting, None
        if self.count == 1 and self.cfg is not None:
            self.waiting = measurement
        elif first is not None and self.cfg is not None:
            pair = {each.role: each.vectors for each in (first, measurement)}
            if pair.keys() == {"cond", "uncond"} and first.is_like(measurement):
                vectors = zip(pair["uncond"], pair["cond"], strict=True)
                self.guided = gram([torch.lerp(uncond, cond, self.cfg) for uncond, cond in vectors])

    @property
    def inner_products(self) -> Tensor | None:
        """(3, 3), None where nothing was measured."""
        return self.guided if self.count == 2 and self.guided is not None else self.summed


@dataclass
class Evaluation:
    """One evaluation of the model by the sampler: one call, or one a branch.

    Attributes:
        index: from 0.
        step_index: sampler step.
        sigma: noise level.
        given: the same as it came, maybe rounded.
        should_compute: the decision, shared by all calls of the evaluation; None until made.
        time_drift: how far the velocity should have turned, as the noise level tells it; NaN until known.
        weight: correction weight.
        seen: branches that have been called.
        records: records of the calls so far.
        measured: truth against forecast, of a full pass.
        probe_looks: what the probe showed at a full pass, by call.
        is_closed: whether it is over.
    """

    index: int
    step_index: int
    sigma: float
    given: float = math.nan
    should_compute: bool | None = None
    time_drift: float = math.nan
    weight: float = 0.0
    seen: set[Hashable] = field(default_factory=set)
    records: list[StepRecord] = field(default_factory=list)
    measured: GuidedMeasurement = field(default_factory=GuidedMeasurement)
    probe_looks: list[Tensor] = field(default_factory=list)
    is_closed: bool = False

    @property
    def is_computed(self) -> bool:
        """Whether every call of it was computed."""
        return all(record.outcome is Outcome.COMPUTE for record in self.records)

    def drop_measured(self) -> None:
        """It has been taken in, or there is no room for it."""
        self.measured, self.probe_looks = GuidedMeasurement(), []
