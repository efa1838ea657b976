"""AdaCorrection with one of its parts switched off at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from torch import Tensor

from adacorrection_core import anchors, corrector, risk, settlement
from adacorrection_core.correction import WeightPosterior
from adacorrection_core.corrector import Corrector
from adacorrection_core.diffusers_settlement import GuidedSettlement

Patch = tuple[object, str, object]
settle = GuidedSettlement.settle


def settled_later(self: GuidedSettlement, *arguments: Any) -> Tensor | None:
    """Settle what is owed, but leave the output of this very pass where it is."""
    settle(self, *arguments)
    return None


@dataclass(frozen=True)
class Part:
    """A part of the algorithm.

    Attributes:
        name: what is left without it.
        change: settings that switch it off.
        patches: (owner, attribute, replacement) where no setting does.
    """

    name: str
    change: dict[str, object] = field(default_factory=dict)
    patches: tuple[Patch, ...] = ()

    @contextmanager
    def off(self) -> Iterator[None]:
        """Without the part as long as this lasts."""
        with ExitStack() as stack:
            for owner, attribute, replacement in self.patches:
                stack.enter_context(patch.object(owner, attribute, replacement))
            yield


def always(number: float) -> Callable[..., float]:
    """A function of anything that returns the number."""
    return lambda *_: number


PARTS = (
    Part("all parts"),
    Part("no forecast, cached velocity held", {"sensitivity": 0.0}),
    Part("weight 1/2, not measured", patches=((WeightPosterior, "weight", always(0.5)),)),
    Part(
        "no corrector",
        patches=((Corrector, "computed", lambda *_: None), (Corrector, "corrected", lambda *_: None)),
    ),
    Part(
        "pass's own output not moved",
        patches=((GuidedSettlement, "settle", settled_later), (settlement, "FOLLOWS", 1e9)),
    ),
    Part("interpolated by a line", patches=((corrector, "KNOTS", 2),)),
    Part(
        "forecast and interpolated by noise level",
        patches=((anchors, "turned", lambda time: time), (corrector, "turned", lambda time: time)),
    ),
    Part("no probe", {"probe_blocks": 0}),
    Part("all tokens alike in the probe", {"spatial_weight": 0.0}),
    Part("early errors count as late ones", patches=((risk, "error_gain", always(1.0)),)),
    Part("risk grows alike at all noise levels", patches=((risk, "error_growth", always(1.0)),)),
)
