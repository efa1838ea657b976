"""One call of the model as the record has it: its place in the run, and what was run for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from .evaluation import Branch, Evaluation
from .state import RunState
from .stats import Reason, StepRecord


class CountedCall:
    """One call of the model that is left to the host and counted.

    Args:
        run: state of the sampling run.
        sigma: noise level of the call, a number or a tensor with it in first place.
        branches: one a conditioning in the batch, in order; each has an equal share of the rows.
    """

    def __init__(self, run: RunState, sigma: Tensor | float, branches: Sequence[Branch]) -> None:
        self.run = run
        self.sigma = sigma
        self.branches = list(branches)
        self.evaluation = Evaluation(-1, 0, math.nan)
        self.records: list[StepRecord] = []

    def open(self, sigma: float) -> None:
        """Take the call's place in the run, once its noise level is known."""
        self.evaluation = self.run.enter_evaluation(sigma, [branch.key for branch in self.branches])
        place = (self.evaluation.step_index, self.evaluation.index, self.evaluation.sigma)
        self.records = [StepRecord(*place, branch.role) for branch in self.branches]
        self.evaluation.records.extend(self.records)
        self.run.report.records.extend(self.records)
        self.run.mark(self.records)

    def close(self, blocks_run: int, blocks_total: int, reason: Reason | None = None) -> None:
        """End of the call, as the seam saw it.

        Args:
            blocks_run: blocks that ran.
            blocks_total: blocks of the model.
            reason: why the call was computed, where that was not for the controller to decide.
        """

        def note() -> None:
            self.run.close_call(self.records, blocks_run, blocks_total, reason)

        def open_and_note(values: list[float]) -> None:
            self.open(values[0])
            note()

        if self.records:
            note()
        else:
            self.run.transfer.when_read(self.sigma, open_and_note)
