"""Seconds, memory, kernels and waits of full and corrected model calls, for bench.gpu."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from adacorrection_core.config import CorrectionConfig
from adacorrection_core.diffusers import adacorrection
from adacorrection_core.diffusers_families import family_of
from adacorrection_core.rules import Signals
from adacorrection_core.stages import find_layers
from adacorrection_core.stats import Outcome, RunReport
from bench.gpu_models import Spec

CONFIG = CorrectionConfig(tolerance=1.0, max_consecutive=50)
INTERVALS = (2, 3)  # every second step computed, every third
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


@dataclass
class EveryNth:
    """Decision rule: compute every n-th step, after a look at the probe or without."""

    interval: int
    is_probing: bool = False
    tolerance: float = 0.0
    risk: float = 0.0

    def should_compute(self, signals: Signals) -> bool | None:
        if self.is_probing and signals.should_probe_first:
            return None
        return signals.lag >= self.interval

    def computed(self, step_index: int) -> None:
        pass


@dataclass
class Launches:
    """Kernels launched and waits for the device, mean over the model calls of a run."""

    kernels: float
    waits: float


@dataclass
class Saving:
    """A run with every n-th step computed against a full one."""

    interval: int
    block_fraction: float
    speedup: float

    @property
    def of_promised(self) -> float:
        """Speed-up over the one that the block executions promise."""
        return self.speedup * self.block_fraction


@dataclass
class Timing:
    """Seconds of model calls of one kind of build, as built or compiled.

    Attributes:
        build: which.
        full: a call without the cache.
        probe: one of the first block alone, stem and head included.
        corrected: a corrected call where the noise level decided, so that no block runs.
        probed: a corrected call after a look at the probe.
        computed: a call in full that keeps an anchor.
        savings: runs with some steps computed.
        bytes_held: most bytes that the cache held.
        peak_rise: by how many bytes the allocator's peak rose; None without a GPU.
        launches: by kind of run; empty without a GPU.
    """

    build: str
    full: float
    probe: float
    corrected: float
    probed: float
    computed: float
    savings: list[Saving]
    bytes_held: int
    peak_rise: int | None
    launches: dict[str, Launches] = field(default_factory=dict)

    @property
    def overhead_corrected(self) -> float:
        """What a corrected call costs where no block runs, over a full call."""
        return self.corrected / self.full

    @property
    def overhead_probed(self) -> float:
        """What a corrected call costs beyond the probe that it looked at, over a full call."""
        return (self.probed - self.probe) / self.full

    @property
    def overhead_computed(self) -> float:
        """What a computed call costs beyond a full one, over a full call."""
        return self.computed / self.full - 1.0


class Bench:
    """One model, ready to be called.

    Args:
        spec: the model.
        device, dtype, is_tiny: where, in which precision, and whether at its tiny size.
        num_steps, repeats: steps of a run, and runs of which the median counts.
        clock: seconds; those of the process leave out what others took of a shared machine.
    """

    def __init__(
        self,
        spec: Spec,
        device: torch.device,
        dtype: torch.dtype,
        is_tiny: bool,
        num_steps: int,
        repeats: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.spec, self.device, self.repeats, self.clock = spec, device, repeats, clock
        self.transformer = spec.build(device, dtype, is_tiny)
        self.arguments = spec.arguments(device, dtype, is_tiny)
        self.layers = find_layers(self.transformer, family_of(self.transformer).stages)
        self.sigmas = [1.0 - i / num_steps for i in range(num_steps + 1)]

    def wait(self) -> float:
        """The time, once the device has caught up."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return self.clock()

    def call(self, latent: Tensor, sigma: float) -> Tensor:
        """One model call."""
        timestep = torch.full((len(latent),), sigma * self.spec.timestep_unit, device=self.device)
        inputs = {**self.arguments, "hidden_states": latent, "timestep": timestep}
        return self.transformer(return_dict=False, **inputs)[0]

    def run(self, between: Callable[[], object] = lambda: None) -> None:
        """Euler along the velocity; `between` is called before the first call and after each."""
        latent = self.arguments["hidden_states"]
        between()
        for sigma, sigma_next in zip(self.sigmas[:-1], self.sigmas[1:], strict=True):
            latent = latent + (sigma_next - sigma) * self.call(latent, sigma)
            between()

    def run_seconds(self) -> float:
        """Seconds of a run."""
        started = self.wait()
        self.run()
        return self.wait() - started

    def run_without_waiting(self) -> list[float]:
        """A run as a sampler does it."""
        self.run()
        return []

    def call_seconds(self) -> list[float]:
        """Seconds of each call of a run."""
        times: list[float] = []
        self.run(lambda: times.append(self.wait()))
        return [after - before for before, after in zip(times, times[1:], strict=False)]

    def correcting_run(
        self, interval: int, run: Callable[[], list[float]], is_probing: bool = False
    ) -> tuple[list[float], RunReport]:
        """A run with every n-th step computed; `is_probing` looks at the probe wherever that can be."""
        with adacorrection(
            self.transformer,
            CONFIG,
            self.sigmas,
            branches=self.spec.branches,
            cfg=self.spec.cfg,
            make_rule=lambda _: EveryNth(interval, is_probing),
        ) as state:
            seconds = run()
        return seconds, state.report

    @contextmanager
    def probe_alone(self) -> Iterator[None]:
        """Leaves the model its first block."""
        stages = family_of(self.transformer).stages
        lists = {stage.blocks: getattr(self.transformer, stage.blocks) for stage in stages}
        try:
            for index, (name, blocks) in enumerate(lists.items()):
                setattr(self.transformer, name, nn.ModuleList(blocks[:1] if index == 0 else []))
            yield
        finally:
            for name, blocks in lists.items():
                setattr(self.transformer, name, blocks)


