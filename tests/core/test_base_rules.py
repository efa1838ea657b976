"""Rules of other caches, their numbers by hand."""

from adacorrection_core.base_rules import FirstBlockRule
from adacorrection_core.rules import Signals


def signals(step=0, drift=0.0, lag=1):
    return Signals(step, drift, 0.0, lag)


def test_first_block_rule_by_hand():
    rule = FirstBlockRule(0.15)
    assert [rule.should_compute(signals(0, drift=d)) for d in (0.1, 0.14, 0.15)] == [False, False, True]
