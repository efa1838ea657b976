"""What AdaCorrection costs and saves on a GPU: FLUX.1-dev, SD3.5-large and HunyuanVideo at their real sizes.

    python -m bench.gpu --json out/gpu.json
    python -m bench.gpu --tiny            the same on tiny models, on the CPU too, to test the script

Weights are random, in bfloat16: no download, and the time of a call does not depend on them. Every second
or third step is computed by a fixed rule, so that the block executions are the same on any model. Printed
for each model, as built and then with its blocks compiled:

    full, probe         seconds of a model call: all blocks, the probe block alone (stem and head included)
    corrected, probed   seconds of a corrected call where no block runs, and of one after a look at the probe
    computed            seconds of a computed call with hooks and anchors
    overhead            corrected, probed less probe, and computed less full, over full
    speed-up            seconds of a full run over those of a run with the rule; "of promised" divides it by
                        what the block executions promise
    held                bytes of the cache, and how much the allocator's peak rose
    kernels, waits      kernels launched and waits for the device a call, mean over a run (GPU only)
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from bench.gpu_models import SPECS, Spec
from bench.gpu_timing import Bench, Timing, compiled, measured

NO_GPU = (
    "bench.gpu needs a CUDA device: torch sees none here, and the models are too large for a CPU. "
    "Nothing was measured. `python -m bench.gpu --tiny` tries the script on tiny models."
)


def printed(timing: Timing) -> str:
    """The numbers of a build, for people."""
    unit = 1e3
    lines = [
        f"  {timing.build}: full {unit * timing.full:.2f} ms, probe {unit * timing.probe:.2f}, corrected "
        f"{unit * timing.corrected:.2f}, probed {unit * timing.probed:.2f}, "
        f"computed {unit * timing.computed:.2f}",
        f"    overhead: corrected {timing.overhead_corrected:+.2%}, probed {timing.overhead_probed:+.2%}, "
        f"computed {timing.overhead_computed:+.2%} of a full call",
        *(
            f"    every {s.interval}. step computed: {s.block_fraction:.3f} of the blocks, speed-up "
            f"{s.speedup:.2f}x, {s.of_promised:.1%} of promised"
            for s in timing.savings
        ),
        f"    held: {timing.bytes_held / 2**20:.1f} MB by the cache"
        + ("" if timing.peak_rise is None else f", peak {timing.peak_rise / 2**20:+.1f} MB"),
        *(
            f"    {name}: {counts.kernels:.0f} kernels and {counts.waits:.2f} waits a call"
            for name, counts in timing.launches.items()
        ),
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Prints what each model comes to, and writes JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [spec.name for spec in SPECS]
    parser.add_argument("--models", nargs="+", default=names, choices=names)
    parser.add_argument("--steps", type=int, default=16, help="steps of a run")
    parser.add_argument("--repeats", type=int, default=3, help="runs of which the median counts")
    parser.add_argument("--backend", default="inductor", help="of torch.compile; 'none' leaves that out")
    parser.add_argument("--tiny", action="store_true", help="tiny models, on the CPU where there is no GPU")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args(arguments)
    has_gpu = torch.cuda.is_available()
    if not has_gpu and not options.tiny:
        print(NO_GPU, file=sys.stderr)
        return 1
    device = torch.device("cuda" if has_gpu else "cpu")
    where = torch.cuda.get_device_name() if has_gpu else "CPU: times mean nothing here"
    print(f"{where}, torch {torch.__version__}{', tiny models' if options.tiny else ''}")
    results = {}
    for spec in SPECS:
        if spec.name in options.models:
            print(f"{spec.name}, {spec.task}", flush=True)
            results[spec.name] = measure_model(spec, device, options)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        about = {"device": where, "torch": torch.__version__, "tiny": options.tiny, "steps": options.steps}
        options.json.write_text(json.dumps({**about, "models": results}, indent=1))
    return 0


@torch.inference_mode()
def measure_model(spec: Spec, device: torch.device, options: argparse.Namespace) -> list[dict[str, object]]:
    """All builds of a model; it is gone from the device afterwards."""
    bench = Bench(spec, device, torch.bfloat16, options.tiny, options.steps, options.repeats)
    timings = [measured(bench, "as built")]
    print(printed(timings[0]), flush=True)
    if options.backend != "none":
        with compiled(bench, options.backend):
            timings.append(measured(bench, f"blocks compiled ({options.backend})"))
        print(printed(timings[1]), flush=True)
    return [asdict(timing) for timing in timings]


if __name__ == "__main__":
    sys.exit(main())
