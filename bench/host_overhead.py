"""What the node costs in ComfyUI at tolerance 0, on tiny random models of the real classes.

    COMFYUI_PYTHON bench/host_overhead.py --rounds 21 [family ...]

Run with the Python of a ComfyUI (CONTRIBUTING.md says how to get one). Plain model, a plain clone of it
and the patched one are sampled in turn; ratios are medians over rounds. The models are so small that a
step takes a few milliseconds: on a real one the same cost disappears.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "host"))
import comfy_host

comfy_host.boot()
comfy_host.load_pack()
import torch  # noqa: E402

import tiny_models  # noqa: E402
from adacorrection.adacorrection_core import CorrectionConfig  # noqa: E402
from adacorrection.nodes.host.session import apply_correction  # noqa: E402

FAMILIES = ("flux_dev", "sd3", "hunyuan_video", "wan21_t2v")
STEPS = 40


def seconds(model: object, family: str) -> float:
    """CPU seconds of one sampling run: those on the clock vary by more than what is looked for."""
    started = time.process_time()
    tiny_models.sample(model, family, steps=STEPS, cfg=3.0)
    return time.process_time() - started


def ratios(family: str, rounds: int) -> tuple[float, float, float]:
    """Medians over rounds: patched over plain, a plain clone over plain, and milliseconds of a plain step.

    The clone is the control: what it differs from 1 is the noise of the measurement.
    """
    plain = tiny_models.load(family)
    models = (plain, plain.clone(), apply_correction(plain, CorrectionConfig(tolerance=0)))
    seconds(plain, family)
    rows = []
    for i in range(rounds):
        order = [*range(i % 3, 3), *range(i % 3)]
        times = {index: seconds(models[index], family) for index in order}
        rows.append((times[2] / times[0], times[1] / times[0], 1e3 * times[0] / STEPS))
    patched, control, milliseconds = (statistics.median(column) for column in zip(*rows, strict=True))
    return patched, control, milliseconds


def main() -> None:
    """Prints one line a family."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("families", nargs="*", default=FAMILIES)
    parser.add_argument("--rounds", type=int, default=21, help="rounds of runs a family")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'family':20} {'tolerance 0 / plain':>20} {'clone / plain':>14} {'ms a plain step':>16}")
    for family in arguments.families:
        patched, control, milliseconds = ratios(family, arguments.rounds)
        print(f"{family:20} {patched:20.3f} {control:14.3f} {milliseconds:16.1f}")


if __name__ == "__main__":
    main()
