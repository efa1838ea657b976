"""All that is mutable, made fresh for a run and never reset."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .anchors import Anchor, AnchorHistory, is_out_of_memory
from .budget import Budget
from .calibration import Calibration
from .config import CorrectionConfig
from .corrector import Corrector
from .evaluation import STALE_EVALUATIONS, BranchState, Evaluation, GuidedMeasurement
from .expected import Called, anchors_bytes, settlement_bytes
from .risk import Schedule
from .rules import OutputRule, RiskRule, Rule
from .sentences import say
from .settlement import Settlement
from .stats import Reason, RunReport, StepRecord
from .storage import Storage
from .transfer import Transfer


@dataclass
class RunState:
    """One sampling run.

    Attributes:
        config: the setting.
        schedule: noise levels.
        report: the record.
        cfg: guidance scale; None where the host does not say.
        rule: decision rule; AdaCorrection's own unless another is given.
        is_correcting: False holds the cached velocity, as a plain cache does, and settles no debt.
        storage: where the anchors are kept.
        needed: bytes that the cache will take on the device; None until that has been worked out.
        has_given_up: whether memory ran out for the cache, so that all calls are left to the host.
        lock: held while state that the calls share changes: several devices may work on one run.
        observer: hears of the records of each model call when it is over.
        branches: what is remembered of each, by its key.
        evaluation: the one under way, or the last one.
        settlement: what the corrected steps owe.
        calibration: what the full passes have taught.
        transfer: numbers on their way to the host.
        lag: evaluations since the last full pass, the next one included.
        marked, marked_at: records whose time runs, and since when.
    """

    config: CorrectionConfig
    schedule: Schedule
    report: RunReport
    cfg: float | None = None
    rule: Rule | None = None
    is_correcting: bool = True
    storage: Storage = field(default_factory=Storage)
    needed: int | None = None
    has_given_up: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)
    observer: Callable[[list[StepRecord]], object] | None = None
    branches: dict[Hashable, BranchState] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    settlement: Settlement = field(default_factory=Settlement)
    calibration: Calibration = field(default_factory=Calibration)
    transfer: Transfer = field(default_factory=Transfer)
    lag: int = 1
    marked: list[StepRecord] = field(default_factory=list)
    marked_at: float = 0.0

    def __post_init__(self) -> None:
        self.storage.is_offloaded |= self.config.cache_placement == "offload"
        self.report.is_offloaded = self.storage.is_offloaded

    @property
    def corrector(self) -> Corrector:
        """The debt of the corrected steps."""
        return self.settlement.corrector

    def expect(self, evaluations: Sequence[Called], latent_numbers: int, fits: Callable[[int], bool]) -> int:
        """Decide where the anchors are kept, once it is known what the run will hold.

        Decided once: who samples in stretches prepares each, but the first has told of the whole run.

        Args:
            evaluations: what each will call; none where that is not known.
            latent_numbers: numbers in the sampler's latent, all pictures of a batch together.
            fits: whether so many bytes fit on the device beside all else.

        Returns:
            bytes that the cache will take on the device.
        """
        if self.needed is not None:
            return self.needed
        anchors = anchors_bytes(evaluations)
        is_settling = self.is_correcting and self.corrector.is_active
        settlement = settlement_bytes(evaluations, latent_numbers, is_settling)
        held = anchors + settlement
        if self.config.cache_placement == "auto":
            self.storage = Storage(is_offloaded=not fits(held), room=anchors)
        self.report.is_offloaded = is_offloaded = self.storage.is_offloaded
        self.report.bytes_expected = held if evaluations else 0
        self.needed = settlement if is_offloaded else held  # what is needed at each step stays on the device
        return self.needed

    @property
    def probe_blocks(self) -> int:
        """Blocks that the decision may hang on; rules of other caches go by them, target or not."""
        is_own = self.rule is None or isinstance(self.rule, RiskRule)
        return self.config.asked_probe_blocks if is_own else self.config.probe_blocks

    @property
    def decision_rule(self) -> Rule:
        """The rule of this run, made at the first call when the schedule is known."""
        if self.rule is None:
            self.rule = RiskRule(self.schedule, self.config.tolerance, self.budget())
        return self.rule

    def budget(self) -> Budget | None:
        """The number of computed steps where a speed-up is asked for."""
        if self.config.target_speedup is None:
            return None
        budget = Budget.for_speedup(self.config.target_speedup, self.schedule, self.config.max_consecutive)
        self.report.note = self.report.note or budget.note
        return budget

    def reschedule(self, schedule: Schedule) -> None:
        """The noise levels to come are known better than before; those that have been stay as they were."""
        self.schedule = schedule
        self.report.num_steps = schedule.num_steps
        if isinstance(self.rule, RiskRule):
            if self.rule.budget is not None and self.report.note == self.rule.budget.note:
                self.report.note = ""
            self.rule.schedule, self.rule.budget = schedule, self.budget()

    def enter_evaluation(self, sigma: float, keys: list[Hashable]) -> Evaluation:
        """The evaluation that a call belongs to: a new one at another sigma, or when a branch comes again."""
        current = self.evaluation
        if current is None or current.given != sigma or not current.seen.isdisjoint(keys):
            self.close_evaluation()
            index, before = (0, None) if current is None else (current.index + 1, current.step_index)
            place = self.schedule.place(sigma, before)
            current = Evaluation(index, *place, given=sigma, measured=GuidedMeasurement(self.cfg))
            self.evaluation = current
            self.drop_stale(index, keys)
        current.seen.update(keys)
        return current

    def close_if_over(self, keys: list[Hashable]) -> None:
        """Close the last evaluation where a branch comes again, before its numbers are read with the next."""
        if self.evaluation is not None and not self.evaluation.seen.isdisjoint(keys):
            self.close_evaluation()

    def drop_stale(self, index: int, keys: list[Hashable]) -> None:
        """Free the branches not called for a while: guidance that ended, conds that are over."""
        stale = [key for key, state in self.branches.items() if index - state.last_seen > STALE_EVALUATIONS]
        self.forget(key for key in stale if key not in keys)

    def forget(self, keys: Iterable[Hashable]) -> None:
        """Free what is remembered of branches."""
        for key in list(keys):
            state = self.branches.pop(key, None)
            if state is not None:
                state.release()

    def mark(self, records: list[StepRecord]) -> None:
        """The device has come to a call's decision: the time since the last one went into the call before."""
        now = time.perf_counter()
        for record in self.marked:
            record.seconds = (now - self.marked_at) / len(self.marked)
        self.marked, self.marked_at = records, now

    def close_call(
        self, records: list[StepRecord], blocks_run: int, blocks_total: int, reason: Reason | None
    ) -> None:
        """Note what a model call ran, and why where the seam knows; tell who observes the run."""
        for record in records:
            record.blocks_run, record.blocks_total = blocks_run, blocks_total
            record.reason = reason or record.reason
        if self.observer is not None:
            self.observer(records)

    def close_evaluation(self) -> None:
        """Queue what the last evaluation measured; take note of whether it was computed."""
        evaluation = self.evaluation
        if evaluation is None or evaluation.is_closed:
            return
        evaluation.is_closed = True
        is_computed = evaluation.should_compute is not False
        lag = self.lag
        self.lag = 1 if is_computed else self.lag + 1
        if is_computed:
            self.decision_rule.computed(evaluation.step_index)
        products = evaluation.measured.inner_products
        if products is not None:
            with self.memory_guard():
                numbers = [
                    products.reshape(-1),
                    *(look.to(products.device) for look in evaluation.probe_looks),
                ]
                self.transfer.when_read(
                    torch.cat(numbers), lambda values: self.observe(evaluation, values, lag)
                )
        evaluation.drop_measured()

    def observe(self, evaluation: Evaluation, values: list[float], lag: int) -> None:
        """Learn from truth against forecast; see `Calibration.observe`."""
        full_pass = self.calibration.observe(evaluation, values, lag)
        if full_pass is not None and isinstance(self.rule, OutputRule):
            self.rule.measured(full_pass)

    def drop_if_not_finite(self, states: Sequence[BranchState], norms: list[float]) -> None:
        """Forget the branches of a call whose velocity turned out to hold NaN or infinity.

        Args:
            states: of its branches, in order.
            norms: of their velocities, one a row of the batch.
        """
        rows = max(len(norms) // len(states), 1)
        for i, state in enumerate(states):
            if not all(map(math.isfinite, norms[i * rows : (i + 1) * rows])):
                state.history.anchors.clear()
                state.was_reset = True
                self.report.resets += 1

    @torch.no_grad()
    def settle(self, latent: Tensor, velocity: Tensor) -> Tensor | None:
        """After an evaluation: settle the debt of the corrected steps where it was a full pass.

        Args:
            latent, velocity: as for `Settlement.settle`.

        Returns:
            (B, ...) how far the pass's own output is to be moved, as the noise; None where nothing was owed,
            or where memory runs out.
        """
        if self.has_given_up:
            self.settlement.stop()
            return None
        with self.memory_guard():
            moved, off = self.settlement.settle(self.schedule, self.evaluation, latent, velocity.detach())
            if off is not None:
                self.transfer.when_read(off, self.settlement.check_sampler)
            self.note_bytes_held()
            return moved
        return None

    def finish(self) -> RunReport:
        """Read what waits, drop every tensor and hand over the record."""
        self.close_evaluation()
        self.transfer.read_waiting()
        self.mark([])
        self.report.is_finished = True
        self.release()
        return self.report

    @contextmanager
    def memory_guard(self) -> Iterator[None]:
        """Where memory runs out in the block, the run goes on without the cache; other errors pass."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.give_up()

    def give_up(self) -> None:
        """Memory for the cache ran out: free what it holds and go on without it."""
        with self.lock:
            self.has_given_up = True
            self.forget(self.branches)
            self.settlement.stop()
            if self.evaluation is not None:
                self.evaluation.drop_measured()
            self.report.note = say("noMemory")

    def release(self) -> None:
        """Drop every tensor, after a run that ended in any way."""
        self.forget(self.branches)
        self.settlement.release()
        self.transfer.unread.clear()
        self.evaluation = self.rule = None

    @property
    def bytes_held(self) -> int:
        """Bytes that all branches hold, and what the corrected steps owe."""
        return sum(branch.bytes_held for branch in self.branches.values()) + self.settlement.bytes_held

    def placed(self, anchor: Anchor, history: AnchorHistory) -> Anchor:
        """An anchor of a branch where it is to be kept; see `Storage.place`."""
        return self.storage.place(anchor, history, (state.history for state in self.branches.values()))

    def note_bytes_held(self) -> None:
        """Take note of the most bytes held at one time, and whether all found room."""
        self.report.has_spilled = self.storage.has_spilled
        self.report.bytes_held = max(self.report.bytes_held, self.bytes_held)
