"""What must be bit for bit the same: without corrections, from the same seed, and after another run."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from runs import (
    ALWAYS_COMPUTED,
    OFF,
    REPRESENTATIVES,
    SOME_HITS,
    corrected,
    model_of,
    sampled,
)

import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.adacorrection_core.stats import Reason
from adacorrection.nodes.host import families, recognise, session
from adacorrection.nodes.host.session import apply_correction

STEPS = 6


def test_no_correction_is_bit_identical(family: str) -> None:
    assert_bit_identical(family)
    if tiny_models.takes_rows(family, 4):
        assert_bit_identical(family, cfg=3.0, batch=2)


@pytest.mark.parametrize("family", REPRESENTATIVES)
@pytest.mark.parametrize(("cfg", "batch"), [(1.0, 2), (3.0, 1)])
def test_no_correction_of_fewer_rows(family: str, cfg: float, batch: int) -> None:
    assert_bit_identical(family, cfg, batch)


def assert_bit_identical(family: str, cfg: float = 1.0, batch: int = 1) -> None:
    """Switched off, and with all hooks and anchors in place."""
    options = {"steps": 3, "cfg": cfg, "batch": batch}
    full = tiny_models.sample(model_of(family), family, **options)
    for config in (OFF, ALWAYS_COMPUTED):
        latent, report = sampled(corrected(family, config), family, **options)
        assert torch.equal(latent, full)
        assert report.hit_rate == 0
        assert report.block_fraction == 1
        assert (report.bytes_held > 0) == (config is ALWAYS_COMPUTED)
        assert report.bytes_held <= 1.05 * report.bytes_expected


def test_same_seed_gives_same_latent_and_hits(family: str) -> None:
    model = corrected(family)

    first, first_report = sampled(model, family, steps=STEPS, seed=3)
    second, second_report = sampled(model, family, steps=STEPS, seed=3)

    assert torch.equal(first, second)
    assert first_report.hit_rate == second_report.hit_rate > 0
    assert first_report is not second_report


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_a_run_leaves_nothing_to_the_next(family: str) -> None:
    model = corrected(family)
    sampled(model, family, steps=STEPS, seed=3)

    after_another, report = sampled(model, family, steps=STEPS, seed=4)
    afresh, _ = sampled(corrected(family), family, steps=STEPS, seed=4)

    assert torch.equal(after_another, afresh)
    assert report.hit_rate > 0


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_shape_changes_between_runs(family: str) -> None:
    model = corrected(family)
    sampled(model, family, steps=STEPS)
    latent = tiny_models.empty_latent(family)
    wider = torch.cat([latent, latent], dim=-1)
    longer = torch.cat([latent, latent, latent], dim=2) if latent.ndim == 5 else wider.mT.contiguous()

    for changed in (wider, longer):
        cond = conditioning_for(family, changed)
        options = {"steps": STEPS, "latent": changed, "positive": cond, "negative": cond}
        after_another, report = sampled(model, family, **options)
        afresh, _ = sampled(corrected(family), family, **options)
        assert torch.equal(after_another, afresh)
        assert report.hit_rate > 0


def conditioning_for(family: str, latent: torch.Tensor) -> tiny_models.Conditioning:
    """The family's conditioning with a picture of the latent's frames; ComfyUI adapts the other sides."""
    [[tokens, options]], _ = tiny_models.conditionings(family)
    image = options.get("concat_latent_image")
    if image is not None and image.ndim == 5:
        options = options | {"concat_latent_image": image[:, :, :1].repeat(1, 1, latent.shape[2], 1, 1)}
    return [[tokens, options]]


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_clones_in_turn(family: str) -> None:
    model = corrected(family)
    clones = [model.clone(), model.clone()]

    latents = [sampled(clone, family, steps=STEPS, seed=7)[0] for clone in (*clones, clones[0])]

    assert all(torch.equal(latent, latents[0]) for latent in latents)


def test_the_given_model_is_left_as_it_is(family: str) -> None:
    model = model_of(family)
    wrappers = {kind: dict(keyed) for kind, keyed in model.wrappers.items()}
    full = tiny_models.sample(model, family, steps=2)

    with unchanged_attributes(family):
        sampled(apply_correction(model, SOME_HITS), family, steps=STEPS)

    assert model.wrappers == wrappers
    assert torch.equal(tiny_models.sample(model, family, steps=2), full)


@contextmanager
def unchanged_attributes(family: str) -> Iterator[None]:
    """Nothing new on the model, on its blocks, or in the modules of the seam."""
    model = model_of(family)
    diffusion_model = model.model.diffusion_model
    owners = [diffusion_model, *tiny_models.blocks(model, family).values(), session, families, recognise]
    before = [attributes(owner) for owner in owners]
    keys = list(model.model.state_dict())
    yield
    assert [attributes(owner) for owner in owners] == before
    assert list(model.model.state_dict()) == keys


def attributes(owner: object) -> dict[str, int]:
    """Names and identities of an object's own attributes, without those that the host's models write."""
    cosmos, hidream_o1 = {"affline_emb", "affline_scale_log_info", "crossattn_emb"}, {"_kv_cache_entries"}
    own = cosmos | hidream_o1
    return {name: id(value) for name, value in vars(owner).items() if name not in own}


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_first_and_last_steps_are_computed(family: str) -> None:
    config = CorrectionConfig(tolerance=1.0, warmup_steps=3)
    _, report = sampled(corrected(family, config), family, steps=STEPS)

    reasons = [record.reason for record in report.records]
    assert reasons == [*3 * [Reason.WARMUP], None, None, Reason.LAST_STEP]


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_nothing_is_corrected_outside_start_and_end(family: str) -> None:
    config = CorrectionConfig(tolerance=1.0, warmup_steps=1, start_percent=0.4, end_percent=0.7)
    model = corrected(family, config)

    _, report = sampled(model, family, steps=12)

    to_sigma = model.get_model_object("model_sampling").percent_to_sigma
    first, last = float(to_sigma(0.4)), float(to_sigma(0.7))
    assert report.reused
    assert all(last <= record.sigma <= first for record in report.reused)
    assert Reason.OUTSIDE in {record.reason for record in report.records}
