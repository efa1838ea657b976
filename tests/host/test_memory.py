"""What the cache will take is known before the run, told to the host, and kept in RAM if it does not fit."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import comfy.model_management
import comfy.samplers
import comfy.supported_models
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import (
    ALWAYS_COMPUTED,
    CLOSE,
    SOME_HITS,
    TOLERANT,
    corrected,
    model_of,
    only_on_the_cpu,
    relative_error,
    sampled,
)

import tiny_models
from adacorrection.adacorrection_core import controller
from adacorrection.adacorrection_core.anchors import CORRECTOR_LATENTS, STEP_LATENTS, Anchor, CacheSize
from adacorrection.adacorrection_core.config import PRESETS, CorrectionConfig
from adacorrection.adacorrection_core.state import RunState
from adacorrection.adacorrection_core.stats import RunReport
from adacorrection.nodes.host import memory, session
from adacorrection.nodes.host.family import Tokens
from adacorrection.nodes.host.recognise import family_of
from adacorrection.nodes.host.rehearsal import Rehearsal
from adacorrection.nodes.host.session import apply_correction

GB = 1e9


WAN_14B = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "dim": 5120,
    "ffn_dim": 13824,
    "num_heads": 40,
    "num_layers": 40,
    "in_dim": 16,
    "out_dim": 16,
}
# 81 frames of 832 x 480 in the latent.
VIDEO_480P = (1, 16, 21, 60, 104)


@pytest.fixture(scope="module")
def wan_14b() -> ModelPatcher:
    """The host's own model of that size, without numbers in it."""
    config = comfy.supported_models.WAN21_T2V(WAN_14B)
    config.set_inference_dtype(torch.bfloat16, None)
    cpu = torch.device("cpu")
    return ModelPatcher(config.get_model({}, device="meta"), load_device=cpu, offload_device=cpu)


def test_a_branch_of_wan_14b(wan_14b: ModelPatcher) -> None:
    wan = wan_14b.model.diffusion_model
    tokens = family_of(wan).tokens

    count = tokens.count(wan, [VIDEO_480P], text_length=512)
    size = CacheSize(1, math.prod(VIDEO_480P), count, tokens.width_of(wan))

    assert (count, size.width, len(wan.blocks)) == (32760, 5120, 40)
    assert 0.07 * GB < size.bytes_held < 0.08 * GB
    assert 0.03 * GB < replace(size, dtype=torch.bfloat16).bytes_held < 0.04 * GB


