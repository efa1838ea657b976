"""What is said before a run holds in the run."""

from dataclasses import replace

import pytest
from toy import ToyModel, call, new_run, smooth_input, watch

from adacorrection_core import PRESETS, CorrectionConfig, Outcome
from adacorrection_core.budget import Budget
from adacorrection_core.outlook import Outlook
from adacorrection_core.risk import Schedule

LOOSE = CorrectionConfig(tolerance=1.0, max_consecutive=3)


def outlook(config: CorrectionConfig, steps: int, **range_: float) -> Outlook:
    sigmas = tuple(1 - i / steps for i in range(steps + 1))
    return Outlook(config, Schedule(sigmas, warmup_steps=config.warmup_steps, **range_))


def test_no_run_corrects_more_than_was_said():
    model, run = ToyModel(), new_run(LOOSE, steps=20)
    run.schedule = replace(run.schedule, warmup_steps=LOOSE.warmup_steps)
    hooked = watch(model, run)
    said = Outlook(LOOSE, run.schedule)
    for sigma in run.schedule.sigmas[:-1]:
        call(model, hooked, sigma, smooth_input(1.0))  # nothing moves: as much as can be is reused
    report = run.finish()

    assert len(report.reused) == said.most_corrected
    assert 1 - report.block_fraction == pytest.approx(said.most_saved)
    eligible = {record.step_index for record in report.records if record.outcome is not Outcome.COMPUTE}
    assert eligible <= set(said.eligible)


def test_usual_run():
    line = outlook(CorrectionConfig.from_preset("balanced"), 28).describe()
    assert line == "Steps 2 to 27 of 28 can be corrected. About 14 are computed for 2x."
    line = outlook(CorrectionConfig(), 28).describe()
    assert line == "Steps 2 to 27 of 28 can be corrected, at most 24: up to 86% of the blocks saved."


@pytest.mark.parametrize("levels", [(), (0.5,)])
def test_a_run_without_a_step_is_described(levels):
    line = Outlook(CorrectionConfig.from_preset("balanced"), Schedule(levels)).describe()
    assert line.startswith("None of the 0 steps can be corrected.")


def test_target_says_how_many_are_computed():
    assert "About 14 are computed for 2x" in outlook(CorrectionConfig(target_speedup=2.0), 28).describe()
    assert (
        "at most 2.29x of 16" in outlook(CorrectionConfig(target_speedup=4.0), 16, last_sigma=0.4).describe()
    )


@pytest.mark.parametrize("steps", [4, 6, 8, 10, 12, 14])
@pytest.mark.parametrize("preset", PRESETS)
def test_few_steps_are_told_what_a_preset_costs(preset, steps):
    """What is asked, what is reached, and the better option; who takes that is told nothing more."""
    said = outlook(PRESETS[preset], steps)
    asked, note = PRESETS[preset].target_speedup, said.sentences()[1]
    reached = Budget.for_speedup(asked, said.schedule, 12).computed_steps

    assert note.values["steps"] == str(steps) and note.values["speedup"] == f"{asked:g}"
    assert float(note.values["reached"]) == pytest.approx(steps / reached, rel=0.05)
    assert ("bypass" in note) == (note.key == "fewStepsAll")
    if note.key == "fewSteps":
        better = float(note.values["kept"])
        assert 1 < better < asked
        taken = Budget.for_speedup(better, said.schedule, 12)
        assert taken.computed_steps == Budget(reached, 12).kept(asked, said.schedule)


def test_few_steps_agree_with_what_was_measured():
    """Balanced keeps at 28 steps what 1.3x keeps at 14 and 1.14x at 8 (bench/RESULTS.md, "Few steps")."""
    kept = {steps: outlook(PRESETS["balanced"], steps).sentences()[1].values["kept"] for steps in (8, 14)}
    assert 1.1 <= float(kept[8]) <= 1.2 and 1.2 <= float(kept[14]) <= 1.5


@pytest.mark.parametrize("preset", PRESETS)
def test_enough_steps_are_told_nothing(preset):
    for steps in (20, 28, 50):
        assert outlook(PRESETS[preset], steps).sentences()[1].key == "target"


@pytest.mark.parametrize(
    ("config", "steps", "range_", "better"),
    [
        (CorrectionConfig(warmup_steps=6), 8, {}, "lower warmup_steps from 6 to 2"),
        (CorrectionConfig(warmup_steps=3), 4, {}, "lower warmup_steps from 3 to 1"),
        (CorrectionConfig(), 28, {"first_sigma": 0.1}, "lower start_percent"),
        (CorrectionConfig(warmup_steps=1), 2, {}, "12 steps or more"),
        (CorrectionConfig(), 8, {}, "At tolerance 0.03 little of that is expected. Better: raise"),
    ],
)
def test_little_to_save_comes_with_the_better_option(config, steps, range_, better):
    assert better in outlook(config, steps, **range_).describe()


def test_modes_that_save_nothing_say_so():
    assert "exactly as without" in outlook(CorrectionConfig(tolerance=0.0), 28).describe()
    assert "saves no time" in outlook(CorrectionConfig(mode="paper"), 28).describe()
