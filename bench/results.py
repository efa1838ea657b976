"""What the bench measured: rows, fidelity at equal block executions, table, JSON and plot."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median, stdev

from scipy.stats import spearmanr

from bench.frechet import FEATURES, frechet_distance


@dataclass(frozen=True)
class Sample:
    """One picture against the full run with the same seed: PSNR in dB of latent and picture, SSIM, cost.

    `truth_psnr` is of the latent against the truth; `features` and `full_features` are those of this picture
    and of the full run's.
    """

    latent_psnr: float
    psnr: float
    ssim: float
    block_fraction: float
    seconds: float
    full_seconds: float
    bytes_held: int | None
    risk: float | None
    error: float
    truth_psnr: float | None = None
    features: list[float] | None = None
    full_features: list[float] | None = None


@dataclass(frozen=True)
class Row:
    """A method at one setting over all pictures: means, the spread of the PSNR, medians of what was timed."""

    model: str
    method: str
    value: str
    block_fraction: float
    latent_psnr: float
    spread: float
    psnr: float
    ssim: float
    speedup: float
    bytes_held: int | None
    pictures: int
    truth_psnr: float | None = None
    frechet: float | None = None
    relative_l2: float | None = None


def make_row(model: str, method: str, value: str, samples: Sequence[Sample]) -> Row:
    """The line of the table that a method's pictures come to."""
    psnrs = [s.latent_psnr for s in samples]
    held = [s.bytes_held for s in samples if s.bytes_held is not None]
    return Row(
        model,
        method,
        value,
        fmean(s.block_fraction for s in samples),
        fmean(psnrs),
        stdev(psnrs) if len(psnrs) > 1 else 0.0,
        fmean(s.psnr for s in samples),
        fmean(s.ssim for s in samples),
        median(s.full_seconds / s.seconds for s in samples),
        max(held) if held else None,
        len(samples),
        fmean(truths) if (truths := [s.truth_psnr for s in samples if s.truth_psnr is not None]) else None,
        frechet(samples),
        fmean(s.error for s in samples),
    )


def frechet(samples: Sequence[Sample]) -> float | None:
    """Frechet distance of a method's pictures and the full run's; None where there are too few for one."""
    own = [s.features for s in samples if s.features]
    full = [s.full_features for s in samples if s.full_features]
    return frechet_distance(own, full) if len(own) > FEATURES and len(own) == len(full) else None


def fidelity_at(rows: Sequence[Row], fraction: float, measure: str = "latent_psnr") -> float:
    """Fidelity of a method at a share of block executions, between its settings; NaN outside of them.

    Only settings that no other of the method beats at less work count.

    Args:
        rows: of the method.
        fraction: of block executions.
        measure: "latent_psnr", against the full run, or "truth_psnr".
    """
    points = [(row.block_fraction, getattr(row, measure)) for row in rows]
    front: list[tuple[float, float]] = []
    for work, fidelity in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or fidelity > front[-1][1]:
            front.append((work, fidelity))
    for below, above in zip(front, front[1:], strict=False):
        if below[0] <= fraction <= above[0]:
            share = (fraction - below[0]) / (above[0] - below[0])
            return below[1] + share * (above[1] - below[1])
    return math.nan


