"""The controller over random schedules, branch orders, shapes and faults: what must hold in every run.

How many cases: conftest.py.
"""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_runs import BLOCKS, Call, Case, cases
from torch import Tensor
from toy import ToyModel, call, watch

from adacorrection_core.stats import Outcome, Reason, RunReport, StepRecord


@dataclass
class Past:
    """What a branch may have learnt so far.

    Attributes:
        velocities: of its computed calls since the last one that was not finite or had another shape.
        sigma: noise level of the newest.
    """

    velocities: list[Tensor] = field(default_factory=list)
    sigma: float = math.nan


def truth(call: Call) -> Tensor:
    """What a model without hooks gives."""
    return poisoned(ToyModel(BLOCKS), call)(call.input())


def poisoned(model: ToyModel, call: Call) -> ToyModel:
    """The model with the call's bad block in it."""
    for i, (block, sound) in enumerate(zip(model.blocks, ToyModel(BLOCKS).blocks, strict=True)):
        block.gain = math.inf if i == call.poison else sound.gain
    return model


def play(case: Case, model: ToyModel | None = None) -> tuple[RunReport, list[Tensor], list[list[StepRecord]]]:
    """A whole run, of a new model if none is given: its report, and the output and records of each call."""
    model, run = model or ToyModel(BLOCKS), case.start()
    watched = watch(model, run)
    outputs, runs, ends = [], [model.runs], [0]
    for each in case.calls:
        x = each.input()
        outputs.append(call(poisoned(model, each), watched, each.sigma, x, each.branches))
        assert torch.equal(x, each.input()), "an argument was written to"
        runs.append(model.runs)
        ends.append(len(run.report.records))
    report = run.finish()
    records = [report.records[start:end] for start, end in zip(ends, ends[1:], strict=False)]
    assert [after - before for before, after in zip(runs, runs[1:], strict=False)] == [
        call_records[0].blocks_run for call_records in records
    ]
    assert not run.branches and not run.transfer.unread
    assert all("forward" not in block.__dict__ for block in model.blocks)
    return report, outputs, records


@given(cases())
def test_every_run(case: Case) -> None:
    report, outputs, records = play(case)

    assert report.is_finished
    assert all(
        math.isfinite(r.measured_error or 0.0) and (r.measured_error or 0.0) >= 0 for r in report.records
    )
    probe_blocks = min(case.config.probe_blocks, BLOCKS - 1)
    pasts: dict[str, Past] = defaultdict(Past)
    for each, output, call_records in zip(case.calls, outputs, records, strict=True):
        assert [record.branch for record in call_records] == list(each.branches)
        assert len({record.outcome for record in call_records}) == 1
        final = truth(each)
        if call_records[0].outcome is Outcome.COMPUTE:
            assert call_records[0].blocks_run == BLOCKS
            assert torch.equal(output.nan_to_num(7.0), final.nan_to_num(7.0))
            learn(pasts, each, final)
        else:
            assert call_records[0].blocks_run in (0, probe_blocks)
            assert_allowed(case, each, call_records[0], pasts)
            for name, rows in zip(each.branches, output.chunk(len(each.branches)), strict=True):
                assert_made_of_its_own_past(rows, pasts[name], call_records[0].outcome)
    assert_stretches(case, report)


def learn(pasts: dict[str, Past], call: Call, final: Tensor) -> None:
    """A computed call: what its branches know from here on."""
    for name, rows in zip(call.branches, final.chunk(len(call.branches)), strict=True):
        past = pasts[name]
        if not torch.isfinite(rows).all():
            pasts[name] = Past()
            continue
        if past.velocities and past.velocities[-1].shape != rows.shape:
            past.velocities.clear()
        past.velocities.append(rows)
        past.sigma = call.sigma


def assert_allowed(case: Case, call: Call, record: StepRecord, pasts: dict[str, Past]) -> None:
    """A corrected call: no warm-up, not the last step, within the range, and each branch has a sound past."""
    assert case.config.tolerance > 0 or case.config.target_speedup
    assert record.step_index >= case.config.warmup_steps
    assert not case.schedule.is_last(record.step_index)
    assert case.schedule.last_sigma <= call.sigma <= case.schedule.first_sigma
    assert record.blocks_run == 0 or call.poison is None or call.poison >= record.blocks_run
    for name in call.branches:
        past = pasts[name]
        assert past.velocities, f"{name} has nothing to be corrected from"
        assert past.velocities[-1].shape[1] == call.tokens
        assert past.sigma >= call.sigma - 1e-6, "a forecast against the direction of sampling"


