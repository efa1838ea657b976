"""A second cache in the chain: AdaCorrection steps aside and says so; the other does what it does alone."""

import logging
from collections.abc import Callable
from typing import Any

import comfy_extras.nodes_easycache as easycache
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import OFF, SOME_HITS, TOLERANT, model_of, sampled

import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.adacorrection_core.stats import Reason
from adacorrection.nodes.host.session import apply_correction

STEPS = 12
FAMILY = "flux_dev"
OTHERS = {"EasyCache": easycache.EasyCacheNode, "LazyCache": easycache.LazyCacheNode}


def with_other_cache(model: ModelPatcher, name: str) -> ModelPatcher:
    """ComfyUI's own cache, so loose that it skips steps of a random model."""
    return OTHERS[name].execute(model, 100.0, 0.1, 0.9, False).args[0]


def chain(name: str, is_ours_first: bool) -> ModelPatcher:
    if is_ours_first:
        return with_other_cache(apply_correction(model_of(FAMILY), SOME_HITS), name)
    return apply_correction(with_other_cache(model_of(FAMILY), name), SOME_HITS)


@pytest.mark.parametrize("is_ours_first", [True, False], ids=["ours first", "ours last"])
@pytest.mark.parametrize("name", OTHERS)
def test_the_other_cache_has_the_steps_to_itself(
    name: str, is_ours_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    run = {"steps": STEPS, "cfg": 3.0}
    alone = with_other_cache(model_of(FAMILY), name)
    with tiny_models.count_blocks(alone, FAMILY) as executed:
        expected = tiny_models.sample(alone, FAMILY, **run)
    assert max(executed.values()) < STEPS  # it does skip

    with caplog.at_level(logging.WARNING), tiny_models.count_blocks(alone, FAMILY) as with_ours:
        latent, report = sampled(chain(name, is_ours_first), FAMILY, **run)

    assert torch.equal(latent, expected)
    assert with_ours == executed
    assert report.hit_rate == 0
    assert set(report.reasons) == {Reason.OTHER_CACHE.value}
    assert report.blocks_run == 2 * executed.total()  # counted by branch, and there are two in each call
    assert f"{name} is at work on this model too" in report.summary()
    assert [r.getMessage() for r in caplog.records if "AdaCorrection" in r.getMessage()] == [
        f"AdaCorrection: {report.note}"
    ]


def test_a_wrapper_in_the_single_slot_is_known_by_its_name() -> None:
    class TeaCache:
        def apply(self) -> Callable[..., Any]:
            def wrapper(model_function: Callable[..., Any], call: dict[str, Any]) -> Any:
                return model_function(call["input"], call["timestep"], **call["c"])

            return wrapper

    model = model_of(FAMILY).clone()
    model.set_model_unet_function_wrapper(TeaCache().apply())
    full = tiny_models.sample(model, FAMILY)

    latent, report = sampled(apply_correction(model, SOME_HITS), FAMILY)

    assert torch.equal(latent, full)
    assert "TeaCache is at work" in report.note


def test_a_cache_of_ours_that_is_switched_off_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    model = apply_correction(with_other_cache(model_of(FAMILY), "EasyCache"), OFF)

    with caplog.at_level(logging.WARNING):
        _, report = sampled(model, FAMILY)

    assert not report.note
    assert "at work" not in caplog.text


@pytest.mark.parametrize(
    "config", [OFF, TOLERANT, CorrectionConfig(target_speedup=3.0)], ids=lambda c: c.name
)
def test_the_later_of_two_nodes_wins_and_the_log_says_so(
    config: CorrectionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    earlier = apply_correction(model_of(FAMILY), config)
    with caplog.at_level(logging.WARNING):
        later = apply_correction(earlier, SOME_HITS)
    assert "in this chain twice" in caplog.text
    assert SOME_HITS.name in caplog.text

    latent, report = sampled(later, FAMILY, steps=STEPS)

    assert report.config_name == SOME_HITS.name
    assert report.hit_rate > 0
    assert len(report.records) == STEPS
    assert torch.equal(
        latent, tiny_models.sample(apply_correction(model_of(FAMILY), SOME_HITS), FAMILY, steps=STEPS)
    )
    # The earlier node's own output is as it was.
    assert sampled(earlier, FAMILY)[1].config_name == config.name


def test_a_patch_that_is_no_cache_is_none(caplog: pytest.LogCaptureFixture) -> None:
    model = model_of(FAMILY).clone()
    model.set_model_unet_function_wrapper(
        lambda function, call: function(call["input"], call["timestep"], **call["c"])
    )

    _, report = sampled(apply_correction(model, CorrectionConfig(target_speedup=1.5)), FAMILY, steps=STEPS)

    assert "is at work" not in report.note
    assert report.hit_rate > 0
