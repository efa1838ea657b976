"""The trained model on a device that is not the CPU: the same pictures, and one wait a step."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch

from adacorrection_core.config import PRESETS, CorrectionConfig
from adacorrection_core.rules import Rule
from adacorrection_core.stats import Outcome
from bench.methods import BASE_RULES
from demo.methods import Method, full
from demo.sampler import MODEL_FOLDER, DemoModel, Result, Setting, load_model, sample
from second_device import DEVICE, counted

STEPS = 12
GUIDED, ALONE = Setting(STEPS), Setting(STEPS, cfg=1.0)
TARGET = CorrectionConfig(target_speedup=2.0)


def with_rule(name: str, rule: Callable[[float], Rule], value: float) -> Method:
    """AdaCorrection on another cache's decisions."""
    return Method(name, str(value), config=TARGET, make_rule=lambda schedule: rule(value))


RUNS = {
    **{name: (Method("AdaCorrection", name, config=config), GUIDED) for name, config in PRESETS.items()},
    "cond alone": (Method("AdaCorrection", "2x", config=TARGET), ALONE),
    "in RAM": (Method("AdaCorrection", "2x", config=replace(TARGET, cache_placement="offload")), GUIDED),
    **{name: (with_rule(name, rule, values[3]), GUIDED) for name, values, rule in BASE_RULES},
}
# They decide after a look at the first block, another wait, at every step but the first and the last.
PROBING = ("First-block cache", "TeaCache", "FastCache")


@pytest.fixture(scope="module")
def models() -> Iterator[tuple[DemoModel, DemoModel]]:
    """The demo model on the CPU and on the device."""
    here, there = load_model(MODEL_FOLDER), load_model(MODEL_FOLDER)
    there.transformer.to(DEVICE)
    return here, there


@pytest.fixture(scope="module")
def of_a_full_run(models) -> set[str]:
    """What diffusers' own Flux does in float64, its rotary positions, and Apple's GPUs cannot."""
    with counted() as events:
        draw(models[1], full(STEPS), GUIDED)
    return {event for event in events if "float64" in event}


def draw(model: DemoModel, method: Method, setting: Setting) -> Result:
    return sample(model, 3, 5, method, setting)


def outcomes(result: Result) -> list[Outcome]:
    return [record.outcome for record in result.report.records]


@pytest.mark.parametrize("name", RUNS)
def test_the_same_picture_with_one_wait_a_step(models, of_a_full_run, name):
    here, there = models
    method, setting = RUNS[name]
    expected = draw(here, method, setting)
    with counted() as events:
        result = draw(there, method, setting)

    assert result.latent.device == DEVICE
    torch.testing.assert_close(result.latent.cpu(), expected.latent)
    assert outcomes(result) == outcomes(expected)
    assert result.report.bytes_held == expected.report.bytes_held
    looks = STEPS - 2 if name in PROBING else 0
    assert events["to cpu"] == STEPS + looks + 1, "one a step, and one for the last step's numbers at the end"
    assert "item" not in events
    assert {event for event in events if "float64" in event} <= of_a_full_run
    assert result.report.is_offloaded == (name == "in RAM")


def test_anchors_go_to_ram_and_back_without_a_wait(models):
    method, setting = RUNS["in RAM"]
    with counted() as events:
        result = draw(models[1], method, setting)
    computed = outcomes(result).count(Outcome.COMPUTE)
    assert events["to cpu, not waited for"] >= computed
    assert events["from cpu, not waited for"] > 0


def test_a_full_run_is_the_cpus(models):
    here, there = (draw(model, full(STEPS), GUIDED).latent.cpu() for model in models)
    torch.testing.assert_close(there, here)
