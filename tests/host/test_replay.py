"""A call whose velocity is known gives what a computed call gives, with the probe and without."""

import inspect
from collections.abc import Iterator

import comfy.ldm.flux.model
import comfy.samplers
import pytest
from runs import (
    REPRESENTATIVES,
    corrected,
    evaluate_twice,
    probe_always_asked,
    relative_error,
    skip_unless_batched,
)

import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.adacorrection_core.stats import Outcome, Reason
from adacorrection.nodes.host.session import report_of

REPLAY = CorrectionConfig(tolerance=1.0, warmup_steps=1)
ROUNDING = 1e-5


@pytest.fixture(autouse=True)
def always_in_doubt() -> Iterator[None]:
    """The probe is asked at every step."""
    with probe_always_asked():
        yield


@pytest.mark.parametrize(("cfg", "batch"), [(1.0, 1), (3.0, 2)], ids=["one row", "four rows"])
def test_held_velocity_gives_the_full_output(family: str, cfg: float, batch: int) -> None:
    skip_unless_batched(family, 4 if batch > 1 else 1)
    model = corrected(family, REPLAY)

    with tiny_models.count_blocks(model, family) as executed:
        full, held = evaluate_twice(model, family, cfg=cfg, batch=batch)

    first, *others = tiny_models.blocks(model, family)
    has_probe = family not in tiny_models.WHOLE
    assert executed == {first: 2 if has_probe else 1, **dict.fromkeys(others, 1)}
    assert relative_error(held, full) < ROUNDING


@pytest.mark.parametrize("family", REPRESENTATIVES)
@pytest.mark.parametrize("probe_blocks", [2, 8])
def test_more_probe_blocks(family: str, probe_blocks: int) -> None:
    model = corrected(family, CorrectionConfig(tolerance=1.0, warmup_steps=1, probe_blocks=probe_blocks))

    full, held = evaluate_twice(model, family)

    report = report_of(model)
    assert [record.outcome for record in report.records] == [Outcome.COMPUTE, Outcome.HOLD]
    assert report.records[1].blocks_run == min(probe_blocks, len(tiny_models.blocks(model, family)) - 1)
    assert relative_error(held, full) < ROUNDING


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_residual_kept_in_ram(family: str) -> None:
    model = corrected(family, CorrectionConfig(tolerance=1.0, warmup_steps=1, cache_placement="offload"))

    full, held = evaluate_twice(model, family)

    assert len(report_of(model).reused) == 1
    assert relative_error(held, full) < ROUNDING


@pytest.mark.parametrize("family", REPRESENTATIVES)
@pytest.mark.parametrize("is_split_first", [True, False], ids=["split then batched", "batched then split"])
def test_branches_are_kept_apart_however_they_are_batched(
    family: str, is_split_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Free memory decides in ComfyUI whether cond and uncond share a call; it may change within a run."""
    skip_unless_batched(family, 2)
    model = corrected(family, REPLAY)

    def split() -> None:
        monkeypatch.setattr(comfy.samplers, "can_concat_cond", lambda one, other: one is other)

    if is_split_first:
        split()
    full, held = evaluate_twice(model, family, cfg=3.0, between=monkeypatch.undo if is_split_first else split)

    report = report_of(model)
    assert [record.outcome for record in report.records] == 2 * [Outcome.COMPUTE] + 2 * [Outcome.HOLD]
    assert {record.branch for record in report.reused} == {"cond", "uncond"}
    assert relative_error(held, full) < ROUNDING


@pytest.mark.parametrize("family", ["flux_dev", "sd3"])
def test_uncond_of_a_region_is_not_taken_for_its_cond(family: str) -> None:
    """ComfyUI gives the uuid of a region's cond to the uncond that it makes for the region."""
    positive, negative = tiny_models.conditionings(family)
    [[tokens, options]] = positive
    region = [[tokens.flip(1), options | {"area": (8, 8, 0, 8), "strength": 1.0}]]

    full, held = evaluate_twice(
        corrected(family, REPLAY), family, cfg=3.0, positive=positive + region, negative=negative
    )

    assert relative_error(held, full) < ROUNDING


def test_reference_pictures_are_not_kept() -> None:
    """Kontext's tokens behind the latent's own are not read by the head."""
    if "reference_image_num_tokens" not in inspect.getsource(comfy.ldm.flux.model):
        pytest.skip(f"ComfyUI {tiny_models.comfyui_version} does not say how many tokens are references")
    models = [corrected("flux_dev", REPLAY), corrected("flux_kontext", REPLAY)]

    for model, family in zip(models, ("flux_dev", "flux_kontext"), strict=True):
        evaluate_twice(model, family)

    assert report_of(models[0]).bytes_held == report_of(models[1]).bytes_held > 0


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_first_call_of_a_branch_is_computed(family: str) -> None:
    model = corrected(family, REPLAY)

    evaluate_twice(model, family)

    assert report_of(model).records[0].reason is Reason.NEW_BRANCH
