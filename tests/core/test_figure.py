"""The picture of a run: right size, right colours in the right place, and no run that it cannot draw."""

import math

import pytest
import torch
from torch import Tensor

from adacorrection_core.canvas import DARK, LIGHT, Canvas, Colour, nice_step, shade
from adacorrection_core.figure import draw_message, draw_timeline
from adacorrection_core.heat_map import arrange, lane_key, rows_of
from adacorrection_core.stats import Outcome, Reason, RunReport, StepRecord


def a_record(
    step: int, branch: str = "cond", outcome: Outcome = Outcome.COMPUTE, **values: object
) -> StepRecord:
    reason = Reason.RISK if outcome is Outcome.COMPUTE else None
    return StepRecord(step, step, 1.0 - step / 10, branch, outcome, reason, blocks_total=12, **values)


def a_report(records: list[StepRecord], num_steps: int = 8, **values: object) -> RunReport:
    return RunReport("balanced", "Flux: 4 double + 8 single blocks", num_steps, records, **values)


def a_run() -> RunReport:
    """Eight steps of two branches: computed, corrected, held, and so on; three outcomes in all."""
    outcomes = [Outcome.COMPUTE, Outcome.CORRECT, Outcome.HOLD, *[Outcome.CORRECT] * 4, Outcome.COMPUTE]
    records = [
        a_record(
            step, branch, outcome, weight=step / 8, risk=0.001 * step, tolerance=0.008, expected_error=0.1
        )
        for step, outcome in enumerate(outcomes)
        for branch in ("cond", "uncond")
    ]
    return a_report(records, seconds=1.5, is_finished=True)


def has_colour(picture: Tensor, colour: Colour) -> bool:
    return bool(((picture * 255).round() == torch.tensor(colour)).all(dim=-1).any())


@pytest.mark.parametrize("width", [320, 512, 1024])
@pytest.mark.parametrize("is_dark", [True, False])
def test_picture_is_as_wide_as_asked(width: int, is_dark: bool) -> None:
    picture = draw_timeline(a_run(), width, is_dark=is_dark)

    assert picture.shape[1:] == (width, 3)
    assert picture.dtype == torch.float32
    assert picture.min() >= 0 and picture.max() <= 1
    theme = DARK if is_dark else LIGHT
    assert has_colour(picture[:1, :1], theme.background)
    assert has_colour(picture, theme.computed)
    assert has_colour(picture, theme.alarm)  # the line of the tolerance


def test_too_narrow_is_made_readable() -> None:
    assert draw_timeline(a_run(), 10).shape[1] == 320


def test_charts_stretch_to_a_height() -> None:
    natural = draw_timeline(a_run(), 512).shape[0]

    assert abs(draw_timeline(a_run(), 512, natural + 200).shape[0] - natural - 200) <= 10
    assert draw_timeline(a_run(), 512, 10).shape[0] == natural


@pytest.mark.parametrize("width", [320, 1024])
def test_message_takes_the_lines_that_it_needs(width: int) -> None:
    short = draw_message("Nothing to report", "No run.", width)
    long = draw_message("Nothing to report", "No run has been sampled with this model so far. " * 8, width)

    assert short.shape[1:] == long.shape[1:] == (width, 3)
    assert short.shape[0] < long.shape[0] < 1024
    for picture in (short, long):
        assert has_colour(picture, DARK.alarm) and has_colour(picture, DARK.text)
        assert has_colour(picture[-1:], DARK.background)  # the canvas was high enough


def test_nothing_is_drawn_into_the_right_margin() -> None:
    report = a_run()
    report.config_name = "custom,tolerance=0.02,sensitivity=5.0,spatial_weight=0.25,warmup_steps=5,mode=paper"
    picture = draw_timeline(report, 512)
    assert has_colour(picture[:, -4:], DARK.background)
    assert picture[:, -4:].std(dim=(0, 1)).max() == 0


@pytest.mark.parametrize(
    "report",
    [
        a_report([], 0),
        a_report([], 28),
        a_report([a_record(0)], 1, is_finished=True),
        a_report([a_record(0, f"cond {i}") for i in range(40)], 1),
        a_report([a_record(1, outcome=Outcome.CORRECT, risk=0.1, tolerance=math.inf)], 1000),
        a_report([a_record(0, measured_error=0.0, expected_error=0.0)], 3),
        a_report([a_record(i % 3) for i in range(90)], 3),
    ],
    ids=["no steps", "no calls", "one step", "many branches", "no bound", "no error", "many evaluations"],
)
def test_draws_unusual_runs(report: RunReport) -> None:
    picture = draw_timeline(report, 400)

    assert torch.isfinite(picture).all()
    assert picture.std() > 0


