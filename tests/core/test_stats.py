"""The record of a run, and what a person and a program read in it."""

import json
import math
from dataclasses import replace

import pytest

from adacorrection_core.stats import Outcome, Reason, RunReport, StepRecord, in_words


def record(step, outcome=Outcome.COMPUTE, reason=None, **changes):
    blocks_run = 10 if outcome is Outcome.COMPUTE else 1
    return StepRecord(
        step, step, 1.0 - step / 4, "cond", outcome, reason, blocks_run=blocks_run, blocks_total=10, **changes
    )


def report(*records, is_finished=True):
    return RunReport("balanced", "Toy: 10 blocks", 4, list(records), seconds=2.0, is_finished=is_finished)


def mixed():
    return report(
        record(0, reason=Reason.WARMUP, seconds=1.0),
        record(1, Outcome.CORRECT, seconds=0.1),
        record(2, Outcome.HOLD, seconds=0.3),
        record(3, reason=Reason.LAST_STEP, seconds=2.0),
    )


def test_shares_by_hand():
    assert mixed().block_fraction == 22 / 40
    assert mixed().hit_rate == 0.5
    assert mixed().seconds_saved == pytest.approx((1.5 - 0.1) + (1.5 - 0.3))


def test_nothing_ran():
    empty = report()
    assert (empty.block_fraction, empty.hit_rate, empty.seconds_saved) == (1.0, 0.0, 0.0)
    assert "never called" in empty.summary()


def test_steps_are_counted_once_where_branches_agree():
    both = [replace(one, branch=branch) for one in mixed().records for branch in ("cond", "uncond")]
    assert "4 steps: 2 computed, 1 corrected, 1 held\n" in report(*both).summary()
    assert "4 computed, 1 corrected, 2 held (counted by branch)" in report(*both[:3], *both[4:]).summary()


def test_summary_is_read_in_ten_seconds():
    """At 250 words a minute."""
    run = replace(mixed(), family="Flux: 19 double + 38 single blocks", bytes_held=2**26, is_offloaded=True)
    assert len(run.summary().split()) <= 250 * 10 / 60


def test_summary_says_why_nothing_was_reused():
    text = report(
        *(record(i, reason=Reason.WARMUP) for i in range(3)), record(3, reason=Reason.LAST_STEP)
    ).summary()
    assert "Nothing was reused: warm-up (3), last step (1). Take more steps" in text


def test_reasons_are_counted_by_step_and_come_with_what_to_do():
    reasons = [Reason.WARMUP, Reason.RISK, Reason.RISK, Reason.LAST_STEP]
    records = [record(i, reason=reason) for i, reason in enumerate(reasons)]
    both = [replace(one, branch=branch) for one in records for branch in ("cond", "uncond")]
    why = "risk above the tolerance (2), warm-up (1), last step (1). Raise tolerance, or take more steps"
    assert why in report(*both).summary()


def test_summary_says_that_a_run_did_not_finish():
    assert "did not finish" in report(record(0), is_finished=False).summary()
    assert "did not finish" not in mixed().summary()


def test_json_is_valid_and_whole():
    def refuse(constant):
        raise ValueError(constant)

    unbounded = report(record(0, tolerance=math.inf), record(1, Outcome.CORRECT, drift=0.2))
    loaded = json.loads(unbounded.to_json(), parse_constant=refuse)
    assert loaded["records"][0]["tolerance"] is None
    assert loaded["records"][1]["outcome"] == "corrected"
    assert loaded["block_fraction"] == unbounded.block_fraction


def test_bytes_in_words():
    sizes = (2**18, 67 * 2**20, int(2.34 * 2**30), 120 * 2**30)
    assert [in_words(size) for size in sizes] == ["0.25 MB", "67 MB", "2.3 GB", "120 GB"]
