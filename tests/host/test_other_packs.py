"""Beside other packs' block replacements and guidance nodes: theirs still run, and no branch is mixed up."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import comfy_extras.nodes_slg
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from runs import (
    ALWAYS_COMPUTED,
    CLOSE,
    OFF,
    REPRESENTATIVES,
    SOME_HITS,
    evaluate_twice,
    model_of,
    relative_error,
    run_node,
    sampled,
)
from torch import Tensor

import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.nodes.host.session import apply_correction, report_of

STEPS = 10
REPLAY = CorrectionConfig(tolerance=1.0, warmup_steps=1)


def replaced(family: str, *indices: int) -> tuple[ModelPatcher, list[int]]:
    """The family's model with blocks replaced as other packs do it, and the calls of what replaces them."""
    model, calls = model_of(family).clone(), []

    def patch(index: int) -> Callable[..., dict[str, Any]]:
        def replace(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
            calls.append(index)
            out = extra["original_block"](args)
            return out | {"img": out["img"] * 1.05}

        return replace

    for index in indices:
        model.set_model_patch_replace(patch(index), "dit", "double_block", index)
    return model, calls


@pytest.mark.parametrize("family", REPRESENTATIVES)
@pytest.mark.parametrize("config", [OFF, ALWAYS_COMPUTED], ids=["off", "always computed"])
def test_replaced_blocks_without_correction(family: str, config: CorrectionConfig) -> None:
    model, calls = replaced(family, 0, 1)
    full = tiny_models.sample(model, family, steps=3)
    assert not torch.equal(full, tiny_models.sample(model_of(family), family, steps=3))
    calls.clear()

    latent, _ = sampled(apply_correction(model, config), family, steps=3)

    assert torch.equal(latent, full)
    assert calls == 3 * [0, 1]


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_replaced_blocks_with_correction(family: str) -> None:
    model, calls = replaced(family, 0, 1)
    full = tiny_models.sample(model, family, steps=STEPS)
    calls.clear()

    latent, report = sampled(apply_correction(model, SOME_HITS), family, steps=STEPS)

    assert report.hit_rate > 0
    assert calls.count(0) == sum(record.blocks_run > 0 for record in report.records)
    assert calls.count(1) == STEPS - len(report.reused)
    assert relative_error(latent, full) < CLOSE


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_replay_with_replaced_blocks(family: str) -> None:
    full, held = evaluate_twice(apply_correction(replaced(family, 0, 1)[0], REPLAY), family)

    assert relative_error(held, full) < 1e-5


def with_skipped_layers(model: ModelPatcher, layers: str) -> ModelPatcher:
    """Skip-layer guidance by ComfyUI's own node."""
    return run_node(
        comfy_extras.nodes_slg.SkipLayerGuidanceDiT,
        model=model,
        scale=1.0,
        start_percent=0.0,
        end_percent=1.0,
        double_layers=layers,
        single_layers="",
    )


@pytest.mark.parametrize("family", REPRESENTATIVES)
@pytest.mark.parametrize("layers", ["1", "0"])
def test_skip_layer_guidance_is_a_branch_of_its_own(family: str, layers: str) -> None:
    plain = with_skipped_layers(model_of(family), layers)
    full = tiny_models.sample(plain, family, steps=STEPS, cfg=3.0)

    same, _ = sampled(apply_correction(plain, ALWAYS_COMPUTED), family, steps=STEPS, cfg=3.0)
    latent, report = sampled(apply_correction(plain, SOME_HITS), family, steps=STEPS, cfg=3.0)

    assert torch.equal(same, full)
    assert len(report.records) == 3 * STEPS
    assert report.hit_rate > 0
    assert relative_error(latent, full) < 2 * CLOSE  # guidance on random weights magnifies


@pytest.mark.parametrize("layer", [0, 3], ids=["first", "last"])
def test_a_pass_that_leaves_out_our_blocks_is_looked_after_all_the_same(layer: int) -> None:
    """Skip-layer guidance may leave out the probe or the last block; the velocity is known without them."""
    plain = with_skipped_layers(model_of("wan21_t2v"), str(layer))
    full = tiny_models.sample(plain, "wan21_t2v", steps=STEPS)

    latent, report = sampled(apply_correction(plain, SOME_HITS), "wan21_t2v", steps=STEPS)

    passes = [report.records[0::2], report.records[1::2]]
    assert [r.outcome for r in passes[0]] == [r.outcome for r in passes[1]]
    assert report.hit_rate > 0
    assert relative_error(latent, full) < 2 * CLOSE


def outer_block(family: str, index: int) -> tuple[str, str, int]:
    """Name in ComfyUI's patches of the first block (0) or the last (-1)."""
    name, number = list(tiny_models.blocks(model_of(family), family))[index]
    return "dit", "single_block" if name == "single_blocks" else "double_block", number


@pytest.mark.parametrize("family", REPRESENTATIVES)
@pytest.mark.parametrize("index", [0, -1], ids=["first", "last"])
def test_a_replacement_that_comes_and_goes(family: str, index: int) -> None:
    """A patch that at some steps does without the block must never cost the picture its deep blocks."""
    model, done = model_of(family).clone(), [0]

    def replace(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        return args if done[0] in (4, 7) else extra["original_block"](args)

    def run(model: ModelPatcher) -> torch.Tensor:
        done[0] = 0
        return tiny_models.sample(model, family, steps=9, callback=lambda i, *_: done.__setitem__(0, i + 1))

    model.set_model_patch_replace(replace, *outer_block(family, index))
    full = run(model)
    model = apply_correction(model, CorrectionConfig(tolerance=1.0, warmup_steps=4, max_consecutive=2))
    with tiny_models.count_blocks(model, family) as executed:
        latent = run(model)

    report = report_of(model)
    assert report.hit_rate > 0
    assert report.blocks_run == executed.total()
    assert relative_error(latent, full) < CLOSE


@pytest.mark.parametrize("family", REPRESENTATIVES)
@pytest.mark.parametrize("index", [0, -1], ids=["first", "last"])
def test_a_replacement_that_calls_its_block_twice(family: str, index: int) -> None:
    model = model_of(family).clone()

    def replace(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        copies = {key: args[key].clone() for key in ("img", "txt") if args.get(key) is not None}
        extra["original_block"](args | copies)
        return extra["original_block"](args)

    model.set_model_patch_replace(replace, *outer_block(family, index))
    model = apply_correction(model, REPLAY)

    full, held = evaluate_twice(model, family)

    assert len(report_of(model).records) == 2
    assert relative_error(held, full) < 1e-5


def test_a_wrapper_that_passes_arguments_by_name() -> None:
    """Around ours, in a run with a mask: that is known of by its place or by its name."""
    names = {
        WrappersMP.OUTER_SAMPLE: ("noise", "latent_image", "sampler", "sigmas", "denoise_mask"),
        WrappersMP.APPLY_MODEL: ("x", "t", "c_concat", "c_crossattn", "control", "transformer_options"),
    }
    plain, called = model_of("flux_dev").clone(), set()

    def by_name(kind: str, executor: Any, *args: Any, **kwargs: Any) -> Any:
        called.add(kind)
        return executor(**dict(zip(names[kind], args, strict=False)), **kwargs)

    for kind in names:
        plain.add_wrapper_with_key(kind, "by name", partial(by_name, kind))
    latent = torch.full_like(tiny_models.empty_latent("flux_dev"), 0.3)
    mask = torch.zeros(1, 1, *latent.shape[-2:])
    mask[..., :4] = 1.0
    run = {"steps": STEPS, "latent": latent, "noise_mask": mask}
    expected, _ = sampled(apply_correction(model_of("flux_dev"), SOME_HITS), "flux_dev", **run)
    _, without_mask = sampled(apply_correction(model_of("flux_dev"), SOME_HITS), "flux_dev", steps=STEPS)

    by_names, report = sampled(apply_correction(plain, SOME_HITS), "flux_dev", **run)

    assert called == set(names)
    assert report.hit_rate > 0
    assert report.bytes_expected < without_mask.bytes_expected  # under a mask nothing is settled
    assert torch.equal(by_names, expected)


@pytest.mark.parametrize("family", REPRESENTATIVES)
@pytest.mark.parametrize("is_last", [True, False], ids=["after ours", "before ours"])
def test_a_wrapper_that_samples_in_stretches(family: str, is_last: bool) -> None:
    """Of one run of ours where it was put on the model last, and so is called by ours; else of three."""
    ends = (0, 4, 7, STEPS)

    def in_stretches(executor: Any, noise: Tensor, latent: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        sampler, sigmas, *rest = args
        for first, last in itertools.pairwise(ends):
            latent = 0.8 * executor(noise, latent, sampler, sigmas[first : last + 1], *rest, **kwargs)
            noise = torch.zeros_like(noise)
        return latent

    def wrapped(model: ModelPatcher) -> ModelPatcher:
        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "stretches", in_stretches)
        return model

    def corrected(config: CorrectionConfig) -> ModelPatcher:
        if is_last:
            return wrapped(apply_correction(model_of(family), config))
        return apply_correction(wrapped(model_of(family)), config)

    run = {"steps": STEPS, "cfg": 3.0}
    full = tiny_models.sample(wrapped(model_of(family)), family, **run)
    same, _ = sampled(corrected(ALWAYS_COMPUTED), family, **run)
    latent, report = sampled(corrected(SOME_HITS), family, **run)

    assert torch.equal(same, full)
    assert len(report.records) == 2 * (STEPS if is_last else STEPS - ends[-2])
    assert (report.hit_rate > 0) == is_last  # three steps are too few
    assert report.bytes_held <= report.bytes_expected
    assert relative_error(latent, full) < 2 * CLOSE


def test_applying_twice_replaces() -> None:
    model = apply_correction(apply_correction(model_of("flux_dev"), SOME_HITS), OFF)

    _, report = sampled(model, "flux_dev", steps=STEPS)

    assert all(
        len(keyed["adacorrection"]) == 1 for keyed in model.wrappers.values() if "adacorrection" in keyed
    )
    assert report.config_name == OFF.name == report_of(model).config_name
    assert report.hit_rate == 0
