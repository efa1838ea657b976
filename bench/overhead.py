"""What AdaCorrection costs where it saves nothing, and what it saves where it does.

    python -m bench.overhead --pairs 15

Each method is run in turn with the full run, and the ratio is the median over pairs, since the seconds of
a shared machine drift. CPU seconds of the process are given next to wall seconds: they leave out what
other processes took.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

import torch

from adacorrection_core.config import CorrectionConfig
from bench.gpu_models import Spec, flux_positions
from bench.gpu_timing import Bench, measured
from demo.flux import LATENT_CHANNELS, LATENT_SIDE, new_flux
from demo.methods import Method, adaptive_target, full
from demo.sampler import MODEL_FOLDER, DemoModel, Result, Setting, load_model, sample
from demo.words import MAX_TOKENS, WIDTH

NUM_STEPS = 28


class DemoSpec(Spec):
    """The demo's network, which is tiny already."""

    @property
    def timestep_unit(self) -> float:
        """What it calls pure noise."""
        return 1.0


# With random weights: cond and uncond of one picture.
DEMO = DemoSpec(
    "demo",
    "64 x 64",
    lambda **config: new_flux(),
    {},
    {
        "hidden_states": (2, (LATENT_SIDE // 2) ** 2, 4 * LATENT_CHANNELS),
        "encoder_hidden_states": (2, MAX_TOKENS, WIDTH),
        "pooled_projections": (2, WIDTH),
    },
    branches=("cond", "uncond"),
    cfg=3.0,
    extra=flux_positions,
)


@dataclass(frozen=True)
class Timing:
    """One timed run.

    Attributes:
        wall, cpu: seconds on the clock, and of this process's CPU time.
        result: what came out.
    """

    wall: float
    cpu: float
    result: Result


def timed(model: DemoModel, method: Method, setting: Setting) -> Timing:
    """One run of the first prompt, timed."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = sample(model, 0, 0, method, setting)
    return Timing(time.perf_counter() - wall, time.process_time() - cpu, result)


def paired(model: DemoModel, method: Method, setting: Setting, pairs: int) -> tuple[float, float, float]:
    """Median ratio to the full run in wall and CPU seconds, and the share of block executions."""
    walls, cpus, fraction = [], [], 1.0
    for i in range(pairs):
        order = (full(NUM_STEPS), method) if i % 2 else (method, full(NUM_STEPS))
        timings = {m: timed(model, m, setting) for m in order}
        reference, ours = timings[full(NUM_STEPS)], timings[method]
        walls.append(ours.wall / reference.wall)
        cpus.append(ours.cpu / reference.cpu)
        fraction = ours.result.block_fraction
    return statistics.median(walls), statistics.median(cpus), fraction


def methods() -> list[Method]:
    """Switched off; hooks and anchors without a single corrected step; and speed-ups asked for."""
    off = Method("Tolerance 0", "switched off", config=CorrectionConfig(tolerance=0))
    idle = Method("Tolerance 1e-9", "all computed", config=CorrectionConfig(tolerance=1e-9))
    return [off, idle, *(adaptive_target(speedup) for speedup in (1.5, 2.0, 3.0))]


def step_costs(repeats: int) -> str:
    """What a corrected and a computed step cost on a model of the demo's size, in CPU seconds."""
    bench = Bench(DEMO, torch.device("cpu"), torch.float32, False, NUM_STEPS, repeats, time.process_time)
    with torch.inference_mode():
        timing = measured(bench, "demo")
    return (
        f"a step in full {1e3 * timing.full:.1f} ms of CPU, its probe {1e3 * timing.probe:.1f}; "
        f"corrected: {timing.overhead_corrected:.1%} of a full step, after a look at the probe the probe "
        f"{timing.overhead_probed:+.1%}; "
        f"computed with hooks and anchors: {timing.overhead_computed:+.1%}"
    )


def main() -> None:
    """Prints one line a method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pairs", type=int, default=15, help="pairs of runs a method, or runs a kind of step"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(step_costs(arguments.pairs), flush=True)
    model, setting = load_model(MODEL_FOLDER), Setting(NUM_STEPS)
    timed(model, full(NUM_STEPS), setting)
    print(f"{'method':32} {'blocks':>7} {'wall':>7} {'CPU':>7} {'speed-up':>9}   (ratios to the full run)")
    for method in methods():
        wall, cpu, fraction = paired(model, method, setting, arguments.pairs)
        print(f"{method.label:32} {fraction:7.3f} {wall:7.3f} {cpu:7.3f} {1 / wall:8.2f}x")


if __name__ == "__main__":
    main()
