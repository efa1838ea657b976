"""What a run holds, what it leaves behind, and what it does when memory runs out."""

import gc
import weakref
from unittest.mock import Mock

import pytest
import torch
from toy import LOOSE, ToyModel, call, new_run, run_all, smooth_input, watch

from adacorrection_core import controller, evaluation, probe
from adacorrection_core.anchors import Anchor, is_out_of_memory
from adacorrection_core.config import CorrectionConfig
from adacorrection_core.forecast import Forecast
from adacorrection_core.readings import VelocityReading
from adacorrection_core.stats import Outcome, Reason
from adacorrection_core.storage import Storage


def test_nothing_is_left_after_a_run():
    model = ToyModel()
    run = new_run(LOOSE)
    watched = watch(model, run)
    for sigma in run.schedule.sigmas[:-2]:
        call(model, watched, sigma, smooth_input(sigma))
    (branch,) = run.branches.values()
    tensors = [weakref.ref(anchor.velocity.tensor) for anchor in branch.history.anchors]
    assert run.bytes_held > 0
    del branch
    report = run.finish()
    assert report.bytes_held > 0
    del run, watched
    gc.collect()
    assert [ref() for ref in tensors] == [None] * len(tensors)
    assert all("forward" not in block.__dict__ for block in model.blocks)


@pytest.mark.parametrize("config", [LOOSE, CorrectionConfig(tolerance=0.0)], ids=["on", "off"])
def test_the_input_of_a_call_is_not_held_past_it(config):
    """Nor by what waits to be read, which for a cache that is switched off is the end of the run."""
    model, run = ToyModel(), new_run(config)
    watched = watch(model, run)
    for sigma in run.schedule.sigmas[:5]:
        x = smooth_input(sigma)
        call(model, watched, torch.tensor([sigma]), x)
        held = weakref.ref(x)
        del x
        assert held() is None


def test_an_exception_in_a_block_leaves_the_blocks_as_they_were():
    model, run = ToyModel(), new_run(LOOSE)
    watched = watch(model, run)
    model.blocks[2].forward = failing = Mock(side_effect=RuntimeError("out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        call(model, watched, 1.0, smooth_input(1.0))
    assert model.blocks[2].__dict__["forward"] is failing
    assert failing.call_count == 1
    assert "forward" not in model.blocks[0].__dict__


def test_offloaded_anchors_give_the_same_result():
    changes = {"tolerance": 1.0, "max_consecutive": 50}
    _, kept = run_all(ToyModel(), CorrectionConfig(**changes))
    _, offloaded = run_all(ToyModel(), CorrectionConfig(**changes, cache_placement="offload"))
    assert all(torch.equal(a, b) for a, b in zip(kept, offloaded, strict=True))


def count_anchors():
    return sum(type(thing) is Anchor for thing in gc.get_objects())


@pytest.mark.parametrize(
    ("owner", "name", "number", "first_plain"),
    [
        (controller, "make_anchor", 2, 2),
        (Storage, "place", 2, 2),
        (Forecast, "output", 1, 4),
        (VelocityReading, "output", 1, 4),
        (probe, "sample_tokens", 2, 1),
        (probe, "sample_tokens", 3, 1),
        (evaluation, "gram", 1, 2),
    ],
    ids=[
        "anchor",
        "storage",
        "forecast",
        "output of the forecast",
        "before the probe",
        "after the probe",
        "measurement",
    ],
)
def test_a_run_goes_on_without_the_cache_when_memory_runs_out(owner, name, number, first_plain, monkeypatch):
    numbers, original, held = iter(range(1000)), getattr(owner, name), []

    def runs_out(*args):
        if next(numbers) == number:
            raise torch.OutOfMemoryError
        return original(*args)

    monkeypatch.setattr(owner, name, runs_out)
    gc.collect()
    report, outputs = run_all(ToyModel(), observer=lambda _: held.append(count_anchors()))
    monkeypatch.undo()

    _, full = run_all(ToyModel(), CorrectionConfig(tolerance=0.0))
    computed = [step for step, record in enumerate(report.records) if record.outcome is Outcome.COMPUTE]
    assert [report.records[step].blocks_run > 0 for step in range(10)] == [s in computed for s in range(10)]
    assert all(torch.equal(outputs[step], full[step]) for step in computed)
    assert {record.reason for record in report.records[first_plain:]} == {Reason.NO_MEMORY}
    assert next(numbers) == number + 1  # not tried again
    assert held[first_plain:] == (10 - first_plain) * [0]
    assert report.is_finished
    assert "Memory for the cache ran out" in report.summary()


def test_other_errors_pass_through(monkeypatch):
    monkeypatch.setattr(controller, "make_anchor", Mock(side_effect=RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run_all(ToyModel())


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),  # of pinned memory
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_is_taken_for_memory_that_ran_out(error, is_it):
    assert is_out_of_memory(error) is is_it
