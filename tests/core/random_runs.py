"""Random runs for the property tests: settings, schedules, branch orders, shapes and faults."""

import math
from dataclasses import dataclass, replace
from itertools import permutations, product

import torch
from hypothesis import strategies as st
from torch import Tensor
from toy import new_run, smooth_input

from adacorrection_core.config import CorrectionConfig
from adacorrection_core.risk import Schedule
from adacorrection_core.state import RunState
from adacorrection_core.stats import RunReport

BLOCKS = 4
BRANCHES = {"cond": 1.0, "uncond": 0.7, "region": -1.3}  # how much the inputs of each are scaled


@dataclass(frozen=True)
class Call:
    """One call of the model.

    Attributes:
        sigma: noise level.
        branches: those in its batch, in order.
        tokens: of each.
        poison: block whose output is not finite, None for a sound call.
    """

    sigma: float
    branches: tuple[str, ...]
    tokens: int
    poison: int | None

    def input(self) -> Tensor:
        """(B, N, D): each branch's own, smooth in the noise level."""
        x = smooth_input(self.sigma, tokens=self.tokens, width=4)
        return torch.cat([BRANCHES[name] * x.roll(i, 1) for i, name in enumerate(self.branches)])


@dataclass(frozen=True)
class Case:
    """A run: its setting, the schedule that it was told, the calls that came."""

    config: CorrectionConfig
    schedule: Schedule
    is_correcting: bool
    calls: tuple[Call, ...]

    def start(self) -> RunState:
        """The state of a fresh run."""
        report = RunReport(self.config.name, "toy", self.schedule.num_steps)
        return replace(
            new_run(self.config), schedule=self.schedule, report=report, is_correcting=self.is_correcting
        )


def orders(names: tuple[str, ...]) -> list[tuple[tuple[str, ...], ...]]:
    """Every way to call some of these branches, in any order, in one call or several."""
    ways: list[tuple[tuple[str, ...], ...]] = []
    for count in range(1, len(names) + 1):
        for order in permutations(names, count):
            for cuts in product([False, True], repeat=count - 1):
                edges = [0, *(i + 1 for i, is_cut in enumerate(cuts) if is_cut), count]
                ways.append(tuple(order[i:j] for i, j in zip(edges, edges[1:], strict=False)))
    return ways


# Mostly what samplers do, sometimes repeated and rising noise levels.
GRID = [i / 20 for i in range(20, 0, -1)]
DESCENDING = st.lists(st.sampled_from(GRID), min_size=2, max_size=12, unique=True).map(
    lambda levels: sorted(levels, reverse=True)
)
LEVELS = st.one_of(DESCENDING, DESCENDING, st.lists(st.sampled_from(GRID), min_size=2, max_size=12))
CONFIGS = st.builds(
    CorrectionConfig,
    tolerance=st.sampled_from([1.0, 1.0, 0.03, 1e-3, 0.0]),
    sensitivity=st.sampled_from([1.0, 50.0, 0.0]),
    spatial_weight=st.sampled_from([0.0, 0.5]),
    probe_blocks=st.integers(0, 5),
    warmup_steps=st.integers(1, 4),
    max_consecutive=st.integers(1, 5),
    target_speedup=st.sampled_from([None, None, 1.5, 3.0]),
    cache_placement=st.sampled_from(["device", "offload"]),
)


NAMES = [("cond",), ("cond", "uncond"), tuple(BRANCHES)]
ORDERS = {names: orders(names) for names in NAMES}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A run of up to twelve evaluations; the latent may change its size once, and a call may go bad."""
    levels, config = draw(LEVELS), draw(CONFIGS)
    first, last = draw(st.sampled_from([(math.inf, 0.0), (math.inf, 0.0), (0.8, 0.3)]))
    schedule = Schedule((*levels, 0.0), draw(st.booleans()), first, last, config.warmup_steps)
    ways = st.sampled_from(ORDERS[draw(st.sampled_from(NAMES))])
    usual, grown = draw(ways), draw(st.integers(0, 20))
    bad = draw(st.dictionaries(st.integers(0, 20), st.integers(0, BLOCKS - 1), max_size=1))
    calls: list[Call] = []
    for i, sigma in enumerate(levels):
        way = usual if draw(st.booleans()) else draw(ways)
        tokens = 6 if i < grown else 5
        calls += [Call(sigma, part, tokens, bad.get(len(calls) + k)) for k, part in enumerate(way)]
    return Case(config, schedule, draw(st.sampled_from([True, True, False])), tuple(calls))
