"""The record of a run as a picture: the numbers, what was done at each step, and why. Needs Pillow."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor

from .canvas import DARK, LIGHT, Canvas, Colour, draw_key, em_of
from .charts import draw_chart, error_chart, risk_chart
from .heat_map import arrange, draw_lanes, gutter, lane_key, rows_of
from .stats import RunReport

NARROWEST, WIDEST = 320, 2048  # pixels
CHART_HEIGHT = 9.5  # em


def draw_timeline(
    report: RunReport, width: int = 1024, height: int | None = None, *, is_dark: bool = True
) -> Tensor:
    """The run as a picture.

    Args:
        report: the record of a run.
        width: pixels, 320 to 2048.
        height: pixels that the charts stretch to. None, or too little, takes what the content needs.
        is_dark: light writing on a dark ground, or the other way round.

    Returns:
        (H, W, 3) in [0, 1], on the CPU.
    """
    lanes, theme, width = arrange(report), DARK if is_dark else LIGHT, min(max(width, NARROWEST), WIDEST)
    limit = max(height or 0, math.ceil((76 + 6 * len(lanes)) * em_of(width)))
    canvas, rows = Canvas(width, limit, theme), rows_of(report)
    canvas.left = max(canvas.left, gutter(canvas, lanes, rows))
    draw_headline(canvas, report)
    draw_lanes(canvas, lanes, rows, report.num_steps)
    draw_key(canvas, lane_key(report), 1.2 * canvas.em)
    canvas.y += 0.9 * canvas.em
    charts = [chart for chart in (error_chart(lanes, theme), risk_chart(lanes, theme)) if chart]
    stretched = ((height or 0) - canvas.y) / max(len(charts), 1)
    for chart in charts:
        draw_chart(canvas, chart, report.num_steps, max(stretched, CHART_HEIGHT * canvas.em))
    return canvas.to_tensor()


def draw_message(title: str, text: str, width: int = 1024, *, is_dark: bool = True) -> Tensor:
    """A few words in place of a timeline, where there was no run to draw.

    Args:
        title: the headline.
        text: what to say; it is wrapped.
        width: pixels, 320 to 2048.
        is_dark: light writing on a dark ground, or the other way round.

    Returns:
        (H, W, 3) in [0, 1], on the CPU.
    """
    theme, width = DARK if is_dark else LIGHT, min(max(width, NARROWEST), WIDEST)
    most_lines = len(f"{title} {text}".split())
    canvas = Canvas(width, math.ceil((4 + 2 * most_lines) * em_of(width)), theme)
    draw_lines(canvas, [(title, 1.35, theme.alarm), (text, 1.1, theme.text)])
    return canvas.to_tensor()


def draw_headline(canvas: Canvas, report: RunReport) -> None:
    """What ran, and the numbers a person asks for."""
    theme = canvas.theme
    setting = report.config_name.replace(",", ", ")  # lines break at spaces, and there may be many changes
    draw_lines(
        canvas,
        [
            (f"AdaCorrection {setting}", 1.35, theme.text),
            (f"{report.family}, {report.num_steps} steps", 1.0, theme.muted),
        ],
    )
    draw_numbers(canvas, report)
    notes = [report.note] if report.note else []
    if not report.reused:
        notes.append(f"Nothing was reused: {report.why_nothing()}")
    if not report.is_finished:
        notes.append("The run did not finish.")
    if notes:
        draw_lines(canvas, [(note, 1.0, theme.alarm) for note in notes])


def draw_numbers(canvas: Canvas, report: RunReport) -> None:
    """The three numbers of a run, large, each over what it means."""
    em, theme = canvas.em, canvas.theme
    numbers = [
        (f"{1 - report.block_fraction:.0%}", "of the blocks saved"),
        (f"{report.hit_rate:.0%}", "of the steps reused"),
        (
            f"{report.seconds:.2f} s",
            f"about {report.seconds_saved:.2f} s saved" if report.reused else "in all",
        ),
    ]
    third = (canvas.right - 1.2 * em) / len(numbers)
    for i, (number, meaning) in enumerate(numbers):
        x = 1.2 * em + i * third
        canvas.text(x, canvas.y + 0.9 * em, number, theme.text, size=2.0)
        canvas.text(x, canvas.y + 2.5 * em, meaning, theme.muted)
    canvas.y += 4.1 * em


def draw_lines(canvas: Canvas, lines: Iterable[tuple[str, float, Colour]]) -> None:
    """Paragraphs, each with its size in em and its colour."""
    em = canvas.em
    for text, size, colour in lines:
        for part in canvas.wrap(text, size):
            canvas.text(1.2 * em, canvas.y + 0.7 * size * em, part, colour, size=size)
            canvas.y += 1.45 * size * em
    canvas.y += 0.6 * em