def kinds_of_call(seconds: list[float], report: RunReport) -> dict[bool, list[float]]:
    """Seconds of computed (True) and of other calls, past the warm-up and before the last step."""
    records = {record.evaluation: record for record in report.records}
    inside = range(CONFIG.warmup_steps, len(seconds) - 1)
    kinds: dict[bool, list[float]] = {True: [], False: []}
    for i in inside:
        kinds[records[i].outcome is Outcome.COMPUTE].append(seconds[i])
    return kinds


def measured(bench: Bench, build: str) -> Timing:
    """All numbers of a build. Runs of each kind take turns, since a machine's speed drifts."""
    bench.correcting_run(INTERVALS[0], bench.call_seconds)  # warm up: allocator, autotuning, compilation
    full: list[float] = []
    probe: list[float] = []
    probed: list[float] = []
    kinds: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(bench.repeats):
        full += bench.call_seconds()
        with bench.probe_alone():
            probe += bench.call_seconds()
        seconds, report = bench.correcting_run(INTERVALS[0], bench.call_seconds)
        for kind, values in kinds_of_call(seconds, report).items():
            kinds[kind] += values
        probed += kinds_of_call(*bench.correcting_run(INTERVALS[0], bench.call_seconds, True))[False]
    has_gpu = bench.device.type == "cuda"
    return Timing(
        build,
        *(statistics.median(seconds) for seconds in (full, probe, kinds[False], probed, kinds[True])),
        savings=[saving(bench, interval) for interval in INTERVALS],
        bytes_held=report.bytes_held,
        peak_rise=peak_rise(bench) if has_gpu else None,
        launches=launches(bench) if has_gpu else {},
    )


def saving(bench: Bench, interval: int) -> Saving:
    """Median over pairs of runs, a full one and one with every n-th step computed."""
    bench.correcting_run(interval, bench.call_seconds)
    ratios, report = [], None
    for _ in range(bench.repeats):
        plain = bench.run_seconds()
        (ours,), report = bench.correcting_run(interval, lambda: [bench.run_seconds()])
        ratios.append(plain / ours)
    assert report is not None
    return Saving(interval, report.block_fraction, statistics.median(ratios))


def peak_rise(bench: Bench) -> int:
    """How much more memory a run with anchors needs at its peak than a full one."""
    peaks = []
    for run in (bench.call_seconds, lambda: bench.correcting_run(INTERVALS[0], bench.call_seconds)):
        torch.cuda.reset_peak_memory_stats()
        run()
        peaks.append(torch.cuda.max_memory_allocated())
    return peaks[1] - peaks[0]


def launches(bench: Bench) -> dict[str, Launches]:
    """Kernels and waits a call: of a full run, with anchors at every step, and with every second computed."""
    runs: dict[str, Callable[[], object]] = {
        "full": bench.run,
        "all computed": lambda: bench.correcting_run(1, bench.run_without_waiting),
        "every 2nd": lambda: bench.correcting_run(2, bench.run_without_waiting),
    }
    return {name: launches_of(run, len(bench.sigmas) - 1) for name, run in runs.items()}


def launches_of(run: Callable[[], object], num_calls: int) -> Launches:
    """Mean over the calls of a run."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        run()
    events = profiler.events() or []
    is_kernel = [e.device_type == DeviceType.CUDA and not e.name.startswith(("Mem", "gpu_")) for e in events]
    waits = sum(event.name in WAITS for event in events)
    return Launches(sum(is_kernel) / num_calls, waits / num_calls)


@contextmanager
def compiled(bench: Bench, backend: str) -> Iterator[None]:
    """The blocks compiled one by one, as diffusers' compile_repeated_blocks does."""
    blocks = [layer.block for layer in bench.layers]
    try:
        for block in blocks:
            block.compile(backend=backend)
        yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None
        torch.compiler.reset()
