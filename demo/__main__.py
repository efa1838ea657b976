"""Samples the demo model in full, with fewer steps, with a plain cache and with AdaCorrection, and compares.

Prints one table, draws a contact sheet and the timeline of one run. Every number comes from this run.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from adacorrection_core.figure import draw_timeline
from demo.compare import METHODS_PER_FULL_RUN, Comparison, all_cases, count_runs, run_all
from demo.measures import Row
from demo.methods import Method, adaptive, full
from demo.sampler import MODEL_FOLDER, DemoError, DemoModel, Setting, load_model, sample
from demo.sheet import Column, contact_sheet
from demo.table import markdown_table, plain_table

PROMPTS = ("grinning", "cat", "sunglasses", "hamburger")
TIMELINE_PRESET = "balanced"
PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    add = parser.add_argument
    add("--prompts", nargs="+", default=PROMPTS, metavar="NAME", help="what to draw; 'all' for all prompts")
    add("--seeds", nargs="+", type=int, default=[0], metavar="N", help="each prompt is drawn with each seed")
    add("--steps", type=int, default=28, help="steps of the full run")
    add("--cfg", type=float, default=3.0, help="scale of classifier-free guidance")
    add("--model", type=Path, default=MODEL_FOLDER, help="folder with weights, prompts and picture code")
    add("--out", type=Path, default=Path("demo_output/contact_sheet.png"), help="the contact sheet")
    add("--threads", type=int, default=1, help="of torch; on a busy machine more make it slower")
    add("--markdown", action="store_true", help="print the table as GitHub Markdown")
    options = parser.parse_args(arguments)
    if options.steps < 6:
        parser.error(f"--steps is {options.steps}; 6 is the least at which there is something to skip")
    if options.out.suffix.lower() not in PICTURES:
        parser.error(f"--out is {options.out}; it must be a picture's file name: {', '.join(PICTURES)}")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Runs the demo.

    Returns:
        the exit status.
    """
    options, started = parse_options(arguments), time.perf_counter()
    torch.set_num_threads(options.threads)
    try:
        comparison = new_comparison(options)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    methods = run_with_bar(comparison)
    rows = [comparison.row(method) for method in methods]
    print(markdown_table(rows) if options.markdown else plain_table(rows), end="\n\n")
    print(conditions(comparison))
    write_sheet(comparison, methods, rows, options.out)
    timeline = write_timeline(comparison, adaptive(TIMELINE_PRESET), options.out)
    print(f"Wrote {options.out} and {timeline} after {time.perf_counter() - started:.0f} s.")
    return 0


def new_comparison(options: argparse.Namespace) -> Comparison:
    """Model and cases of the command line; one run that is not timed, since the first is slower."""
    model = load_model(options.model)
    setting = Setting(options.steps, options.cfg)
    cases = all_cases(model, find_prompts(model, options.prompts), list(dict.fromkeys(options.seeds)))
    sample(model, 0, 0, full(2), setting)
    return Comparison(model, setting, cases)


def find_prompts(model: DemoModel, names: list[str]) -> list[int]:
    """Numbers of the prompts with these short names.

    Raises:
        DemoError: no such prompt.
    """
    known = model.prompts
    unknown = [name for name in names if name not in known and name != "all"]
    if unknown:
        raise DemoError(f"No prompt {', '.join(unknown)}. There are: {', '.join(known)}, or all.")
    wanted = known if "all" in names else dict.fromkeys(names)
    return [known.index(name) for name in wanted]


def run_with_bar(comparison: Comparison) -> list[Method]:
    """Runs everything under a progress bar on stderr."""
    with tqdm(total=count_runs(len(comparison.cases)), unit="run", leave=False) as comparison.bar:
        return run_all(comparison)


def conditions(comparison: Comparison) -> str:
    """Under the table: what was run, and what the columns mean."""
    setting, cases = comparison.setting, comparison.cases
    num_prompts, num_seeds = len({case.prompt for case in cases}), len({case.seed for case in cases})
    return "\n".join(
        [
            f"Euler, {setting.num_steps} steps, ComfyUI's simple schedule (shift 1), cfg {setting.cfg:g}, "
            f"{len(cases)} pictures (prompts: {num_prompts}, seeds: {num_seeds}), "
            f"float32, torch {torch.__version__} on the CPU, threads: {torch.get_num_threads()}.",
            "blocks: transformer blocks run, over those of the full run. seconds: median over the pictures.",
            "speed-up: median of pairs, each with a full run timed just before "
            f"(at most {METHODS_PER_FULL_RUN - 1} run between).",
            "PSNR, SSIM: decoded picture against the full run with the same seed, mean over the pictures.",
            "Fewer steps and the first-block cache are set, in this run, to the preset's share of blocks.",
        ]
    )


def write_sheet(comparison: Comparison, methods: list[Method], rows: list[Row], path: Path) -> None:
    """Draws the contact sheet, with the first seed of each prompt."""
    shown = [case for case in comparison.cases if case.seed == comparison.cases[0].seed]
    columns = [
        Column(method, row, [comparison.measurements[method, case][0] for case in shown])
        for method, row in zip(methods, rows, strict=True)
    ]
    labels = [comparison.model.prompts[case.prompt] for case in shown]
    setting = comparison.setting
    title = f"AdaCorrection on the demo model: {setting.num_steps} Euler steps, cfg {setting.cfg:g}"
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(columns, labels, title).save(path, optimize=True)


def write_timeline(comparison: Comparison, method: Method, sheet: Path) -> Path:
    """Draws what a method did at each step of the first picture, beside the contact sheet."""
    path = sheet.with_name(f"{sheet.stem}_timeline.png")
    pixels = draw_timeline(comparison.reports[method, comparison.cases[0]], is_dark=False)
    Image.fromarray((pixels * 255).round().byte().numpy()).save(path, optimize=True)
    return path


if __name__ == "__main__":
    sys.exit(main())