@pytest.mark.parametrize("cast", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("preset", [*PRESETS, "custom"])
def test_a_run_of_wan_14b(wan_14b: ModelPatcher, preset: str, cast: torch.dtype) -> None:
    """All that a run of 30 steps is expected to hold, anchors and corrector: at most 1.4 GB a branch."""
    config = CorrectionConfig() if preset == "custom" else CorrectionConfig.from_preset(preset)
    model = wan_14b.clone()
    model.set_model_compute_dtype(cast)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", 30)
    schedule = session.make_schedule(sigmas, model.get_model_object("model_sampling"), config)
    run = RunState(config, schedule, RunReport(config.name, "Wan 14B", 30), cfg=5.0)
    conds = {role: [{"cross_attn": torch.zeros(1, 512, 4096)}] for role in ("positive", "negative")}
    rehearsal = Rehearsal(model, conds, {}, [VIDEO_480P], run.cfg)

    evaluations = memory.expected_calls(family_of(wan_14b.model.diffusion_model), rehearsal, schedule, config)
    held = run.expect(evaluations, math.prod(VIDEO_480P), lambda needed: True)

    assert {len(calls) for calls in evaluations} == {2}
    latent = math.prod(VIDEO_480P)
    assert held >= (CORRECTOR_LATENTS + STEP_LATENTS) * 4 * latent + 2 * 2 * 2 * 2 * latent
    assert held / 2 < 0.2 * GB  # a branch; what was asked for is 1.4


def test_what_is_held_is_what_was_expected(family: str) -> None:
    """The most is held in a second stretch of two corrected steps."""
    cfg = 3.0 if tiny_models.takes_rows(family, 2) else 1.0
    _, report = sampled(corrected(family, TOLERANT), family, steps=12, cfg=cfg)

    assert report.bytes_held == pytest.approx(report.bytes_expected, rel=0.05)


def test_without_a_probe_it_is_latents_alone() -> None:
    _, report = sampled(
        corrected("flux_dev", replace(TOLERANT, probe_blocks=0)), "flux_dev", steps=12, cfg=3.0
    )

    assert report.bytes_held == pytest.approx(report.bytes_expected, rel=0.05)


@contextmanager
def what_is_kept() -> Iterator[set[torch.dtype]]:
    """Precisions of the velocity, the clean latent and the probe of every anchor that is made meanwhile."""
    make, found = controller.make_anchor, set()

    def make_and_note(*args: Any, **options: Any) -> Anchor:
        anchor = make(*args, **options)
        large = (anchor.velocity, anchor.denoised, anchor.probe)
        found.update(kept.tensor.dtype for kept in large if kept is not None)
        return anchor

    with mock.patch.object(controller, "make_anchor", make_and_note):
        yield found


@pytest.mark.parametrize(
    "config", [TOLERANT, CorrectionConfig(target_speedup=2.0)], ids=["tolerance", "target"]
)
@pytest.mark.parametrize("family", ["flux_dev", "wan21_t2v"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_model_in_half_precision_has_it_kept_so(
    family: str, dtype: torch.dtype, config: CorrectionConfig
) -> None:
    """As the node ModelComputeDtype has it compute. What is asked of the host is half as much for anchors."""
    model = model_of(family).clone()
    model.set_model_compute_dtype(dtype)
    full = tiny_models.sample(model, family, steps=20, cfg=3.0)
    with what_is_kept() as found:
        latent, report = sampled(apply_correction(model, config), family, steps=20, cfg=3.0)
    _, in_full = sampled(corrected(family, config), family, steps=20, cfg=3.0)

    assert found == {dtype, torch.float16}
    assert report.hit_rate > 0.3
    assert report.bytes_held == pytest.approx(report.bytes_expected, rel=0.05)
    numbers = math.prod(tiny_models.empty_latent(family).shape)
    corrector = (CORRECTOR_LATENTS + STEP_LATENTS) * 4 * numbers
    anchors, anchors_in_full = report.bytes_expected - corrector, in_full.bytes_expected - corrector
    assert anchors == pytest.approx(anchors_in_full / 2, rel=0.05)  # one number a token stays in float32
    assert relative_error(latent, full) < 2 * CLOSE


@pytest.mark.parametrize("weights", [torch.bfloat16, torch.float8_e4m3fn], ids=str)
def test_it_is_the_precision_of_the_computation_that_counts(weights: torch.dtype) -> None:
    """On a CPU ComfyUI computes in float32 whatever the weights are stored in; told so, in bfloat16."""
    model = tiny_models.load("flux_dev", dtype=weights)
    for told, kept in ((None, {torch.float32}), (torch.bfloat16, {torch.bfloat16, torch.float16})):
        patched = corrected_clone(model, told)
        with what_is_kept() as found:
            _, report = sampled(patched, "flux_dev", steps=12)

        assert found == kept
        assert report.bytes_held == pytest.approx(report.bytes_expected, rel=0.05)


def corrected_clone(model: ModelPatcher, told: torch.dtype | None) -> ModelPatcher:
    """A patched clone that is told what to compute in, unless None."""
    clone = model.clone()
    if told is not None:
        clone.set_model_compute_dtype(told)
    return apply_correction(clone, TOLERANT)


@contextmanager
def asked_for() -> Iterator[list[tuple[float, float]]]:
    """What the host is asked for, as (required, minimum) in bytes."""
    load, asked = comfy.model_management.load_models_gpu, []

    def load_and_note(models: object, **options: object) -> object:
        asked.append((options["memory_required"], options["minimum_memory_required"]))
        return load(models, **options)

    with mock.patch.object(comfy.model_management, "load_models_gpu", load_and_note):
        yield asked


@pytest.mark.parametrize("family", ["flux_dev", "wan21_t2v", "ltxav"])
def test_the_host_is_asked_for_it(family: str) -> None:
    with asked_for() as asked:
        tiny_models.sample(model_of(family), family, steps=2, cfg=3.0)
        _, report = sampled(corrected(family, ALWAYS_COMPUTED), family, steps=4, cfg=3.0)

    (required, minimum), (required_with, minimum_with) = asked
    assert minimum_with - minimum == pytest.approx(report.bytes_expected, rel=0.4)
    assert minimum_with - minimum > 0.99 * report.bytes_expected
    assert required_with - required >= minimum_with - minimum


def test_a_cache_that_is_off_asks_for_nothing() -> None:
    with asked_for() as asked:
        for config in (CorrectionConfig(tolerance=0.0), ALWAYS_COMPUTED):
            tiny_models.sample(corrected("flux_dev", config), "flux_dev", steps=2)
        tiny_models.sample(model_of("flux_dev"), "flux_dev", steps=2)

    assert asked[0] == asked[2] < asked[1]


def test_in_ram_where_it_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The anchors; what the corrector holds stays on the device, and the host is told of that."""
    on_device, with_reserve = [], memory.with_reserve
    monkeypatch.setattr(
        memory, "with_reserve", lambda *args: on_device.append(args[2]) or with_reserve(*args)
    )
    latent, report = sampled(corrected("flux_dev", SOME_HITS), "flux_dev", steps=6)
    assert not report.is_offloaded
    monkeypatch.setattr(memory, "fits", lambda model, shape, needed: False)

    offloaded, offloaded_report = sampled(corrected("flux_dev", SOME_HITS), "flux_dev", steps=6)

    assert offloaded_report.is_offloaded
    assert 0 < on_device[1] < on_device[0] == offloaded_report.bytes_expected
    assert "in RAM" in offloaded_report.summary()
    assert torch.equal(offloaded, latent)


@only_on_the_cpu("its memory is the host's")
@pytest.mark.parametrize("free", [-1, 1])
def test_what_fits(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the whole model, what sampling takes, and the host's own reserve."""
    model, shape, needed = model_of("flux_dev").clone(), (1, 16, 16, 16), 1000
    assert memory.fits(model, shape, 10**15)  # on a CPU there is but one memory
    model.load_device = torch.device("cuda")
    taken = model.model_size() + model.model.memory_required([2, *shape[1:]])
    total = taken + comfy.model_management.extra_reserved_memory() + needed + free
    monkeypatch.setattr(comfy.model_management, "get_total_memory", lambda device: total)

    assert memory.fits(model, shape, needed) == (free >= 0)


def test_a_run_goes_on_where_the_size_is_not_known(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A variant of a family whose module keeps its width under another name."""
    full = tiny_models.sample(model_of("flux_dev"), "flux_dev", steps=4)
    family = family_of(model_of("flux_dev").model.diffusion_model)
    unknown = replace(family, tokens=Tokens("breadth"), has_references=False)
    monkeypatch.setattr(session, "find_family", lambda _: unknown)

    latent, report = sampled(corrected("flux_dev", ALWAYS_COMPUTED), "flux_dev", steps=4)

    assert torch.equal(latent, full)
    assert report.bytes_expected == 0 < report.bytes_held
    assert "is not known" in caplog.text
