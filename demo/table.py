"""The table of the demo, for a terminal and as Markdown."""

from __future__ import annotations

from itertools import pairwise

from demo.measures import PSNR_CAP_DB, Row

HEADINGS = ("method", "blocks", "seconds", "speed-up", "PSNR, dB", "SSIM")


def cells(row: Row) -> tuple[str, ...]:
    """One line of the table, as text."""
    is_identical = row.psnr >= PSNR_CAP_DB
    return (
        row.label,
        f"{row.block_fraction:.2f}",
        f"{row.seconds:.2f}",
        f"{row.speedup:.2f}x",
        "identical" if is_identical else f"{row.psnr:.1f}",
        f"{row.ssim:.4f}",
    )


def plain_table(rows: list[Row]) -> str:
    """Aligned columns, with a line of space between groups."""
    lines = [HEADINGS, *(cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    text = [aligned(HEADINGS, widths), "-" * (sum(widths) + 2 * len(widths) - 2), aligned(lines[1], widths)]
    for before, row in pairwise(rows):
        text += [""] if row.group != before.group else []
        text.append(aligned(cells(row), widths))
    return "\n".join(text)


def aligned(line: tuple[str, ...], widths: list[int]) -> str:
    """The method to the left, numbers to the right."""
    numbers = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
    return "  ".join([line[0].ljust(widths[0]), *numbers]).rstrip()


def markdown_table(rows: list[Row]) -> str:
    """The same as GitHub Markdown, AdaCorrection's lines in bold."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "| --- |" + " ---: |" * (len(HEADINGS) - 1)]
    for row in rows:
        method, *numbers = cells(row)
        method = f"**{method}**" if method.startswith("AdaCorrection") else method
        lines.append(f"| {' | '.join([method, *numbers])} |")
    return "\n".join(lines)
