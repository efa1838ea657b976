"""Charts below the heat map, over the same axis of steps: drift and error, risk against the tolerance.

Needs Pillow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from .canvas import Canvas, Colour, Entry, Point, Span, Theme, draw_key, nice_step
from .heat_map import Cell, Lanes
from .stats import Outcome, StepRecord


@dataclass(frozen=True)
class Chart:
    """A chart over the axis of steps; values from 0 to `top`."""

    title: str
    top: float
    key: list[Entry]
    bars: list[tuple[float, float, float, Colour]] = field(default_factory=list)  # start, end, value
    lines: list[tuple[list[Point], Colour]] = field(default_factory=list)  # step, value
    dots: list[tuple[float, float, Colour]] = field(default_factory=list)  # step, value


def line_mark(colour: Colour) -> Callable[[Canvas, Span, Span], None]:
    """The mark of a line."""
    return lambda canvas, x, y: canvas.line([(x[0], sum(y) / 2), (x[1], sum(y) / 2)], colour)


def dot_mark(colour: Colour) -> Callable[[Canvas, Span, Span], None]:
    """The mark of single measurements."""
    return lambda canvas, x, y: canvas.dot(sum(x) / 2, sum(y) / 2, colour)


def error_chart(lanes: Lanes, theme: Theme) -> Chart | None:
    """Drift as it was decided by, expected and measured error; None where none was looked at."""
    cells = [cell for lane in lanes.values() for cell in lane]
    measured = [(c.middle, c.record.measured_error) for c in cells if c.record.measured_error is not None]
    expected = curves(lanes, lambda record: record.expected_error)
    drift = curves(lanes, lambda record: record.drift)
    values = [value for _, value in [*measured, *(point for lane in [*expected, *drift] for point in lane)]]
    if not values or max(values) <= 0:
        return None
    key = [
        Entry(line_mark(theme.muted), "drift", 1.2),
        Entry(line_mark(theme.weight_1), "error expected", 1.2),
        Entry(dot_mark(theme.computed), "measured"),
    ]
    lines = [(lane, theme.muted) for lane in drift] + [(lane, theme.weight_1) for lane in expected]
    dots = [(*place, theme.computed) for place in measured]
    return Chart("Drift and error", max(values), key, lines=lines, dots=dots)


def curves(lanes: Lanes, value_of: Callable[[StepRecord], float | None]) -> list[list[Point]]:
    """A value of each branch over the steps at which it was looked at."""
    both = [[(cell.middle, value_of(cell.record)) for cell in lane] for lane in lanes.values()]
    found = [[(step, value) for step, value in lane if value is not None] for lane in both]
    return [lane for lane in found if lane]


def risk_chart(lanes: Lanes, theme: Theme) -> Chart | None:
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
        Entry(lambda canvas, x, y: canvas.box(x, y, theme.weight_1), "what a stretch adds up"),
        Entry(line_mark(theme.alarm), tolerance_text(bounds), 1.2),
    ]
    bars = [(cell.start, cell.end, cell.record.risk, theme.weight_1) for cell in reused]
    lines = [(steps_of(run, top), theme.alarm) for run in unbroken(bounds)]
    return Chart("Risk", top, key, bars=bars, lines=lines)


def tolerance_text(bounds: list[Cell]) -> str:
    """What the line is, with its value where there is only one."""
    values = {cell.record.tolerance for cell in bounds}
    return f"tolerance {values.pop():g}" if len(values) == 1 else "tolerance"


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


def draw_chart(canvas: Canvas, chart: Chart, num_steps: int, height: float) -> None:
    """A chart with its title and key, `height` pixels in all."""
    em, theme = canvas.em, canvas.theme
    floor = canvas.y + height - 1.0 * em
    canvas.text(1.2 * em, canvas.y + 0.6 * em, chart.title, theme.text)
    draw_key(canvas, chart.key, max(canvas.left, 2.4 * em + canvas.text_width(chart.title)))
    ceiling = canvas.y + 0.6 * em

    def place(step: float, value: float) -> Point:
        return canvas.x(step, num_steps), floor - (floor - ceiling) * min(value / chart.top, 1.0)

    every = nice_step(chart.top / 5)
    for i in range(math.floor(chart.top / every + 1e-9) + 1):
        y = place(0, i * every)[1]
        canvas.line([(canvas.left, y), (canvas.right, y)], theme.grid, 0.06)
        canvas.text(canvas.left - 0.6 * em, y, f"{i * every:g}", theme.muted, anchor="rm")
    for start, end, value, colour in chart.bars:
        (left, y), (right, _) = place(start + 0.1 * (end - start), value), place(end - 0.1 * (end - start), 0)
        canvas.box((left, right), (y, floor), colour)
    for points, colour in chart.lines:
        canvas.line([place(*point) for point in points], colour)
    for step, value, colour in chart.dots:
        canvas.dot(*place(step, value), colour)
    canvas.y = floor + 1.0 * em
