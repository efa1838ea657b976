"""diffusers' own pipelines on a device that is not the CPU: the same latents, about one wait a call."""

from collections.abc import Callable

import pytest
import torch
from tiny_pipelines import Drawing, flux, sd3, wan

from adacorrection_core.config import CorrectionConfig
from adacorrection_core.diffusers import disable_adacorrection, enable_adacorrection, report_of
from second_device import DEVICE, counted

CONFIGS = {
    "tolerance": CorrectionConfig(tolerance=1.0, warmup_steps=3, max_consecutive=3),
    "target": CorrectionConfig(target_speedup=2.0),
    "in RAM": CorrectionConfig(target_speedup=2.0, cache_placement="offload"),
}


def on_device(drawing: Drawing) -> Drawing:
    drawing.pipe.to(DEVICE)
    given = drawing.arguments.items()
    return Drawing(
        drawing.pipe, {name: value.to(DEVICE) if torch.is_tensor(value) else value for name, value in given}
    )


@pytest.mark.parametrize("make", [flux, sd3, wan], ids=lambda make: make.__name__)
def test_the_same_latent(make: Callable[[], Drawing]) -> None:
    here, there = make(), on_device(make())
    with counted() as plain_events:
        there()
    for config in CONFIGS.values():
        enable_adacorrection(here.pipe, config)
        enable_adacorrection(there.pipe, config)
        expected = here()
        with counted() as events:
            latent = there()

        reports = [report_of(drawing.pipe.transformer) for drawing in (there, here)]
        outcomes, outcomes_here = ([record.outcome for record in report.records] for report in reports)
        assert latent.device == DEVICE
        torch.testing.assert_close(latent.cpu(), expected)
        assert outcomes == outcomes_here
        assert reports[0].hit_rate > 0
        waits, plain_waits = (
            sum(number for event, number in counts.items() if event in ("item", "to cpu"))
            for counts in (events, plain_events)
        )
        # One a call, one for the scheduler's levels, one for the last call's numbers.
        assert waits - plain_waits <= len(outcomes) + 2
        disable_adacorrection(there.pipe.transformer)
        disable_adacorrection(here.pipe.transformer)
