"""Models that are sampled in a way of their own: in one step, in stages, in windows that the model cuts."""

from dataclasses import replace

import pytest
import torch
from runs import corrected, model_of, relative_error, sampled

import tiny_models
from adacorrection.adacorrection_core.config import PRESETS, CorrectionConfig
from adacorrection.adacorrection_core.stats import Reason

HALF = CorrectionConfig(target_speedup=2.0, warmup_steps=1)


def of_this_host(family: str) -> str:
    if not tiny_models.available(family):
        pytest.skip(f"ComfyUI {tiny_models.comfyui_version} has no {family}")
    return family


@pytest.mark.parametrize("preset", PRESETS)
def test_a_single_step_is_left_alone(preset: str) -> None:
    """SeedVR2 restores a video in one step: bit for bit the host's own, and the report says why."""
    family = of_this_host("seedvr2")
    full = tiny_models.sample(model_of(family), family, steps=1)

    latent, report = sampled(corrected(family, PRESETS[preset]), family, steps=1)

    assert torch.equal(latent, full)
    assert report.reasons == {Reason.LAST_STEP.value: 1}
    assert "Nothing was reused" in report.summary()
    assert "last step" in report.summary()


def trellis_conditionings(**changes: object) -> tuple[tiny_models.Conditioning, tiny_models.Conditioning]:
    """As the nodes of Trellis 2 make them for a stage."""
    both = tiny_models.conditionings("trellis2")
    changed = [[[tokens, {**options, **changes}]] for [[tokens, options]] in both]
    return changed[0], changed[1]


STAGES = {
    "structure_model": {"trellis2_coords": None, "trellis2_generation_mode": None},
    "img2shape_512": {"trellis2_generation_mode": "shape_generation_512"},
    "img2shape": {},
    "shape2txt": {
        "trellis2_generation_mode": "texture_generation",
        "trellis2_shape_slat": torch.ones(40, 32),
    },
}


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_of_trellis(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a transformer of its own. The first works on a grid, the others on its filled voxels."""
    family = of_this_host("trellis2")
    tiny = tiny_models.FAMILIES[family]
    monkeypatch.setitem(tiny_models.FAMILIES, family, replace(tiny, blocks=(f"{stage}.blocks",)))
    positive, negative = trellis_conditionings(**STAGES[stage])
    is_grid = stage == "structure_model"
    shape = (1, 32, 16, 16, 16) if is_grid else tiny.latent_shape
    run = {"steps": 4, "positive": positive, "negative": negative, "latent": torch.zeros(shape)}
    run |= {"cfg": 1.0 if is_grid else 3.0}
    full = tiny_models.sample(model_of(family), family, **run)
    model = corrected(family, HALF)

    with tiny_models.count_blocks(model, family) as executed:
        latent, report = sampled(model, family, **run)

    assert set(executed.values()) == {2}
    assert report.hit_rate == 0.5
    assert 0 < relative_error(latent, full) < 2 * tiny.closeness


def test_a_song_longer_than_the_models_window() -> None:
    """MiniMax Music 3 goes through it in windows of 689, each with all blocks: a call is counted as one."""
    family = of_this_host("minimax_music3")
    [[tokens, options]] = tiny_models.conditionings(family)[0]
    run = {"steps": 6, "latent": torch.zeros(1, 128, 800), "positive": [[tokens.repeat(1, 20, 1), options]]}
    full = tiny_models.sample(model_of(family), family, **run)
    model = corrected(family, HALF)

    with tiny_models.count_blocks(model, family) as executed:
        latent, report = sampled(model, family, **run)

    assert set(executed.values()) == {3 * 2}
    assert report.hit_rate == 0.5
    assert report.block_fraction == 0.5
    assert 0 < relative_error(latent, full) < 2 * tiny_models.FAMILIES[family].closeness
