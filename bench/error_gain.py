"""What an error made at one step does to the picture: the constants of `adacorrection_core.risk`.

    python -m bench.error_gain --prompts 0 3 5 9

For each step one run in which that step alone is corrected and all others are computed. The error of the
step is how far the latent is off right after it; the gain is the error of the final latent over that.
Printed next to it: the relative error of the step's velocity, and what the controller expected. The debt
of the corrected step is left unsettled, so that the error lives on; `--settle` shows what is left of it
otherwise.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adacorrection_core.config import CorrectionConfig
from adacorrection_core.diffusers import adacorrection
from adacorrection_core.risk import error_gain
from adacorrection_core.rules import Signals
from demo.flux import new_noise, simple_sigmas
from demo.sampler import DemoModel, guided_velocity, load_model

MODEL = Path(__file__).parents[1] / "demo" / "model"
CONFIG = CorrectionConfig(tolerance=1.0)


@dataclass
class AllButOne:
    """Decision rule: compute every step but one."""

    step_index: int
    tolerance: float = 0.0
    risk: float = 0.0

    def should_compute(self, signals: Signals) -> bool:
        return signals.step_index != self.step_index

    def computed(self, step_index: int) -> None:
        pass


@dataclass(frozen=True)
class StepError:
    """One step corrected.

    Attributes:
        relative: error of the step over the length of the step.
        expected: what the controller expected of it.
        gain: error of the final latent over the error of the step.
    """

    relative: float
    expected: float
    gain: float


@torch.inference_mode()
def trajectory(
    model: DemoModel, prompt: int, sigmas: list[float], cfg: float, skipped: int | None, settle: bool = False
) -> tuple[list[Tensor], float]:
    """Latents before and after each step, and the error expected at the step that was corrected."""
    velocity, latents = guided_velocity(model, prompt, cfg), [new_noise([prompt])]

    def walk() -> None:
        for sigma, sigma_next in zip(sigmas[:-1], sigmas[1:], strict=True):
            latents.append(latents[-1] + (sigma_next - sigma) * velocity(latents[-1], sigma))

    if skipped is None:
        walk()
        return latents, 0.0
    branches = ("cond", "uncond") if cfg != 1 else ("cond",)
    with adacorrection(
        model.transformer, CONFIG, sigmas, branches=branches, cfg=cfg, make_rule=lambda _: AllButOne(skipped)
    ) as run:
        if not settle:
            run.corrector.stop()
        walk()
    return latents, run.report.reused[0].expected_error or 0.0


def measure(
    model: DemoModel, prompt: int, sigmas: list[float], cfg: float, steps: list[int], settle: bool
) -> list[StepError]:
    """The errors of single corrected steps."""
    full, _ = trajectory(model, prompt, sigmas, cfg, None)
    errors = []
    for step in steps:
        ours, expected = trajectory(model, prompt, sigmas, cfg, step, settle)
        local = float((ours[step + 1] - full[step + 1]).norm())
        length = float((full[step + 1] - full[step]).norm())
        errors.append(StepError(local / length, expected, float((ours[-1] - full[-1]).norm()) / local))
    return errors


def main() -> None:
    """Prints one line a step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, nargs="+", default=[0, 3, 5, 9], help="prompts, by number")
    parser.add_argument("--steps", type=int, default=28, help="steps of the sampler")
    parser.add_argument("--cfg", type=float, default=3.0, help="guidance scale")
    parser.add_argument("--settle", action="store_true", help="settle the debt at the next full pass")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, sigmas = load_model(MODEL), simple_sigmas(arguments.steps)
    steps = list(range(CONFIG.warmup_steps, arguments.steps - 1, 2))
    cfg, settle = arguments.cfg, arguments.settle
    runs = [measure(model, prompt, sigmas, cfg, steps, settle) for prompt in arguments.prompts]
    print(f"{'step':>4} {'sigma':>6} {'error':>7} {'expected':>9} {'gain':>6} {'mean':>6} {'model':>6}")
    for i, step in enumerate(steps):
        errors = [run[i] for run in runs]
        gains = [error.gain for error in errors]
        print(
            f"{step:4} {sigmas[step]:6.3f} {statistics.mean(e.relative for e in errors):7.4f} "
            f"{statistics.mean(e.expected for e in errors):9.4f} {statistics.median(gains):6.2f} "
            f"{statistics.mean(gains):6.2f} {error_gain(sigmas[step]):6.2f}"
        )


if __name__ == "__main__":
    main()
