"""AdaCorrection against fewer steps, plain caches and other projects' caches, at equal block executions.

    python -m bench --prompts 0 4 8 12 --seeds 0 --steps 28 --cfg 3
    python -m bench --groups ours steps rules          # parts of it
    python -m bench --groups ours steps solvers --truth 200   # also against the solver's own truth
    python -m bench --groups ours --seeds 0 1 2 3 4 5 6 7 --frechet --resume   # long ones can be cut off
    python -m bench --model bench/tinysd3               # another network: SD3's joint blocks

Prints tables in GitHub Markdown, writes all rows as JSON, and draws fidelity against block executions
and against seconds. Fidelity is measured against the full run with the same seed. Each timed run has a full
run beside it.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from bench import methods, results
from bench.frechet import FEATURES, picture_features
from bench.journal import Journal, JournalError
from bench.peers import latent_psnr
from bench.provenance import code_state
from bench.solvers import TRUTH, integrate
from demo.flux import new_noise, simple_sigmas
from demo.measures import PSNR_CAP_DB, psnr, ssim
from demo.methods import full
from demo.picture_code import PictureCode
from demo.sampler import (
    MODEL_FOLDER,
    DemoModel,
    Result,
    Setting,
    guided_velocity,
    load_model,
    sample,
)

FRACTIONS = (0.25, 0.3, 0.33, 0.36, 0.42, 0.48, 0.5, 0.6, 0.7)
GROUPS = ("ours", "steps", "rules", "peers", "solvers", "ablation")


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
    add("--model", type=Path, default=MODEL_FOLDER, help="folder with a network's weights; see demo.networks")
    add("--methods", nargs="+", help="only methods with these names, or NAME=SETTING, of the groups")
    add("--truth", type=int, default=0, help=f"steps of {TRUTH} that make the truth; 0 leaves it out")
    add("--frechet", action="store_true", help=f"Frechet distance, for more than {FEATURES} pictures")
    add("--resume", action="store_true", help="keep what an equal command with the same code has finished")
    add("--out", type=Path, default=Path("out/bench"), help="where JSON and plot go, without an ending")
    return parser.parse_args(arguments)


def is_asked_for(contender: methods.Contender, names: list[str] | None) -> bool:
    """Whether --methods names a method, or this setting of it; without names all are."""
    return not names or bool({contender.name, f"{contender.name}={contender.value}"} & set(names))


def contenders(groups: list[str], setting: Setting) -> list[methods.Contender]:
    """All methods at all settings."""
    makers = {
        "ours": methods.ours,
        "steps": lambda: methods.steps_only(setting),
        "rules": methods.base_rules,
        "peers": lambda: methods.peers(setting),
        "solvers": lambda: methods.solvers(setting),
        "ablation": methods.ablations,
    }
    return [contender for group in groups for contender in makers[group]()]


def compare(drawn: methods.Drawn, reference: Reference, code: PictureCode) -> results.Sample:
    """One picture against the full run, and the truth where there is one."""
    full, truth = reference.full.latent, reference.truth
    decoded = code.decode(drawn.latent)[0]
    picture, wanted = (p.permute(1, 2, 0).numpy() for p in (decoded, reference.picture))
    return results.Sample(
        min(latent_psnr(drawn.latent, full), PSNR_CAP_DB),
        psnr(picture, wanted),
        ssim(picture, wanted),
        drawn.block_fraction,
        drawn.seconds,
        reference.full.seconds,
        drawn.bytes_held,
        drawn.risk,
        float((drawn.latent - full).norm() / full.norm()),
        None if truth is None else latent_psnr(drawn.latent, truth),
        None if reference.features is None else picture_features(decoded),
        reference.features,
    )


@dataclass(frozen=True)
class Reference:
    """What a picture is held against.

    Attributes:
        full: the full run with the same seed.
        picture: (3, H, W) of it, in [0, 1].
        truth: (1, C, h, w) latent; None where that is not asked for.
        features: of the picture; None where they are not.
    """

    full: Result
    picture: Tensor
    truth: Tensor | None
    features: list[float] | None


@torch.inference_mode()
def reference_of(
    model: DemoModel, prompt: int, seed: int, setting: Setting, truth_steps: int, has_features: bool
) -> Reference:
    """The full run with the same seed, and the truth at so many steps; none at 0."""
    whole = sample(model, prompt, seed, full(setting.num_steps), setting)
    picture = model.code.decode(whole.latent)[0]
    features, truth = picture_features(picture) if has_features else None, None
    if truth_steps:
        velocity, sigmas = guided_velocity(model, prompt, setting.cfg), simple_sigmas(truth_steps)
        truth = integrate(TRUTH, velocity, new_noise([seed]), sigmas)
    return Reference(whole, picture, truth, features)


def measure(options: argparse.Namespace) -> tuple[list[results.Row], float]:
    """Every method on every picture; each is kept in the journal beside --out as soon as it is finished.

    Returns:
        the rows, and the rank correlation of reported risk and error over all of AdaCorrection's runs.
    """
    model, setting = load_model(options.model), Setting(options.steps, options.cfg)
    name = options.model.resolve().name
    all_methods = contenders(list(options.groups), setting)
    all_methods = [m for m in all_methods if is_asked_for(m, options.methods)]
    conditions: dict[str, object] = {"model": name, "steps": options.steps, "cfg": options.cfg}
    conditions |= {"truth": options.truth, "frechet": options.frechet}
    conditions["methods"] = [[contender.name, contender.value] for contender in all_methods]
    journal = Journal(options.out.with_suffix(".jsonl"), conditions, code_state(), options.resume)
    cases = [(prompt, seed) for prompt in options.prompts for seed in options.seeds]
    for prompt, seed in tqdm(cases, unit="picture"):
        if (prompt, seed) not in journal.done:
            reference = reference_of(model, prompt, seed, setting, options.truth, options.frechet)
            found = {
                (m.name, m.value): compare(m.draw(model, prompt, seed, setting), reference, model.code)
                for m in all_methods
            }
            journal.add(prompt, seed, found)
    samples = [journal.done[case] for case in cases]
    keys = [(contender.name, contender.value) for contender in all_methods]
    rows = [results.make_row(name, *key, [found[key] for found in samples]) for key in keys]
    own = [s for found in samples for key, s in found.items() if key[0].startswith("AdaCorrection")]
    return rows, results.rank_correlation([(s.risk, s.error) for s in own if s.risk])


def print_tables(rows: list[results.Row], has_truth: bool) -> None:
    """All that was measured, in GitHub Markdown."""
    tables = [results.table(rows), results.equal_work_table(rows, FRACTIONS)]
    tables.append(results.equal_work_table(rows, FRACTIONS, "truth_psnr") if has_truth else "")
    tables.append(results.paired_table(rows, FRACTIONS, methods.CORRECTED))
    tables.append(results.frechet_table(rows))
    print("\n\n".join(table for table in tables if table), end="\n\n")


def main(arguments: list[str] | None = None) -> int:
    """Runs the bench.

    Returns:
        the exit status.
    """
    options, started = parse_options(arguments), time.perf_counter()
    torch.set_num_threads(1)
    try:
        rows, correlation = measure(options)
    except JournalError as error:
        print(error, file=sys.stderr)
        return 2
    print_tables(rows, options.truth > 0)
    if not math.isnan(correlation):
        print(f"Rank correlation of the reported risk and the error that came out: {correlation:.2f}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    title = f"{options.model.resolve().name}, {options.steps} Euler steps, cfg {options.cfg:g}"
    conditions = {"steps": options.steps, "cfg": options.cfg, "prompts": options.prompts}
    conditions |= {"seeds": options.seeds, "torch": torch.__version__, "risk_correlation": correlation}
    conditions["code"] = code_state()
    results.write_json(options.out.with_suffix(".json"), rows, conditions)
    results.draw_plot(options.out.with_suffix(".png"), rows, title)
    print(f"Wrote {options.out}.json and .png after {time.perf_counter() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
