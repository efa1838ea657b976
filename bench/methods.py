"""The ways of sampling that the bench compares, and one run of any of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from adacorrection_core import base_rules as caches
from adacorrection_core.config import PRESETS, CorrectionConfig
from adacorrection_core.diffusers import adacorrection
from adacorrection_core.risk import Schedule
from adacorrection_core.rules import Rule
from bench.ablation import PARTS, Part
from bench.block_work import counted
from bench.peer import blocks_of
from bench.peers import PEERS, Peer
from bench.solvers import MULTISTEP, integrate
from demo.flux import new_noise, simple_sigmas
from demo.methods import Method, fewer_steps
from demo.sampler import DemoModel, Setting, euler, guided_velocity, sample

TOLERANCES = (0.004, 0.007, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.09, 0.13)
TARGETS = (1.11, 1.2, 1.33, 1.5, 1.75, 2.0, 2.4, 2.8, 3.1, 3.5, 4.0)
CORRECTED = " + AdaCorrection"  # behind the name of a base rule
SHARES = (0.9, 0.75, 0.6, 0.5, 0.42, 0.36, 0.3, 0.25)


BASE_RULES: list[tuple[str, tuple[float, ...], Callable[[float], Rule]]] = [
    ("Fixed interval", (1.33, 1.5, 2, 3, 4, 5), caches.FixedIntervalRule),
    ("First-block cache", (0.05, 0.08, 0.12, 0.2, 0.3, 0.45), caches.FirstBlockRule),
    ("TeaCache", (0.04, 0.06, 0.09, 0.15, 0.22, 0.32), caches.TeaCacheRule),
    ("AdaCache", (0.2, 0.3, 0.45, 0.7, 1.0, 2.0), caches.AdaCacheRule),
    ("FastCache", (0.02, 0.03, 0.04, 0.05, 0.06, 0.07), caches.FastCacheRule),
    ("EasyCache", (0.06, 0.1, 0.15, 0.22, 0.33, 0.5), caches.EasyCacheRule),
    ("MagCache", (0.004, 0.01, 0.02, 0.04, 0.1, 0.25), caches.MagCacheRule),
    ("SeaCache", (0.06, 0.1, 0.15, 0.22, 0.33, 0.5), caches.SeaCacheRule),
]


@dataclass(frozen=True)
class Drawn:
    """One picture drawn.

    Attributes:
        latent: (1, C, h, w).
        block_fraction: block executions over those of the full run.
        seconds: of the sampling loop.
        bytes_held: most bytes that the cache held; None where it does not say.
        risk: as the run reports it; None where there is no report.
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
        return Drawn(result.latent, result.block_fraction, result.seconds, report.bytes_held, report.risk)

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


def step_counts(setting: Setting) -> list[int]:
    """Shares of the steps of the full run, most first."""
    return sorted({max(round(share * setting.num_steps), 1) for share in SHARES}, reverse=True)


def steps_only(setting: Setting) -> list[Contender]:
    """Fewer steps of the same sampler."""
    return [of_ours("Fewer steps", count, fewer_steps(count)) for count in step_counts(setting)]


def base_rules() -> list[Contender]:
    """Plain caches, each without and with the correction, and after two warm-up steps.

    Without it there is no longest stretch; with it come the forecast, the corrector and the longest stretch.
    """
    found = []
    for name, values, make in BASE_RULES:
        for value in values:

            def make_rule(_: Schedule, make: Callable[[float], Rule] = make, v: float = value) -> Rule:
                return make(v)

            held = CorrectionConfig(max_consecutive=50, warmup_steps=2)
            plain = Method(name, str(value), "", None, held, make_rule, False)
            corrected = replace(plain, config=CorrectionConfig(warmup_steps=2), is_correcting=True)
            found.append(of_ours(name, value, plain))
            found.append(of_ours(name + CORRECTED, value, corrected))
    return found


def peers(setting: Setting) -> list[Contender]:
    """Caches of other projects."""
    fitting = [peer for peer in PEERS if setting.cfg != 1 or not peer.needs_guidance]
    return [of_peer(peer, value) for peer in fitting for value in peer.values]


def ablations() -> list[Contender]:
    """AdaCorrection with one part switched off at a time."""
    found = []
    for part in PARTS:
        values = TOLERANCES[2:9:2] if part.is_by_tolerance else TARGETS[3:9:2]
        found += [without(part, value) for value in values]
    return found


def without(part: Part, value: float) -> Contender:
    """AdaCorrection without a part, at a target or a tolerance."""
    bound = {"tolerance" if part.is_by_tolerance else "target_speedup": value}
    config = CorrectionConfig(**bound, **part.change)  # type: ignore[arg-type]
    whole = of_ours(f"Ablation, {part.name}", value, Method(part.name, "", config=config))

    def draw(model: DemoModel, prompt: int, seed: int, setting: Setting) -> Drawn:
        with part.off():
            return whole.draw(model, prompt, seed, setting)

    return replace(whole, draw=draw)


def solvers(setting: Setting) -> list[Contender]:
    """Better solvers at all steps, at fewer, and with AdaCorrection on top; Euler's full run beside them."""
    counts = [setting.num_steps, *step_counts(setting)]
    plain = [of_solver("euler", setting.num_steps, None)]
    plain += [of_solver(solver, count, None) for solver in MULTISTEP for count in counts]
    configs = [CorrectionConfig(target_speedup=target) for target in TARGETS]
    return plain + [of_solver(solver, None, config) for solver in MULTISTEP for config in configs]


def of_solver(solver: str, num_steps: int | None, config: CorrectionConfig | None) -> Contender:
    """A run of another solver with fewer steps, or with AdaCorrection at all of them."""

    @torch.inference_mode()
    def draw(model: DemoModel, prompt: int, seed: int, setting: Setting) -> Drawn:
        count = num_steps or setting.num_steps
        velocity, sigmas = guided_velocity(model, prompt, setting.cfg), simple_sigmas(count)
        branches = ("cond", "uncond") if setting.cfg != 1 else ("cond",)
        noise, fraction, started = new_noise([seed]), count / setting.num_steps, time.perf_counter()
        if config is None:
            latent = integrate(solver, velocity, noise, sigmas)
        else:
            with adacorrection(model.transformer, config, sigmas, branches=branches, cfg=setting.cfg) as run:
                latent = integrate(solver, velocity, noise, sigmas)
            fraction = run.report.block_fraction
        return Drawn(latent, fraction, time.perf_counter() - started)

    if config is None:
        return Contender(f"Fewer steps, {solver}", str(num_steps), draw)
    return Contender(f"{solver}{CORRECTED}", f"{config.target_speedup:g}x", draw)
