"""Runs the methods on the same prompts and seeds: AdaCorrection first, then baselines at its compute."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np
from tqdm import tqdm

from adacorrection_core.config import PRESETS
from adacorrection_core.stats import RunReport
from demo.measures import Measurement, Picture, Row, psnr, ssim, summarise
from demo.methods import Method, adaptive, adaptive_target, fewer_steps, first_block_cache, full
from demo.sampler import DemoModel, Result, Setting, sample

TARGET_SPEEDUP = 2.5  # between Balanced, which asks for 2x, and Fast, which asks for 3x
METHODS_PER_FULL_RUN = 2  # a full run is timed afresh before every second method, so that pairs stay close
THRESHOLDS = tuple(float(t) for t in np.geomspace(0.03, 0.6, 6))  # tried to find the plain cache's
CASES_FOR_THRESHOLDS = 2


@dataclass(frozen=True)
class Case:
    """A prompt, by number, and a seed."""

    prompt: int
    seed: int


@dataclass
class Comparison:
    """Methods on cases, and what came of it.

    Attributes:
        model, setting, cases: what is sampled.
        bar: counts the runs.
        references: picture of the full run, by case.
        measurements: by method and case; the full run is measured several times a case.
        reports: the cache's record, by method and case.
    """

    model: DemoModel
    setting: Setting
    cases: list[Case]
    bar: tqdm = field(default_factory=lambda: tqdm(disable=True))
    references: dict[Case, Picture] = field(default_factory=dict)
    measurements: dict[tuple[Method, Case], list[Measurement]] = field(default_factory=dict)
    reports: dict[tuple[Method, Case], RunReport] = field(default_factory=dict)

    def run(self, method: Method, case: Case) -> Result:
        """One run, shown on the bar."""
        self.bar.set_description(f"{method.label}, {self.model.prompts[case.prompt]}"[:48].ljust(48))
        result = sample(self.model, case.prompt, case.seed, method, self.setting)
        self.bar.update()
        return result

    def picture(self, result: Result) -> Picture:
        """The latent of a result, decoded."""
        return self.model.code.decode(result.latent)[0].permute(1, 2, 0).contiguous().numpy()

    def run_reference(self, case: Case) -> float:
        """Runs a case in full, measures that too, and returns its seconds."""
        method = full(self.setting.num_steps)
        result = self.run(method, case)
        self.references.setdefault(case, self.picture(result))
        self.keep(method, case, result, result.seconds)
        return result.seconds

    def measure(self, methods: list[Method]) -> None:
        """Runs methods on all cases, each against a full run timed alongside."""
        for case in self.cases:
            full_seconds = 0.0
            for i, method in enumerate(methods):
                if i % METHODS_PER_FULL_RUN == 0:
                    full_seconds = self.run_reference(case)
                self.keep(method, case, self.run(method, case), full_seconds)

    def keep(self, method: Method, case: Case, result: Result, full_seconds: float) -> None:
        """Measures a result."""
        picture, reference = self.picture(result), self.references[case]
        nearness = psnr(picture, reference), ssim(picture, reference)
        measurement = Measurement(picture, result.block_fraction, result.seconds, full_seconds, *nearness)
        self.measurements.setdefault((method, case), []).append(measurement)
        if result.report:
            self.reports[method, case] = result.report

    def row(self, method: Method) -> Row:
        """The line of the table of a method."""
        return summarise(method, [m for case in self.cases for m in self.measurements[method, case]])

    def thresholds_for(self, shares: list[float]) -> list[float]:
        """Thresholds at which the plain cache is expected to run these shares of the blocks."""
        cases = self.cases[:CASES_FOR_THRESHOLDS]
        found = [
            np.mean([self.run(first_block_cache(t), case).block_fraction for case in cases])
            for t in THRESHOLDS
        ]
        # np.interp wants the shares rising, and they fall as the threshold rises
        return [float(np.exp(np.interp(s, found[::-1], np.log(THRESHOLDS)[::-1]))) for s in shares]


def count_runs(num_cases: int) -> int:
    """Sampling runs that `run_all` makes, for the progress bar."""
    per_case = sum(n + -(-n // METHODS_PER_FULL_RUN) for n in (len(PRESETS) + 1, 2 * len(PRESETS)))
    return per_case * num_cases + len(THRESHOLDS) * min(num_cases, CASES_FOR_THRESHOLDS)


def run_all(comparison: Comparison) -> list[Method]:
    """Measures AdaCorrection at each preset and at a target, then each preset's baselines at equal compute.

    Returns:
        the methods in the order of the table.
    """
    presets = [adaptive(name) for name in PRESETS]
    target = adaptive_target(TARGET_SPEEDUP)
    comparison.measure([*presets, target])
    baselines = equal_compute_baselines(comparison, presets)
    comparison.measure([method for pair in baselines for method in pair])
    groups = [[*pair, preset] for pair, preset in zip(baselines, presets, strict=True)]
    return [full(comparison.setting.num_steps), *(m for group in groups for m in group), target]


def equal_compute_baselines(comparison: Comparison, presets: list[Method]) -> list[tuple[Method, Method]]:
    """For each preset fewer steps and a plain cache, at the share of the blocks that the preset ran."""
    shares = [comparison.row(preset).block_fraction for preset in presets]
    steps = [max(1, round(share * comparison.setting.num_steps)) for share in shares]
    return [
        (fewer_steps(n, preset.group), first_block_cache(threshold, preset.group))
        for n, threshold, preset in zip(steps, comparison.thresholds_for(shares), presets, strict=True)
    ]


def all_cases(model: DemoModel, prompts: list[int], seeds: list[int]) -> list[Case]:
    """Every prompt with every seed."""
    return [Case(prompt, seed) for prompt, seed in product(prompts, seeds)]
