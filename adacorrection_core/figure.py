"""The record of a run as a picture: what was done at each step, and why.

Lanes on top, one a branch: computed steps are full bars, corrected ones lower and shaded by their weight,
held ones hollow, so that neither colour vision nor print is needed to tell them apart. Below, the error
of a step as expected and as measured, and the risk of each stretch against the tolerance. Needs Pillow.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch import Tensor

from .canvas import DARK, LIGHT, Canvas, Colour, Point, Span, Theme, em_of, nice_step, shade
from .stats import Outcome, RunReport, StepRecord

NARROWEST = 320  # pixels
PANEL_HEIGHT = 8.5  # em; like all lengths here a multiple of the writing's size


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


Lanes = dict[str, list[Cell]]


@dataclass(frozen=True)
class Entry:
    """One line of a key: a mark, drawn into a box, and what it means."""

    mark: Callable[[Canvas, Span, Span], None]
    text: str
    length: float = 0.9


@dataclass(frozen=True)
class Panel:
    """A chart below the lanes, over the same axis of steps; values from 0 to `top`."""

    title: str
    top: float
    key: list[Entry]
    bars: list[tuple[float, float, float, Colour]] = field(default_factory=list)  # start, end, value
    lines: list[tuple[list[Point], Colour]] = field(default_factory=list)  # step, value
    dots: list[tuple[float, float, Colour]] = field(default_factory=list)  # step, value


def draw_timeline(
    report: RunReport, width: int = 1024, height: int | None = None, *, is_dark: bool = True
) -> Tensor:
    """The run as a picture.

    Args:
        report: the record of a run.
        width: pixels, at least 320.
        height: pixels that the charts stretch to. None, or too little, takes what the content needs.
        is_dark: light writing on a dark ground, or the other way round.

    Returns:
        (H, W, 3) in [0, 1], on the CPU.
    """
    lanes, theme, width = arrange(report), DARK if is_dark else LIGHT, max(width, NARROWEST)
    limit = max(height or 0, math.ceil((70 + 3 * len(lanes)) * em_of(width)))
    canvas = Canvas(width, limit, theme)
    draw_headline(canvas, report)
    draw_lanes(canvas, lanes, report.num_steps)
    draw_key(canvas, lane_key(report))
    canvas.y += 0.8 * canvas.em
    panels = [panel for panel in (error_panel(lanes, theme), risk_panel(lanes, theme)) if panel]
    stretched = ((height or 0) - canvas.y) / max(len(panels), 1)
    for panel in panels:
        draw_panel(canvas, panel, report.num_steps, max(stretched, PANEL_HEIGHT * canvas.em))
    return canvas.to_tensor()


def draw_message(title: str, text: str, width: int = 1024, *, is_dark: bool = True) -> Tensor:
    """A few words in place of a timeline, where there was no run to draw.

    Args:
        title: the headline.
        text: what to say; it is wrapped.
        width: pixels, at least 320.
        is_dark: light writing on a dark ground, or the other way round.

    Returns:
        (H, W, 3) in [0, 1], on the CPU.
    """
    theme, width = DARK if is_dark else LIGHT, max(width, NARROWEST)
    most_lines = len(f"{title} {text}".split())
    canvas = Canvas(width, math.ceil((4 + 2 * most_lines) * em_of(width)), theme)
    draw_lines(canvas, [(title, 1.35, theme.alarm), (text, 1.1, theme.text)])
    return canvas.to_tensor()


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


def draw_headline(canvas: Canvas, report: RunReport) -> None:
    """What ran, and the numbers a person asks for."""
    theme = canvas.theme
    numbers = f"{report.block_fraction:.0%} of the block executions, hit rate {report.hit_rate:.0%}"
    setting = report.config_name.replace(",", ", ")  # lines break at spaces, and there may be many changes
    lines = [
        (f"AdaCorrection {setting}", 1.35, theme.text),
        (f"{numbers}, {report.seconds:.2f} s", 1.1, theme.text),
        (f"{report.family}, {report.num_steps} steps", 1.0, theme.muted),
    ]
    if not report.reused:
        lines.append((f"Nothing was reused: {report.why_nothing()}", 1.0, theme.alarm))
    if not report.is_finished:
        lines.append(("The run did not finish.", 1.0, theme.alarm))
    draw_lines(canvas, lines)


def draw_lines(canvas: Canvas, lines: Iterable[tuple[str, float, Colour]]) -> None:
    """Paragraphs, each with its size in em and its colour."""
    em = canvas.em
    for text, size, colour in lines:
        for part in canvas.wrap(text, size):
            canvas.text(1.2 * em, canvas.y + 0.7 * size * em, part, colour, size=size)
            canvas.y += 1.45 * size * em
    canvas.y += 0.6 * em


def draw_lanes(canvas: Canvas, lanes: Lanes, num_steps: int) -> None:
    """One bar a record, and the axis of steps below."""
    em, height = canvas.em, 1.7 * canvas.em
    for branch, cells in lanes.items():
        canvas.text(canvas.left - 0.6 * em, canvas.y + height / 2, branch, canvas.theme.text, anchor="rm")
        for cell in cells:
            left, right = canvas.x(cell.start, num_steps), canvas.x(cell.end, num_steps)
            gap = min(0.1 * em, 0.1 * (right - left))
            draw_bar(canvas, cell.record, (left + gap, right - gap), (canvas.y, canvas.y + height))
        canvas.y += height + 0.4 * em
    draw_steps(canvas, num_steps)


def draw_bar(canvas: Canvas, record: StepRecord, x: Span, y: Span) -> None:
    """The bar of a record: full, lower and shaded, or lower and hollow."""
    theme, lower = canvas.theme, (y[0] + 0.35 * (y[1] - y[0]), y[1])
    if record.outcome is Outcome.COMPUTE:
        canvas.box(x, y, theme.computed)
    elif record.outcome is Outcome.CORRECT:
        canvas.box(x, lower, shade(theme, record.weight or 0.0))
    else:
        canvas.frame(x, lower, theme.muted)


def draw_steps(canvas: Canvas, num_steps: int) -> None:
    """Numbers of the steps, from 1, as many as fit."""
    em, y = canvas.em, canvas.y + 0.5 * canvas.em
    every = round(nice_step(max(1.0, 3.0 * em / (canvas.x(1, num_steps) - canvas.left))))
    numbers = {*range(every, num_steps + 1, every)} | ({1} if every > 2 else set())
    canvas.text(canvas.left - 0.6 * em, y, "step", canvas.theme.muted, anchor="rm")
    for number in numbers:
        canvas.text(canvas.x(number - 0.5, num_steps), y, str(number), canvas.theme.muted, anchor="mm")
    canvas.y += 1.9 * em


def lane_key(report: RunReport) -> list[Entry]:
    """What the bars mean, and how many there are of each."""
    counts = Counter(record.outcome for record in report.records)
    texts = {
        Outcome.COMPUTE: f"computed {counts[Outcome.COMPUTE]}",
        Outcome.CORRECT: f"corrected {counts[Outcome.CORRECT]}, weight 0 to 1",
        Outcome.HOLD: f"held {counts[Outcome.HOLD]}",
    }
    lengths = {Outcome.CORRECT: 4.0}
    return [Entry(bar_mark(outcome), text, lengths.get(outcome, 0.9)) for outcome, text in texts.items()]


def bar_mark(outcome: Outcome) -> Callable[[Canvas, Span, Span], None]:
    """The mark of an outcome; that of a correction shows every weight."""
    pieces = 12 if outcome is Outcome.CORRECT else 1

    def mark(canvas: Canvas, x: Span, y: Span) -> None:
        width = (x[1] - x[0]) / pieces
        for i in range(pieces):
            record = StepRecord(0, 0, 0.0, "", outcome, weight=i / 11)
            draw_bar(canvas, record, (x[0] + i * width, x[0] + (i + 1) * width), y)

    return mark


def line_mark(colour: Colour) -> Callable[[Canvas, Span, Span], None]:
    """The mark of a line."""
    return lambda canvas, x, y: canvas.line([(x[0], sum(y) / 2), (x[1], sum(y) / 2)], colour)


def dot_mark(colour: Colour) -> Callable[[Canvas, Span, Span], None]:
    """The mark of single measurements."""
    return lambda canvas, x, y: canvas.dot(sum(x) / 2, sum(y) / 2, colour)


def draw_key(canvas: Canvas, entries: Iterable[Entry], x: float | None = None) -> None:
    """Marks and their meaning, in as many rows as it takes."""
    em, place = canvas.em, canvas.left if x is None else x
    for entry in entries:
        length = (entry.length + 0.5) * em + canvas.text_width(entry.text)
        if place > canvas.left and place + length > canvas.right:
            place, canvas.y = canvas.left, canvas.y + 1.6 * em
        entry.mark(canvas, (place, place + entry.length * em), (canvas.y, canvas.y + 1.1 * em))
        canvas.text(place + (entry.length + 0.5) * em, canvas.y + 0.6 * em, entry.text, canvas.theme.text)
        place += length + 1.4 * em
    canvas.y += 1.6 * em


def error_panel(lanes: Lanes, theme: Theme) -> Panel | None:
    """Expected against measured error; None where neither was looked at."""
    cells = [cell for lane in lanes.values() for cell in lane]
    measured = [(c.middle, c.record.measured_error) for c in cells if c.record.measured_error is not None]
    expected = [
        [(c.middle, c.record.expected_error) for c in lane if c.record.expected_error is not None]
        for lane in lanes.values()
    ]
    values = [value for _, value in [*measured, *(point for lane in expected for point in lane)]]
    if not values or max(values) <= 0:
        return None
    key = [
        Entry(line_mark(theme.weight_1), "expected", 1.5),
        Entry(dot_mark(theme.computed), "measured, at computed steps"),
    ]
    lines = [(lane, theme.weight_1) for lane in expected]
    return Panel(
        "Error of a step",
        max(values),
        key,
        lines=lines,
        dots=[(*place, theme.computed) for place in measured],
    )


def risk_panel(lanes: Lanes, theme: Theme) -> Panel | None:
    """Risk of each stretch of reused steps against the tolerance; None where nothing was reused."""
    cells = max(lanes.values(), key=len, default=[])
    reused = [cell for cell in cells if cell.record.outcome is not Outcome.COMPUTE]
    highest = max((cell.record.risk for cell in reused), default=0.0)
    if highest <= 0:
        return None
    bounds = [cell for cell in cells if 0 < cell.record.tolerance < math.inf]
    # A budget may let go of the tolerance at the end; the risks shall still be seen then.
    top = max(highest, min(max((cell.record.tolerance for cell in bounds), default=0.0), 2.5 * highest))
    key = [
        Entry(lambda canvas, x, y: canvas.box(x, y, theme.weight_1), "risk of the stretch"),
        Entry(line_mark(theme.alarm), "tolerance", 1.5),
    ]
    bars = [(cell.start, cell.end, cell.record.risk, theme.weight_1) for cell in reused]
    lines = [(steps_of(run, top), theme.alarm) for run in unbroken(bounds)]
    return Panel("Risk", top, key, bars=bars, lines=lines)


def unbroken(cells: list[Cell]) -> list[list[Cell]]:
    """Cells in runs without a gap between them."""
    runs: list[list[Cell]] = []
    for cell in cells:
        if runs and abs(runs[-1][-1].end - cell.start) < 1e-6:
            runs[-1].append(cell)
        else:
            runs.append([cell])
    return runs


def steps_of(cells: list[Cell], top: float) -> list[Point]:
    """The tolerance of adjoining cells as a staircase, cut at `top`."""
    values = [(cell, min(cell.record.tolerance, top)) for cell in cells]
    return [(place, value) for cell, value in values for place in (cell.start, cell.end)]


def draw_panel(canvas: Canvas, panel: Panel, num_steps: int, height: float) -> None:
    """A chart with its title and key, `height` pixels in all."""
    em, theme = canvas.em, canvas.theme
    floor = canvas.y + height - 1.0 * em
    canvas.text(1.2 * em, canvas.y + 0.6 * em, panel.title, theme.text)
    draw_key(canvas, panel.key, max(canvas.left, 2.4 * em + canvas.text_width(panel.title)))
    ceiling = canvas.y + 0.5 * em

    def place(step: float, value: float) -> Point:
        return canvas.x(step, num_steps), floor - (floor - ceiling) * min(value / panel.top, 1.0)

    every = nice_step(panel.top / 4)
    for i in range(math.floor(panel.top / every + 1e-9) + 1):
        y = place(0, i * every)[1]
        canvas.line([(canvas.left, y), (canvas.right, y)], theme.grid, 0.06)
        canvas.text(canvas.left - 0.6 * em, y, f"{i * every:g}", theme.muted, anchor="rm")
    for start, end, value, colour in panel.bars:
        (left, y), (right, _) = place(start + 0.1 * (end - start), value), place(end - 0.1 * (end - start), 0)
        canvas.box((left, right), (y, floor), colour)
    for points, colour in panel.lines:
        canvas.line([place(*point) for point in points], colour)
    for step, value, colour in panel.dots:
        canvas.dot(*place(step, value), colour)
    canvas.y = floor + 1.0 * em
