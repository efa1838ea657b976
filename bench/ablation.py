"""AdaCorrection with one of its parts switched off at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

from adacorrection_core import anchors, corrector, risk, settlement
from adacorrection_core.correction import WeightPosterior
from adacorrection_core.corrector import Corrector
from adacorrection_core.risk import Stretch

Patch = tuple[object, str, object]
risk_of = Stretch.risk


@dataclass(frozen=True)
class Part:
    """A part of the algorithm.

    Attributes:
        name: what is left without it.
        change: settings that switch it off.
        patches: (owner, attribute, replacement) where no setting does.
        is_by_tolerance: whether runs go by a tolerance; with a target the probe is not asked.
    """

    name: str
    change: dict[str, object] = field(default_factory=dict)
    patches: tuple[Patch, ...] = ()
    is_by_tolerance: bool = False

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
    Part("pass's own output not moved", patches=((settlement, "response", always(0.0)),)),
    Part("pass's own output moved all the way", patches=((settlement, "response", always(1.0)),)),
    Part("interpolated through the pass as it was seen", patches=((corrector, "FOLLOWS", 0.0),)),
    Part("interpolated by a line", patches=((corrector, "KNOTS", 2),)),
    Part(
        "forecast and interpolated by noise level",
        patches=((anchors, "turned", lambda time: time), (corrector, "turned", lambda time: time)),
    ),
    Part("risk without the way ahead", patches=((Stretch, "risk", lambda stretch, *_: stretch.area),)),
    Part(
        "risk without the pass's own step",
        patches=((Stretch, "risk", lambda stretch, ahead, *_: risk_of(stretch, ahead, 0.0)),),
    ),
    Part("risk by noise level, not by turns", patches=((risk, "turned", lambda time: time),)),
    Part("all parts, by tolerance", is_by_tolerance=True),
    Part("by tolerance, no probe", {"probe_blocks": 0}, is_by_tolerance=True),
    Part("by tolerance, all tokens alike in the probe", {"spatial_weight": 0.0}, is_by_tolerance=True),
)
