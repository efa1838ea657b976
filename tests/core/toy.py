"""A toy transformer whose every number can be computed by hand, and runs over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from adacorrection_core.config import CorrectionConfig
from adacorrection_core.evaluation import Branch
from adacorrection_core.readings import VelocityReading
from adacorrection_core.risk import Schedule
from adacorrection_core.stages import Stage, find_layers
from adacorrection_core.state import RunState
from adacorrection_core.stats import Outcome, RunReport
from adacorrection_core.watched import WatchedModel


class ToyBlock(nn.Module):
    """hidden_states * gain, in place like the host's blocks, with a count of its executions."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        x *= self.gain
        return x


class ToyModel(nn.Module):
    """Blocks in a row, gains 1.1, 1.2, ...; the output is the last block's, the input is left alone."""

    def __init__(self, num_blocks: int = 4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ToyBlock(1.1 + 0.1 * i) for i in range(num_blocks))

    def forward(self, x: Tensor) -> Tensor:
        hidden_states = x.clone()
        for block in self.blocks:
            hidden_states = block(hidden_states)
        return hidden_states

    @property
    def runs(self) -> int:
        """Block executions so far."""
        return sum(block.runs for block in self.blocks)


STAGES = (Stage("blocks", (0, "x")),)


def new_run(config: CorrectionConfig, steps: int = 10, **changes: object) -> RunState:
    """A run on linear sigmas."""
    schedule = Schedule(tuple(1 - i / steps for i in range(steps + 1)))
    return RunState(config, schedule, RunReport(config.name, "toy", steps), **changes)


def watch(model: ToyModel, run: RunState) -> WatchedModel:
    """The model's calls under the run's care."""
    return WatchedModel(find_layers(model, STAGES), run)


def call(
    model: ToyModel,
    watched: WatchedModel,
    sigma: float | Tensor,
    x: Tensor,
    branches: Sequence[str] = ("cond",),
) -> Tensor:
    """One model call."""
    named = [Branch(name, name) for name in branches]
    return watched.call(sigma, named, VelocityReading(x), lambda: model(x))


def smooth_input(sigma: float, batch: int = 1, tokens: int = 6, width: int = 8) -> Tensor:
    """(batch, tokens, width) that moves smoothly with the noise level."""
    base = torch.linspace(0.5, 1.5, tokens * width).reshape(1, tokens, width)
    return (base * (1 + sigma) + torch.sin(3 * base) * sigma**2).repeat(batch, 1, 1)


LOOSE = CorrectionConfig(tolerance=1.0, warmup_steps=3, max_consecutive=50)


def run_all(
    model: ToyModel,
    config: CorrectionConfig = LOOSE,
    steps: int = 10,
    inputs: Callable[[float], Tensor] = smooth_input,
    **changes: object,
) -> tuple[RunReport, list[Tensor]]:
    """All steps of a run: its report and the outputs."""
    run = new_run(config, steps, **changes)
    watched = watch(model, run)
    outputs = [call(model, watched, sigma, inputs(sigma)) for sigma in run.schedule.sigmas[:-1]]
    return run.finish(), outputs


def outcomes(report: RunReport) -> list[Outcome]:
    """What was done, call by call."""
    return [record.outcome for record in report.records]