def test_evaluations_of_a_step_share_its_width() -> None:
    lanes = arrange(a_report([a_record(0), a_record(1), a_record(1), a_record(1, "uncond")]))

    assert [(cell.start, cell.end) for cell in lanes["cond"]] == [(0, 1), (1, 1.5), (1.5, 2)]
    assert [(cell.start, cell.end) for cell in lanes["uncond"]] == [(1, 2)]


def test_rows_go_by_the_number_of_blocks() -> None:
    hit = a_record(1, outcome=Outcome.CORRECT, blocks_run=2)
    report = a_report([a_record(0, blocks_run=12), hit], groups=(("double", 4), ("single", 8)))

    probe, double, single = rows_of(report)

    assert [row.label for row in (probe, double, single)] == ["", "double 4", "single 8"]
    heights = [row.bottom - row.top for row in (probe, double, single)]
    assert heights[1] == pytest.approx(heights[0])  # two blocks each: the probe is of the double ones
    assert heights[2] == pytest.approx(4 * heights[0])


def test_model_whose_blocks_are_not_known_has_no_probe() -> None:
    whole = StepRecord(1, 1, 0.5, "cond", Outcome.CORRECT, blocks_run=0, blocks_total=1)
    report = a_report([whole], groups=(("model", 1),))

    assert [row.label for row in rows_of(report)] == ["model 1"]
    assert [entry.text for entry in lane_key(report)][1:] == ["corrected 1, weight 0 to 1"]


def test_probe_that_was_not_asked_is_not_orange() -> None:
    """The probe's row is there because one step looked at it; at the other one no block ran."""

    def orange(*blocks_run: int) -> int:
        records = [
            a_record(i, outcome=Outcome.CORRECT, blocks_run=n, weight=1.0) for i, n in enumerate(blocks_run)
        ]
        picture = draw_timeline(a_report(records, 2, groups=(("blocks", 12),)), 512)
        return int(((picture[120:] * 255).round() == torch.tensor(DARK.computed)).all(dim=-1).sum())

    in_key = orange(0, 0)
    assert orange(6, 6) - in_key == pytest.approx(2 * (orange(6, 0) - in_key), rel=0.2)
    assert orange(6, 0) > in_key


def test_orange_area_is_the_work_done() -> None:
    """Corrected steps are orange in the share of their blocks that ran."""

    def orange(outcome: Outcome) -> int:
        first = a_record(0, blocks_run=6, outcome=Outcome.CORRECT, weight=1.0)  # it shows where the probe is
        others = [a_record(i, blocks_run=6, outcome=outcome, weight=1.0) for i in (1, 2, 3)]
        picture = draw_timeline(a_report([first, *others], 4, groups=(("blocks", 12),)), 512)
        return int(((picture[120:] * 255).round() == torch.tensor(DARK.computed)).all(dim=-1).sum())

    assert orange(Outcome.COMPUTE) == pytest.approx(orange(Outcome.CORRECT) * 7 / 4, rel=0.1)


def test_report_is_left_as_it_was() -> None:
    report = a_run()
    before = report.to_json()

    draw_timeline(report, 320)

    assert report.to_json() == before


@pytest.mark.parametrize(
    ("at_least", "expected"), [(1.0, 1), (1.1, 2), (0.0021, 0.005), (60, 100), (0.2, 0.2)]
)
def test_ticks_are_one_two_or_five(at_least: float, expected: float) -> None:
    assert nice_step(at_least) == pytest.approx(expected)


@pytest.mark.parametrize("theme", [DARK, LIGHT])
def test_shade_runs_between_the_themes_colours(theme: object) -> None:
    assert shade(theme, -1.0) == theme.weight_0
    assert shade(theme, 2.0) == theme.weight_1


@pytest.mark.parametrize("theme", [DARK, LIGHT])
def test_writing_stands_out_from_its_ground(theme: object) -> None:
    """WCAG contrast ratio, 4.5 for writing and 3 for shapes."""
    for writing in (theme.text, theme.muted, theme.alarm):
        assert contrast(writing, theme.background) >= 4.5
    for shape in (theme.computed, theme.weight_0, theme.weight_1):
        assert contrast(shape, theme.background) >= 3.0


def contrast(one: Colour, other: Colour) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: Colour) -> float:
    parts = [value / 255 for value in colour]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_long_words_are_wrapped_at_the_margin() -> None:
    canvas = Canvas(320, 100, DARK)
    lines = canvas.wrap("the quick brown fox jumps over the lazy dog " * 3, 1.0)

    assert len(lines) > 1
    assert max(canvas.text_width(line) for line in lines) <= 320 - 2.4 * canvas.em
