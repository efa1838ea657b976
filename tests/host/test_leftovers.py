"""After a run nothing is left of it, however it ended, and the next one is like a first one."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import comfy.model_management
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import REPRESENTATIVES, TOLERANT, corrected, model_of, sampled
from torch import Tensor, nn

import tiny_models
from adacorrection.adacorrection_core.anchors import Anchor
from adacorrection.adacorrection_core.blocks import BlockHooks
from adacorrection.adacorrection_core.call import CountedCall
from adacorrection.adacorrection_core.controller import ModelCall
from adacorrection.adacorrection_core.evaluation import BranchState, Evaluation
from adacorrection.adacorrection_core.paper import PaperCall
from adacorrection.adacorrection_core.state import RunState
from adacorrection.adacorrection_core.walks import PaperWalk, ProbeWalk, Walk
from adacorrection.adacorrection_core.watched import WatchedModel
from adacorrection.nodes.host import session
from adacorrection.nodes.host.handle import KEY, RunHandle
from adacorrection.nodes.host.session import apply_correction, report_of

STEPS = 6
STATE = {Anchor, BlockHooks, BranchState, Evaluation, WatchedModel, RunHandle, RunState}
STATE |= {CountedCall, ModelCall, PaperCall, Walk, ProbeWalk, PaperWalk}


class Boom(RuntimeError):
    """An error in the middle of a run."""


@pytest.fixture(autouse=True)
def only_new_objects() -> Iterator[None]:
    """Hide the host's million objects from the collector, which is what takes the time here."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def alive() -> list[object]:
    """All state of runs that has not been collected."""
    gc.collect()
    return [thing for thing in gc.get_objects() if type(thing) in STATE]


def assert_clean(model: object, family: str) -> None:
    """No state, no tensor, no hook, no option of ours is left."""
    assert alive() == []
    assert all("forward" not in vars(block) for block in tiny_models.blocks(model, family).values())
    assert KEY not in model.model_options.get("transformer_options", {})
    assert not [value for value in vars(session).values() if isinstance(value, Tensor)]


def test_nothing_is_left_after_a_run(family: str) -> None:
    model = corrected(family, TOLERANT)
    seen: list[int] = []

    def callback(step: int, *_: object) -> None:
        if step == 3:
            seen.append(sum(isinstance(thing, Anchor) for thing in alive()))

    _, report = sampled(model, family, steps=STEPS, callback=callback)

    assert seen[0] > 0
    assert report.is_finished
    assert_clean(model, family)


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_no_tensor_more_after_the_second_run(family: str) -> None:
    model = corrected(family, TOLERANT)

    def tensors() -> int:
        sampled(model, family, steps=STEPS)
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    assert tensors() == tensors()


def test_interrupt_passes_through_once(family: str) -> None:
    model, steps = corrected(family, TOLERANT), []

    def interrupt(step: int, *_: object) -> None:
        steps.append(step)
        if step == 3:
            raise comfy.model_management.InterruptProcessingException

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        tiny_models.sample(model, family, steps=STEPS, callback=interrupt)

    assert steps == [0, 1, 2, 3]
    assert_unfinished_and_clean(model, family)


def test_error_in_a_block_passes_through(family: str) -> None:
    """In the last block, at the third call: a whole pass is not sampled again for it."""
    model = corrected(family, TOLERANT)

    with failing_block(model, family, 3) as done, pytest.raises(Boom):
        tiny_models.sample(model, family, steps=STEPS)

    assert done == [1, 2, 3]
    assert_unfinished_and_clean(model, family)


@contextmanager
def failing_block(model: ModelPatcher, family: str, number: int) -> Iterator[list[int]]:
    """Meanwhile the last block raises when it is called for the n-th time; its calls are counted."""
    [last] = list(tiny_models.blocks(model, family).values())[-1:]
    entry, done = tiny_models.FAMILIES[family].entry, []
    original = getattr(type(last), entry)

    def forward(block: nn.Module, *args: object, **kwargs: object) -> object:
        if block is last:
            done.append(len(done) + 1)
            if len(done) == number:
                raise Boom
        return original(block, *args, **kwargs)

    with mock.patch.object(type(last), entry, forward):
        yield done


def assert_unfinished_and_clean(model: object, family: str) -> None:
    """The report owns up, nothing is left, and the next run is like a first one."""
    report = report_of(model)
    assert not report.is_finished
    assert "did not finish" in report.summary()
    assert report.records
    assert_clean(model, family)
    again, next_report = sampled(model, family, steps=STEPS)
    assert torch.equal(again, tiny_models.sample(corrected(family, TOLERANT), family, steps=STEPS))
    assert next_report.is_finished


def test_a_forward_of_somebody_else_is_put_back() -> None:
    model = tiny_models.load("flux_dev")
    full = tiny_models.sample(model, "flux_dev", steps=STEPS)
    block = tiny_models.blocks(model, "flux_dev")["double_blocks", 1]
    calls: list[int] = []
    original = block.forward

    def forward(*args: object, **kwargs: object) -> object:
        calls.append(1)
        return original(*args, **kwargs)

    block.forward = forward
    _, report = sampled(apply_correction(model, TOLERANT), "flux_dev", steps=STEPS)

    assert block.forward is forward
    assert len(calls) == STEPS - len(report.reused) < STEPS
    assert torch.equal(tiny_models.sample(model, "flux_dev", steps=STEPS), full)


def test_a_model_not_sampled_yet_has_no_report() -> None:
    with pytest.raises(session.ConfigError, match="has not been sampled yet"):
        report_of(corrected("flux_dev"))
    with pytest.raises(session.ConfigError, match="has no AdaCorrection"):
        report_of(model_of("flux_dev"))
