"""What a run will hold is worked out from what each of its evaluations will call."""

import pytest

from adacorrection_core.anchors import CORRECTOR_LATENTS, MAX_ANCHORS, STEP_LATENTS, CacheSize
from adacorrection_core.evaluation import STALE_EVALUATIONS
from adacorrection_core.expected import anchors_bytes, settlement_bytes

SIZE = CacheSize(1, 48, 0, 0)
ANCHOR = SIZE.anchor_bytes


def steps(*keys):
    """Evaluations that call a branch for each letter."""
    return [dict.fromkeys(called, SIZE) for called in keys]


@pytest.mark.parametrize(
    ("called", "anchors"),
    [
        ([], 0),
        (["a"], 1),
        (["a", "a"], 2),
        (6 * ["a"], 2),
        (6 * ["ab"], 4),
        (["a", "b", "c"], 3),
        (["a", "a", "b", "b"], 4),  # one is over, and not let go yet
        (["a", "a", *STALE_EVALUATIONS * "b", *"cc"], 4),  # by now it is
        (["a", *(STALE_EVALUATIONS - 1) * "b", "a"], 4),  # one is away, and back before it is let go
        (["a", "a", *(STALE_EVALUATIONS + 1) * "b", "a"], 4),  # one comes back with nothing
    ],
)
def test_anchors_of_branches_that_come_and_go(called, anchors):
    assert anchors_bytes(steps(*called)) == anchors * ANCHOR


def test_each_branch_has_its_size():
    large = CacheSize(2, 480, 0, 0)
    assert anchors_bytes(6 * [{"a": SIZE, "b": large}]) == MAX_ANCHORS * (ANCHOR + large.anchor_bytes)


@pytest.mark.parametrize(
    ("called", "owed"),
    [
        ([], CORRECTOR_LATENTS),  # not known
        (20 * ["ab"], CORRECTOR_LATENTS),
        (["a", "b", "c", "d"], 1),
        (["a", "b", "b", "c", "c", "d"], 2),
    ],
)
def test_a_debt_lives_as_long_as_the_branches_stay_the_same(called, owed):
    assert settlement_bytes(steps(*called), 48) == (STEP_LATENTS + owed) * 4 * 48
    assert settlement_bytes(steps(*called), 48, is_settling=False) == STEP_LATENTS * 4 * 48
