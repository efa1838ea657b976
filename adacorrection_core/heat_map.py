"""What was done to which blocks at each step: one lane a branch, the probe on top, groups of blocks below.

Heights go by the number of blocks, so that the orange area is the work that was done. Computed steps are
full columns; corrected ones are lower and shaded by their weight, held ones lower and hollow, so that neither
colour vision nor print is needed to tell them apart. Where a step was corrected after a look at the probe,
the probe alone is orange. Needs Pillow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from .canvas import Canvas, Entry, Span, nice_step, shade
from .stats import Outcome, RunReport, StepRecord

LANE_HEIGHT = 2.9  # em; like all lengths here a multiple of the writing's size
LEAST_HEIGHT = 0.32  # em, of the probe and of a group, however few blocks they have
GROUP_LABEL = 0.85  # em


@dataclass(frozen=True)
class Cell:
    """A record and its place on the axis: a step is 1 wide, and evaluations of one step share that."""

    start: float
    end: float
    record: StepRecord

    @property
    def middle(self) -> float:
        """Where its marks go."""
        return (self.start + self.end) / 2


@dataclass(frozen=True)
class Row:
    """A group of blocks within a lane; top and bottom in em from the top of the lane."""

    label: str
    top: float
    bottom: float
    is_probe: bool = False


Lanes = dict[str, list[Cell]]


def arrange(report: RunReport) -> Lanes:
    """The records by branch, each at its place in its step."""
    steps: dict[str, dict[int, list[StepRecord]]] = defaultdict(lambda: defaultdict(list))
    for record in report.records:
        steps[record.branch][record.step_index].append(record)
    return {
        branch: [
            Cell(step + i / len(records), step + (i + 1) / len(records), record)
            for step, records in sorted(by_step.items())
            for i, record in enumerate(records)
        ]
        for branch, by_step in sorted(steps.items())
    }


def probe_of(report: RunReport) -> int:
    """Blocks that ran at the steps corrected after a look at them; 0 where there was no such step."""
    return max((record.blocks_run for record in report.reused), default=0)


def rows_of(report: RunReport) -> list[Row]:
    """The probe and the groups of blocks behind it, from the top down."""
    probe, total = probe_of(report), max((record.blocks_total for record in report.records), default=0)
    counts, passed = [("", probe)] if probe else [], 0
    for name, count in report.groups or (("blocks", total),):
        behind = count - min(max(probe - passed, 0), count)
        counts += [(f"{name} {count}", behind)] if behind else []
        passed += count
    rows, top = [], 0.0
    for label, count in counts:
        bottom = top + max(LANE_HEIGHT * count / max(passed, 1), LEAST_HEIGHT)
        rows.append(Row(label, top, bottom, is_probe=not label))
        top = bottom
    return rows


def gutter(canvas: Canvas, lanes: Lanes, rows: list[Row]) -> float:
    """Room in pixels that the names of branches and groups take, left of the lanes."""
    branches = max((canvas.text_width(branch) for branch in lanes), default=0.0)
    groups = max((canvas.text_width(row.label, GROUP_LABEL) for row in rows), default=0.0)
    return 1.2 * canvas.em + branches + 0.8 * canvas.em + groups + 0.6 * canvas.em


def draw_lanes(canvas: Canvas, lanes: Lanes, rows: list[Row], num_steps: int) -> None:
    """One lane a branch, and the axis of steps below."""
    em = canvas.em
    for branch, cells in lanes.items():
        top = canvas.y
        for label in label_places(rows):
            y = top + (label.top + label.bottom) / 2 * em
            canvas.text(canvas.left - 0.6 * em, y, label.label, canvas.theme.muted, size=0.85, anchor="rm")
        middle = top + (rows[-1].bottom if rows else LANE_HEIGHT) / 2 * em
        canvas.text(1.2 * em, middle, branch, canvas.theme.text)
        for cell in cells:
            left, right = canvas.x(cell.start, num_steps), canvas.x(cell.end, num_steps)
            gap = min(0.08 * em, 0.1 * (right - left))
            draw_column(canvas, cell.record, rows, (left + gap, right - gap), top)
        canvas.y = top + ((rows[-1].bottom if rows else 0) + 0.7) * em
    draw_steps(canvas, num_steps)


def label_places(rows: list[Row]) -> list[Row]:
    """Rows with a label, moved apart where they are too low for their writing."""
    placed: list[Row] = []
    for row in (row for row in rows if row.label):
        middle = (row.top + row.bottom) / 2
        if placed:
            middle = max(middle, (placed[-1].top + placed[-1].bottom) / 2 + 1.05 * GROUP_LABEL)
        placed.append(Row(row.label, middle, middle))
    return placed


def draw_column(canvas: Canvas, record: StepRecord, rows: list[Row], x: Span, top: float) -> None:
    """One evaluation of a branch: a full column, or the probe, if it ran, over what was done to the rest."""
    em = canvas.em
    if record.outcome is Outcome.COMPUTE:
        canvas.box(x, (top, top + (rows[-1].bottom if rows else LANE_HEIGHT) * em), canvas.theme.computed)
        return
    for row in rows:
        has_run = row.is_probe and record.blocks_run > 0
        draw_cell(canvas, record, has_run, x, (top + row.top * em, top + row.bottom * em))


def draw_cell(canvas: Canvas, record: StepRecord, is_computed: bool, x: Span, y: Span) -> None:
    """The blocks of one group at one evaluation."""
    theme = canvas.theme
    lower = (y[0] + min(0.16 * canvas.em, 0.3 * (y[1] - y[0])), y[1])
    if is_computed or record.outcome is Outcome.COMPUTE:
        canvas.box(x, y, theme.computed)
    elif record.outcome is Outcome.CORRECT:
        canvas.box(x, lower, shade(theme, record.weight or 0.0))
    else:
        canvas.frame(x, lower, theme.muted)


def draw_steps(canvas: Canvas, num_steps: int) -> None:
    """Numbers of the steps, from 1, as many as fit."""
    em, y = canvas.em, canvas.y + 0.2 * canvas.em
    every = round(nice_step(max(1.0, 3.0 * em / (canvas.x(1, num_steps) - canvas.left))))
    numbers = {*range(every, num_steps + 1, every)} | ({1} if every > 2 else set())
    canvas.text(1.2 * em, y, "step", canvas.theme.muted)
    for number in numbers:
        canvas.text(canvas.x(number - 0.5, num_steps), y, str(number), canvas.theme.muted, anchor="mm")
    canvas.y += 1.6 * em


def lane_key(report: RunReport) -> list[Entry]:
    """What the columns mean, and how many there are of each."""
    counts, _ = report.counts()
    texts = {
        Outcome.COMPUTE: f"computed {counts[Outcome.COMPUTE]}",
        Outcome.CORRECT: f"corrected {counts[Outcome.CORRECT]}, weight 0 to 1",
        Outcome.HOLD: f"held {counts[Outcome.HOLD]}",
    }
    lengths = {Outcome.CORRECT: 4.0}
    shown = [outcome for outcome in texts if counts[outcome] or outcome is Outcome.COMPUTE]
    entries = [Entry(cell_mark(outcome), texts[outcome], lengths.get(outcome, 0.9)) for outcome in shown]
    return [*entries, Entry(probe_mark, "probe, where it was asked")] if probe_of(report) else entries


def probe_mark(canvas: Canvas, x: Span, y: Span) -> None:
    """The mark of the probe: as low as it is in the lanes."""
    canvas.box(x, (y[1] - LEAST_HEIGHT * canvas.em, y[1]), canvas.theme.computed)


def cell_mark(outcome: Outcome) -> Callable[[Canvas, Span, Span], None]:
    """The mark of an outcome; that of a correction shows every weight."""
    pieces = 12 if outcome is Outcome.CORRECT else 1

    def mark(canvas: Canvas, x: Span, y: Span) -> None:
        width = (x[1] - x[0]) / pieces
        for i in range(pieces):
            record = StepRecord(0, 0, 0.0, "", outcome, weight=i / 11)
            draw_cell(canvas, record, False, (x[0] + i * width, x[0] + (i + 1) * width), y)

    return mark
