"""All that is mutable, made fresh for a run and never reset."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .anchors import CacheSize, is_out_of_memory
from .budget import Budget
from .config import CorrectionConfig
from .correction import WeightPosterior
from .corrector import Corrector
from .drift import probe_drift
from .evaluation import BranchState, Evaluation, guided_gram
from .risk import ErrorModel, Schedule
from .rules import FullPass, OutputRule, RiskRule, Rule
from .sentences import say
from .settlement import Settlement
from .stats import Reason, RunReport, StepRecord

STALE_EVALUATIONS = 4
# Error over drift before anything is measured: what the first steps of trained models show under guidance.
FIRST_TIME_RATIO = 12.0
FIRST_PROBE_RATIO = 4.0


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
        is_offloaded: whether the anchors are kept in RAM.
        has_given_up: whether memory ran out for the cache, so that all calls are left to the host.
        lock: held while state that the calls share changes: several devices may work on one run.
        observer: hears of the records of each model call when it is over.
    """

    config: CorrectionConfig
    schedule: Schedule
    report: RunReport
    cfg: float | None = None
    rule: Rule | None = None
    is_correcting: bool = True
    is_offloaded: bool = False
    has_given_up: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)
    observer: Callable[[list[StepRecord]], object] | None = None
    branches: dict[Hashable, BranchState] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    settlement: Settlement = field(init=False)
    time_error: ErrorModel = field(default_factory=lambda: ErrorModel(FIRST_TIME_RATIO))
    probe_error: ErrorModel = field(default_factory=lambda: ErrorModel(FIRST_PROBE_RATIO))
    posterior: WeightPosterior = field(default_factory=WeightPosterior)
    lag: int = 1
    marked: list[StepRecord] = field(default_factory=list)
    marked_at: float = 0.0
    unread: list[tuple[Tensor, Callable[[list[float]], object]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.is_offloaded = self.is_offloaded or self.config.cache_placement == "offload"
        self.settlement = Settlement(self.schedule)

    @property
    def corrector(self) -> Corrector:
        """The debt of the corrected steps."""
        return self.settlement.corrector

    def expect(self, sizes: Sequence[CacheSize], fits: Callable[[int], bool]) -> int:
        """Decide where the anchors are kept, once it is known what the run will hold.

        Args:
            sizes: of each branch.
            fits: whether so many bytes fit on the device beside all else.

        Returns:
            bytes that the cache will take on the device.
        """
        anchors = sum(size.bytes_held for size in sizes)
        is_settling = self.is_correcting and self.corrector.is_active
        settlement = max((size.settlement_bytes(is_settling) for size in sizes), default=0)
        held = anchors + settlement
        if self.config.cache_placement == "auto":
            self.is_offloaded = not fits(held)
        self.report.bytes_expected, self.report.is_offloaded = held, self.is_offloaded
        return settlement if self.is_offloaded else held  # what is needed at each step stays on the device

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
        self.schedule = self.settlement.schedule = schedule
        self.report.num_steps = schedule.num_steps
        if isinstance(self.rule, RiskRule):
            if self.rule.budget is not None and self.report.note == self.rule.budget.note:
                self.report.note = ""
            self.rule.schedule, self.rule.budget = schedule, self.budget()

    def enter_evaluation(self, sigma: float, keys: list[Hashable]) -> Evaluation:
        """The evaluation that a call belongs to: a new one at another sigma, or when a branch comes again."""
        current = self.evaluation
        if current is None or current.sigma != sigma or not current.seen.isdisjoint(keys):
            self.close_evaluation()
            index = 0 if current is None else current.index + 1
            current = Evaluation(index, self.schedule.step_index(sigma), sigma)
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
        for key in stale:
            if key not in keys:
                del self.branches[key]

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
        if evaluation.measurements:
            with self.memory_guard():
                numbers = [guided_gram(evaluation.measurements, self.cfg).reshape(-1)]
                numbers += [look.to(numbers[0].device) for look in evaluation.probe_looks]
                self.when_read(torch.cat(numbers), lambda values: self.observe(evaluation, values, lag))
        evaluation.drop_measurements()

    def observe(self, evaluation: Evaluation, values: list[float], lag: int = 1) -> None:
        """Learn from truth against forecast.

        Args:
            evaluation: a computed one.
            values: the (3, 3) inner products of [v, v - v_1, f - v_1], then squared size and movement of the
                probe, for each branch that has one.
            lag: evaluations since the full pass before it.
        """
        size, moved, agreement, reach = values[0], values[4], values[5], values[8]
        weight = evaluation.weight
        squared = moved - 2 * weight * agreement + weight**2 * reach
        if not size > 0 or not squared < float("inf"):
            return
        if isinstance(self.rule, OutputRule):
            norm_before = max(size - 2 * values[1] + moved, 0.0) ** 0.5
            self.rule.measured(FullPass(size**0.5, norm_before, max(moved, 0.0) ** 0.5, lag))
        error = max(squared / size, 0.0) ** 0.5
        self.time_error.observe(error, evaluation.time_drift)
        probe = values[9:]
        if probe:
            self.probe_error.observe(error, probe_drift(probe))
        if reach > 0:
            self.posterior.observe(agreement / reach)
        for record in evaluation.records:
            record.measured_error = error

    def settle(self, latent: Tensor, velocity: Tensor) -> Tensor | None:
        """After an evaluation: settle the debt of the corrected steps where it was a full pass.

        Args:
            latent, velocity: as for `Settlement.settle`.

        Returns:
            (B, ...) by how much the shift has grown; None where nothing was owed, or where memory runs out.
        """
        if self.has_given_up:
            self.settlement.stop()
            return None
        with self.memory_guard():
            owed, off = self.settlement.settle(self.evaluation, latent, velocity)
            if off is not None:
                self.when_read(off, self.settlement.check_sampler)
            self.note_bytes_held()
            return owed
        return None

    def when_read(self, numbers: Tensor | float, callback: Callable[[list[float]], object]) -> None:
        """Hand numbers to a callback when they are next brought to the host; at once where they are there."""
        if isinstance(numbers, Tensor):
            self.unread.append((numbers, callback))
        else:
            callback([numbers])

    def read(self, sigma: Tensor | float, numbers: Tensor | None = None) -> tuple[float, list[float]]:
        """Bring a call's noise level and numbers to the host, with all that waited.

        This is the one place that waits for the device: once a model call, and once more where the decision
        hangs on the probe.

        Args:
            sigma: noise level, any shape with the level first.
            numbers: any shape.

        Returns:
            the noise level, and the values of `numbers`, flat.
        """
        parts: list[list[float]] = []
        self.when_read(sigma, parts.append)
        if numbers is not None:
            self.unread.append((numbers, parts.append))
        self.read_waiting()
        sigmas = parts[0]
        return sigmas[0], parts[1] if len(parts) > 1 else []

    def read_waiting(self) -> None:
        """Transfer everything unread at once and hand it out in order."""
        waiting, self.unread = self.unread, []
        if not waiting:
            return
        device = waiting[-1][0].device
        flat = [tensor.reshape(-1).to(device, torch.float32) for tensor, _ in waiting]
        values: list[float] = torch.cat(flat).tolist()
        start = 0
        for tensor, callback in waiting:
            callback(values[start : start + tensor.nelement()])
            start += tensor.nelement()

    def finish(self) -> RunReport:
        """Read what waits, drop every tensor and hand over the record."""
        self.close_evaluation()
        self.read_waiting()
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
        self.has_given_up = True
        self.branches.clear()
        self.settlement.stop()
        if self.evaluation is not None:
            self.evaluation.drop_measurements()
        self.report.note = say("noMemory")

    def release(self) -> None:
        """Drop every tensor, after a run that ended in any way."""
        self.branches.clear()
        self.settlement.release()
        self.unread.clear()
        self.evaluation = self.rule = None

    @property
    def bytes_held(self) -> int:
        """Bytes that all branches hold, and what the corrected steps owe."""
        return sum(branch.bytes_held for branch in self.branches.values()) + self.settlement.bytes_held

    def note_bytes_held(self) -> None:
        """Take note of the most bytes held at one time."""
        self.report.bytes_held = max(self.report.bytes_held, self.bytes_held)
