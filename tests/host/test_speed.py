"""Fewer blocks run, as counted in the blocks themselves, and the latent stays close to the full run's."""

import pytest
import torch
from runs import (
    CLOSE,
    REPRESENTATIVES,
    SOME_HITS,
    closeness,
    corrected,
    model_of,
    relative_error,
    sampled,
)

import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.adacorrection_core.stats import RunReport

STEPS = 28
DEEP = {
    "flux_deep": tiny_models.flux({"depth": 4, "depth_single_blocks": 8}, guidance=3.5),
    "wan_deep": tiny_models.wan({"num_layers": 12}, (1, 16, 2, 8, 8)),
}


def test_runs_fewer_blocks_and_stays_close(family: str) -> None:
    cfg, batch = (3.0, 2) if tiny_models.takes_rows(family, 4) else (1.0, 1)
    full = tiny_models.sample(model_of(family), family, steps=10, cfg=cfg, batch=batch)
    model = corrected(family, CorrectionConfig.from_preset("quality"))

    with tiny_models.count_blocks(model, family) as executed:
        latent, report = sampled(model, family, steps=10, cfg=cfg, batch=batch)

    branches, blocks = 2 if cfg > 1 else 1, len(tiny_models.blocks(model, family))
    counted_as = blocks if family in tiny_models.WHOLE else 1
    assert report.blocks_run * counted_as == branches * executed.total()
    assert report.blocks_total * counted_as == branches * 10 * blocks
    assert report.block_fraction < 0.9
    assert 0.8 * report.bytes_expected < report.bytes_held <= 1.05 * report.bytes_expected
    assert torch.isfinite(latent).all()
    assert relative_error(latent, full) < closeness(family)


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_fast_preset(family: str) -> None:
    full = tiny_models.sample(model_of(family), family, steps=20)
    model = corrected(family, CorrectionConfig.from_preset("fast"))

    with tiny_models.count_blocks(model, family) as executed:
        latent, report = sampled(model, family, steps=20)

    assert report.blocks_run == executed.total()
    assert report.hit_rate > 0
    assert relative_error(latent, full) < CLOSE


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_target_speedup(family: str) -> None:
    assert_on_target(family, 2.0)


@pytest.mark.parametrize("speedup", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("deep", DEEP)
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_target_speedup_of_deep_models(
    deep: str, speedup: float, cfg: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tiny_models.FAMILIES, deep, DEEP[deep])
    assert_on_target(deep, speedup, cfg=cfg)


def assert_on_target(family: str, speedup: float, cfg: float = 1.0) -> RunReport:
    """Block executions within 10 % of the reciprocal, as counted in the blocks."""
    model = corrected(family, CorrectionConfig(target_speedup=speedup))

    with tiny_models.count_blocks(model, family) as executed:
        latent, report = sampled(model, family, steps=STEPS, cfg=cfg)

    fraction = executed.total() / (STEPS * len(tiny_models.blocks(model, family)))
    assert fraction == pytest.approx(report.block_fraction)
    assert fraction == pytest.approx(1 / speedup, rel=0.1)
    assert torch.isfinite(latent).all()
    return report


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_more_tolerance_means_fewer_blocks(family: str) -> None:
    fractions = []
    for tolerance in (0.01, 0.05, 0.25):
        _, report = sampled(corrected(family, CorrectionConfig(tolerance=tolerance)), family, steps=12)
        fractions.append(report.block_fraction)

    assert fractions == sorted(fractions, reverse=True)
    assert fractions[-1] < fractions[0]


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_longest_stretch(family: str) -> None:
    config = CorrectionConfig(tolerance=1.0, warmup_steps=1, max_consecutive=2)

    _, report = sampled(corrected(family, config), family, steps=12)

    pattern = "".join("x" if record.blocks_run < record.blocks_total else "C" for record in report.records)
    assert max(map(len, pattern.split("C"))) == 2


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_paper_mode_computes_every_block(family: str) -> None:
    full = tiny_models.sample(model_of(family), family, steps=6)
    model = corrected(family, CorrectionConfig(mode="paper", sensitivity=SOME_HITS.sensitivity))

    with tiny_models.count_blocks(model, family) as executed:
        latent, report = sampled(model, family, steps=6)

    assert executed == dict.fromkeys(tiny_models.blocks(model, family), 6)
    assert report.block_fraction == 1
    assert relative_error(latent, full) < CLOSE