def assert_made_of_its_own_past(velocity: Tensor, past: Past, outcome: Outcome) -> None:
    """The branch's newest velocity, and if a forecast is blended in, its own last movements on top."""
    newest = past.velocities[-1]
    rest = (velocity - newest).flatten()
    scale = float(newest.norm())
    moves = [newest - before for before in past.velocities[-2:-1]]
    if (
        outcome is Outcome.CORRECT and moves
    ):  # a branch without movements is held beside one that is corrected
        basis = torch.stack([move.flatten() for move in moves], dim=1).double()
        solution = torch.linalg.lstsq(basis, rest.double()[:, None]).solution
        rest = rest.double() - (basis @ solution)[:, 0]
    assert float(rest.norm()) <= 1e-4 * scale


def assert_stretches(case: Case, report: RunReport) -> None:
    """Never more evaluations in a row with a corrected call than max_consecutive."""
    is_reused = {r.evaluation: False for r in report.records}
    for record in report.reused:
        is_reused[record.evaluation] = True
    stretches = [len(list(group)) for reused, group in groupby(is_reused.values()) if reused]
    assert max(stretches, default=0) <= case.config.max_consecutive


@settings(max_examples=max(settings.default.max_examples // 5, 1))
@given(cases(), st.integers(0, 30), st.integers(0, BLOCKS - 1))
def test_a_run_after_one_that_failed_is_like_a_first_one(case: Case, failing: int, place: int) -> None:
    """An error in any block of any call: it passes through, nothing is left, the same calls give the same."""
    model, run = ToyModel(BLOCKS), case.start()
    watched = watch(model, run)
    stop = case.calls[failing % len(case.calls)]
    is_failing = False
    for each in case.calls:
        handle = None
        if each is stop:
            handle = model.blocks[place].register_forward_pre_hook(fail)
        runs = model.runs
        try:
            call(poisoned(model, each), watched, each.sigma, each.input(), each.branches)
        except Boom:
            is_failing = True
            # At a corrected step it is the stand-in of a block that does not run which fails.
            assert model.runs - runs in (place, min(place, case.config.probe_blocks))
            break
        finally:
            if handle:
                handle.remove()
    run.release()

    assert not run.branches and not run.transfer.unread
    assert all("forward" not in block.__dict__ for block in model.blocks)
    assert is_failing or run.report.records  # a corrected call never came to that block
    _, first, _ = play(case)
    _, again, _ = play(case, model)
    assert all(
        torch.equal(one.nan_to_num(7.0), two.nan_to_num(7.0)) for one, two in zip(first, again, strict=True)
    )


class Boom(RuntimeError):
    """An error in a block."""


def fail(*_: object) -> None:
    raise Boom


def test_how_many_cases_are_tried() -> None:
    """By default 500, and 10,000 by `make test-nightly`: no less, and of every run all of them."""
    assert settings.get_profile("default").max_examples >= 500
    assert settings.get_profile("nightly").max_examples >= 10_000
    assert test_every_run._hypothesis_internal_use_settings.max_examples == settings.default.max_examples
    assert "HYPOTHESIS_PROFILE=nightly" in (Path(__file__).parents[2] / "Makefile").read_text()


def test_the_cases_are_worth_trying() -> None:
    """Among a few hundred there is plenty of everything that the properties are about."""
    seen: Counter[str] = Counter()

    @settings(max_examples=400, derandomize=True, database=None, deadline=None)
    @given(cases())
    def look(case: Case) -> None:
        report, _, records = play(case)
        seen.update({record.outcome.value for record in report.records})
        seen.update({record.reason.value for record in report.records if record.reason})
        seen["reset"] += report.resets > 0
        seen["split"] += any(len(rows) < len({r.branch for r in report.records}) for rows in records)
        seen["mixed"] += len({len(rows) for rows in records}) > 1

    look()
    reasons = (
        Reason.OFF,
        Reason.WARMUP,
        Reason.LAST_STEP,
        Reason.OUTSIDE,
        Reason.NEW_BRANCH,
        Reason.SIGMA_ROSE,
        Reason.RISK,
        Reason.MAX_CONSECUTIVE,
        Reason.NOT_FINITE,
    )
    wanted = [*(each.value for each in (*Outcome, *reasons)), "reset", "split", "mixed"]
    few = {name: seen[name] for name in wanted if seen[name] < 5}
    assert not few
