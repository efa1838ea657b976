"""AdaCorrection against fewer steps, plain caches and other projects' caches, at equal block executions.

    python -m bench --prompts 0 4 8 12 --seeds 0 --steps 28 --cfg 3
    python -m bench --groups ours steps rules          # parts of it
    python -m bench --model ../shared/models/tinyflux   # other weights of the demo's network

Prints two tables in GitHub Markdown, writes all rows as JSON, and draws fidelity against block executions.
Fidelity is measured against the full run with the same seed. Each timed run has a full run beside it.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from bench import methods, results
from bench.peers import latent_psnr
from demo.flux_keys import bfl_to_diffusers
from demo.measures import psnr, ssim
from demo.methods import full
from demo.sampler import PROMPTS, WEIGHTS, DemoModel, Setting, load_model, sample
from demo.words import load_conditioning

MODEL = Path(__file__).parents[1] / "demo" / "model"
FRACTIONS = (0.25, 0.3, 0.33, 0.36, 0.42, 0.48, 0.5, 0.6, 0.7)
GROUPS = ("ours", "steps", "rules", "peers", "ablation")


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--prompts", type=int, nargs="+", default=list(range(0, 16, 2)), help="prompts, by number")
    add("--seeds", type=int, nargs="+", default=[0], help="each prompt is drawn with each seed")
    add("--steps", type=int, default=28, help="steps of the full run")
    add("--cfg", type=float, default=3.0, help="guidance scale")
    add("--groups", nargs="+", choices=GROUPS, default=GROUPS[:4], help="what to compare")
    add("--model", type=Path, default=MODEL, help="folder with weights and prompts of the demo's network")
    add("--out", type=Path, default=Path("out/bench"), help="where JSON and plot go, without an ending")
    return parser.parse_args(arguments)


def load(folder: Path) -> DemoModel:
    """The demo model, with the weights and prompts of another folder where that is asked for."""
    model = load_model(MODEL)
    if folder.resolve() == MODEL:
        return model
    weights = {name: tensor.float() for name, tensor in load_file(folder / WEIGHTS).items()}
    model.transformer.load_state_dict(bfl_to_diffusers(weights), assign=True)
    return replace(model, conditioning=load_conditioning(folder / PROMPTS))


def contenders(groups: list[str], setting: Setting) -> list[methods.Contender]:
    """All methods at all settings."""
    makers = {
        "ours": methods.ours,
        "steps": lambda: methods.steps_only(setting),
        "rules": methods.base_rules,
        "peers": lambda: methods.peers(setting),
        "ablation": methods.ablations,
    }
    return [contender for group in groups for contender in makers[group]()]


def compare(model: DemoModel, drawn: methods.Drawn, reference: Tensor, seconds: float) -> results.Sample:
    """One picture against the full run."""
    picture, wanted = (
        model.code.decode(latent)[0].permute(1, 2, 0).numpy() for latent in (drawn.latent, reference)
    )
    error = float((drawn.latent - reference).norm() / reference.norm())
    return results.Sample(
        min(latent_psnr(drawn.latent, reference), 100.0),
        psnr(picture, wanted),
        ssim(picture, wanted),
        drawn.block_fraction,
        drawn.seconds,
        seconds,
        drawn.bytes_held,
        drawn.risk,
        error,
    )


def measure(options: argparse.Namespace) -> tuple[list[results.Row], float]:
    """Every method on every picture.

    Returns:
        the rows, and the rank correlation of reported risk and error over all of AdaCorrection's runs.
    """
    model, setting = load(options.model), Setting(options.steps, options.cfg)
    all_methods = contenders(list(options.groups), setting)
    cases = [(prompt, seed) for prompt in options.prompts for seed in options.seeds]
    samples: dict[tuple[str, str], list[results.Sample]] = defaultdict(list)
    for prompt, seed in tqdm(cases, unit="picture"):
        reference = sample(model, prompt, seed, full(options.steps), setting)
        for contender in all_methods:
            drawn = contender.draw(model, prompt, seed, setting)
            found = compare(model, drawn, reference.latent, reference.seconds)
            samples[contender.name, contender.value].append(found)
    name = options.model.resolve().name
    rows = [results.make_row(name, *key, found) for key, found in samples.items()]
    own = [s for key, found in samples.items() if key[0].startswith("AdaCorrection") for s in found]
    risks = [(s.risk, s.error) for s in own if s.risk]
    return rows, results.rank_correlation(risks)


def main(arguments: list[str] | None = None) -> int:
    """Runs the bench.

    Returns:
        the exit status.
    """
    options, started = parse_options(arguments), time.perf_counter()
    torch.set_num_threads(1)
    rows, correlation = measure(options)
    print(results.table(rows), end="\n\n")
    print(results.equal_work_table(rows, FRACTIONS), end="\n\n")
    paired = results.paired_table(rows, FRACTIONS, methods.CORRECTED)
    if paired:
        print(paired, end="\n\n")
    if not math.isnan(correlation):
        print(f"Rank correlation of the reported risk and the error that came out: {correlation:.2f}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    title = f"{options.model.resolve().name}, {options.steps} Euler steps, cfg {options.cfg:g}"
    conditions = {"steps": options.steps, "cfg": options.cfg, "prompts": options.prompts}
    conditions |= {"seeds": options.seeds, "torch": torch.__version__, "risk_correlation": correlation}
    results.write_json(options.out.with_suffix(".json"), rows, conditions)
    results.draw_plot(options.out.with_suffix(".png"), rows, title)
    print(f"Wrote {options.out}.json and .png after {time.perf_counter() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