def by_method(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of each method, in the order in which they came."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.method, []).append(row)
    return found


def number(value: float | None, form: str) -> str:
    """A number as a cell of a table."""
    return "-" if value is None else format(value, form)


def table(rows: Sequence[Row]) -> str:
    """All rows, in GitHub Markdown."""
    lines = [
        "| method | setting | blocks | latent PSNR, dB | spread | relative L2 "
        "| PSNR, dB | SSIM | speed-up | bytes held |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        latent = (
            f"{r.block_fraction:.3f} | {r.latent_psnr:.1f} | {r.spread:.1f} | {number(r.relative_l2, '.1e')}"
        )
        cost = f"{r.speedup:.2f}x | {number(r.bytes_held, 'd')}"
        lines.append(f"| {r.method} | {r.value} | {latent} | {r.psnr:.1f} | {r.ssim:.4f} | {cost} |")
    return "\n".join(lines)


def equal_work_table(rows: Sequence[Row], fractions: Sequence[float], measure: str = "latent_psnr") -> str:
    """Fidelity of each method at equal block executions, in GitHub Markdown. See `fidelity_at`."""
    head = " | ".join(f"{fraction:.0%}" for fraction in fractions)
    against = "to the truth, " if measure == "truth_psnr" else ""
    lines = [f"| latent PSNR, dB, {against}at | {head} |", "| --- |" + " ---: |" * len(fractions)]
    for method, of_method in by_method(rows).items():
        cells = [fidelity_at(of_method, fraction, measure) for fraction in fractions]
        words = ["-" if math.isnan(cell) else f"{cell:.1f}" for cell in cells]
        if set(words) != {"-"}:
            lines.append(f"| {method} | {' | '.join(words)} |")
    return "\n".join(lines)


def paired_table(rows: Sequence[Row], fractions: Sequence[float], suffix: str) -> str:
    """Each base method without and with the correction at equal block executions, and the difference.

    Args:
        rows: of all methods; a name with `suffix` behind it is the corrected one.
        fractions: of block executions.
        suffix: what tells a corrected method.
    """
    head = " | ".join(f"{fraction:.0%}" for fraction in fractions)
    lines = [f"| latent PSNR, dB, at | {head} |", "| --- |" + " ---: |" * len(fractions)]
    of = by_method(rows)
    for method in of:
        if method + suffix in of:
            base, corrected = (
                [fidelity_at(of[name], f) for f in fractions] for name in (method, method + suffix)
            )
            gained = [b - a for a, b in zip(base, corrected, strict=True)]
            for name, numbers, form in (
                (method, base, ".1f"),
                (suffix.strip(), corrected, ".1f"),
                ("difference", gained, "+.1f"),
            ):
                words = ["-" if math.isnan(number) else format(number, form) for number in numbers]
                lines.append(f"| {name} | {' | '.join(words)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def frechet_table(rows: Sequence[Row]) -> str:
    """Frechet distance of each method and setting to the full runs; empty where it was not measured."""
    measured = [row for row in rows if row.frechet is not None]
    if not measured:
        return ""
    lines = ["| method | setting | blocks | Frechet distance |", "| --- | --- | ---: | ---: |"]
    return "\n".join(
        lines + [f"| {r.method} | {r.value} | {r.block_fraction:.3f} | {r.frechet:.2e} |" for r in measured]
    )


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Spearman's: the correlation of the ranks, those of equal values averaged; NaN of fewer than two."""
    return float(spearmanr(*zip(*pairs, strict=True)).statistic) if len(pairs) > 1 else math.nan


def write_json(path: Path, rows: Sequence[Row], conditions: dict[str, object]) -> None:
    """All rows and how they were made."""
    path.write_text(json.dumps({**conditions, "rows": [asdict(row) for row in rows]}, indent=1))


def draw_plot(path: Path, rows: Sequence[Row], title: str) -> None:
    """Fidelity against block executions and against measured seconds, a curve a method."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (by_work, by_time) = pyplot.subplots(1, 2, figsize=(16, 6), dpi=110, sharey=True)
    for method, of_method in by_method(rows).items():
        style = {"marker": "o", "ms": 4, "lw": 2.5 if method.startswith("AdaCorrection") else 1}
        for axes, points in (
            (by_work, sorted((row.block_fraction, row.latent_psnr) for row in of_method)),
            (by_time, sorted((1 / row.speedup, row.latent_psnr) for row in of_method)),
        ):
            axes.plot(*zip(*points, strict=True), label=method, **style)
    by_work.set(xlabel="block executions over those of the full run", ylabel="latent PSNR, dB", title=title)
    by_time.set(xlabel="seconds over those of the full run beside it, median")
    for axes in (by_work, by_time):
        axes.set(xlim=(0.2, 0.95), ylim=(30, 90))
        axes.grid(alpha=0.3)
    by_work.legend(fontsize=7, ncols=2)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
