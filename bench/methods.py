"""The ways of sampling that the bench compares, and one run of any of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from adacorrection_core.base_rules import (
    AdaCacheRule,
    EasyCacheRule,
    FastCacheRule,
    FirstBlockRule,
    FixedIntervalRule,
    MagCacheRule,
    SeaCacheRule,
    TeaCacheRule,
)
from adacorrection_core.config import PRESETS, CorrectionConfig
from adacorrection_core.risk import Schedule
from adacorrection_core.rules import Rule
from bench.block_work import blocks_of, counted
from bench.peers import PEERS, Peer
from demo.flux import new_noise, simple_sigmas
from demo.methods import Method, fewer_steps
from demo.sampler import DemoModel, Setting, euler, guided_velocity, sample

TOLERANCES = (0.001, 0.002, 0.004, 0.007, 0.012, 0.02, 0.03, 0.045, 0.07)
TARGETS = (1.5, 2.0, 2.5, 3.0)
CORRECTED = " + AdaCorrection"  # behind the name of a base rule
SHARES = (0.9, 0.75, 0.6, 0.5, 0.42, 0.36, 0.3, 0.25)


BASE_RULES: list[tuple[str, tuple[float, ...], Callable[[float], Rule]]] = [
    ("Fixed interval", (1.33, 1.5, 2, 3, 4, 5), FixedIntervalRule),
    ("First-block cache", (0.05, 0.08, 0.12, 0.2, 0.3, 0.45), FirstBlockRule),
    ("TeaCache", (0.04, 0.06, 0.09, 0.15, 0.22, 0.32), TeaCacheRule),
    ("AdaCache", (0.2, 0.3, 0.45, 0.7, 1.0, 2.0), AdaCacheRule),
    ("FastCache", (0.02, 0.03, 0.04, 0.05, 0.06, 0.07), FastCacheRule),
    ("EasyCache", (0.06, 0.1, 0.15, 0.22, 0.33, 0.5), EasyCacheRule),
    ("MagCache", (0.004, 0.01, 0.02, 0.04, 0.1, 0.25), MagCacheRule),
    ("SeaCache", (0.06, 0.1, 0.15, 0.22, 0.33, 0.5), SeaCacheRule),
]


@dataclass(frozen=True)
class Drawn:
    """One picture drawn.

    Attributes:
        latent: (1, C, h, w).
        block_fraction: block executions over those of the full run.
        seconds: of the sampling loop.
        bytes_held: most bytes that the cache held; None where it does not say.
        risk: sum of the expected errors of the run's corrected steps; None where there is no such report.
    """

    latent: Tensor
    block_fraction: float
    seconds: float
    bytes_held: int | None = None
    risk: float | None = None


@dataclass(frozen=True)
class Contender:
    """A way of sampling at one setting.

    Attributes:
        name: of the method; its settings make one curve.
        value: the setting.
        draw: (model, prompt, seed, setting) -> picture.
    """

    name: str
    value: str
    draw: Callable[[DemoModel, int, int, Setting], Drawn]


def of_ours(name: str, value: object, method: Method) -> Contender:
    """A run through the diffusers adapter, or of the plain model."""

    def draw(model: DemoModel, prompt: int, seed: int, setting: Setting) -> Drawn:
        result = sample(model, prompt, seed, method, setting)
        report = result.report
        if report is None:
            return Drawn(result.latent, result.block_fraction, result.seconds)
        schedule = Schedule(tuple(simple_sigmas(setting.num_steps)))
        steps = {r.step_index: r.expected_error or 0.0 for r in report.reused}
        risk = sum(schedule.step_weight(step) * error for step, error in steps.items())
        return Drawn(result.latent, result.block_fraction, result.seconds, report.bytes_held, risk)

    return Contender(name, str(value), draw)


def of_peer(peer: Peer, value: object) -> Contender:
    """A run of another project's cache."""
    prepared: dict[int, Peer] = {}

    @torch.inference_mode()
    def draw(model: DemoModel, prompt: int, seed: int, setting: Setting) -> Drawn:
        velocity = guided_velocity(model, prompt, setting.cfg)
        sigmas, noise, steps = simple_sigmas(setting.num_steps), new_noise([seed]), setting.num_steps
        transformer = model.transformer
        if steps not in prepared:
            prepared[steps] = peer.prepared(transformer, steps, lambda: euler(velocity, noise, sigmas))
        counting = counted(transformer, blocks_of(transformer))
        with counting as work, prepared[steps].context(transformer, steps, value):
            started = time.perf_counter()
            latent = euler(velocity, noise, sigmas)
            seconds = time.perf_counter() - started
        return Drawn(latent, work.fraction(steps), seconds)

    return Contender(peer.name, str(value), draw)


def ours() -> list[Contender]:
    """AdaCorrection by tolerance, by target and by preset."""
    by_tolerance = [(t, CorrectionConfig(tolerance=t)) for t in TOLERANCES]
    by_target = [(f"{t:g}x", CorrectionConfig(target_speedup=t)) for t in TARGETS]
    presets = [(name, CorrectionConfig.from_preset(name)) for name in PRESETS]
    named = [("AdaCorrection", by_tolerance), ("AdaCorrection, target", by_target)]
    named.append(("AdaCorrection, preset", presets))
    return [of_ours(n, v, Method(n, str(v), config=config)) for n, points in named for v, config in points]


def steps_only(setting: Setting) -> list[Contender]:
    """Fewer steps of the same sampler."""
    counts = sorted({max(round(share * setting.num_steps), 1) for share in SHARES}, reverse=True)
    return [of_ours("Fewer steps", count, fewer_steps(count)) for count in counts]


def base_rules() -> list[Contender]:
    """Plain caches, each without and with the correction and its corrector."""
    config = CorrectionConfig(max_consecutive=50)
    found = []
    for name, values, make in BASE_RULES:
        for value in values:
            for suffix, is_correcting in (("", False), (CORRECTED, True)):

                def make_rule(_: Schedule, make: Callable[[float], Rule] = make, v: float = value) -> Rule:
                    return make(v)

                method = Method(name, str(value), "", None, config, make_rule, is_correcting)
                found.append(of_ours(name + suffix, value, method))
    return found


def peers(setting: Setting) -> list[Contender]:
    """Caches of other projects."""
    fitting = [peer for peer in PEERS if setting.cfg != 1 or not peer.needs_guidance]
    return [of_peer(peer, value) for peer in fitting for value in peer.values]


def ablations() -> list[Contender]:
    """AdaCorrection with one part switched off."""
    parts: dict[str, dict[str, object]] = {
        "no probe": {"probe_blocks": 0},
        "no forecast (hold)": {"sensitivity": 0.0},
        "all tokens alike": {"spatial_weight": 0.0},
    }
    found = []
    for name, change in parts.items():
        for tolerance in TOLERANCES[2:8:2]:
            config = CorrectionConfig(tolerance=tolerance, **change)  # type: ignore[arg-type]
            found.append(of_ours(f"AdaCorrection, {name}", tolerance, Method(name, "", config=config)))
    for tolerance in TOLERANCES[2:8:2]:
        config = CorrectionConfig(tolerance=tolerance)
        held = Method("no correction", "", config=config, is_correcting=False)
        found.append(of_ours("AdaCorrection, no correction at all", tolerance, held))
    return found
