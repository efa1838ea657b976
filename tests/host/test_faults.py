"""What goes wrong in mid-run passes through once and leaves nothing; the next run is like a first one."""

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from unittest import mock

import comfy.model_management
import comfy.samplers
import comfy_extras.nodes_advanced_samplers as advanced
import comfy_extras.nodes_custom_sampler as custom
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from runs import ALWAYS_COMPUTED, SOME_HITS, TOLERANT, corrected, model_of, probe_always_asked, run_node
from test_leftovers import assert_clean, only_new_objects  # noqa: F401  (a fixture for every test here)
from torch import Tensor

import tiny_models
from adacorrection.adacorrection_core import controller
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.adacorrection_core.stats import Outcome, Reason
from adacorrection.nodes.host.handle import KEY
from adacorrection.nodes.host.session import apply_correction, report_of

FAMILY = "flux_dev"
STEPS = 7


class Boom(RuntimeError):
    """An error in the middle of a run."""


def run(model: ModelPatcher, calls: list[int], at: Callable[[int], None] = lambda step: None) -> Tensor:
    """A run that takes note of each step and does something behind it."""

    def callback(step: int, *_: object) -> None:
        calls.append(step)
        at(step)

    return tiny_models.sample(model, FAMILY, steps=STEPS, callback=callback)


@pytest.fixture(params=[SOME_HITS, TOLERANT], ids=["target", "tolerance"])
def model(request: pytest.FixtureRequest) -> Iterator[ModelPatcher]:
    """A model patched by target, which leaves the blocks alone, or by tolerance, which asks the probe."""
    with probe_always_asked():
        yield corrected(FAMILY, request.param)


@cache
def first_run(config: CorrectionConfig) -> Tensor:
    """What a first run of a freshly patched model gives."""
    return run(corrected(FAMILY, config), [])


def assert_like_new(model: ModelPatcher) -> None:
    first = first_run(model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)[0].__self__.config)
    assert_clean(model, FAMILY)
    calls: list[int] = []
    assert torch.equal(run(model, calls), first)
    assert calls == list(range(STEPS))
    assert report_of(model).is_finished


@pytest.mark.parametrize("kind", ["between calls", "inside a call"])
def test_interrupt_at_every_step(kind: str, model: ModelPatcher) -> None:
    """ComfyUI asks for the interrupt in each operation of a model, so that the Cancel button ends a call."""
    interrupted = comfy.model_management.InterruptProcessingException
    # What is asked for behind the last step ends no call of this run, but the first one of the next.
    for stop in range(STEPS - (kind == "inside a call")):

        def at(step: int, stop: int = stop) -> None:
            if step == stop and kind == "between calls":
                raise interrupted
            if step == stop:
                comfy.model_management.interrupt_current_processing()

        calls: list[int] = []
        with pytest.raises(interrupted):
            run(model, calls, at)

        report = report_of(model)
        reused = {r.evaluation for r in report.reused}
        # A corrected step runs none of the model's operations: the next one that does ends the run.
        assert calls[: stop + 1] == list(range(stop + 1))
        assert set(calls[stop + 1 :]) <= reused
        assert not report.is_finished
        assert {r.evaluation for r in report.records} >= set(calls)
        assert_like_new(model)


@pytest.mark.parametrize("place", range(7), ids="block {}".format)
def test_error_in_every_block(place: int, model: ModelPatcher) -> None:
    """At a computed step, and for the probe at a corrected one too."""
    block = list(tiny_models.blocks(model, FAMILY).values())[place]
    for call in (1, 3, 5):
        done = [0]

        def fail(*_: object, call: int = call, done: list[int] = done) -> None:
            done[0] += 1
            if done[0] == call:
                raise Boom

        handle = block.register_forward_pre_hook(fail)
        calls: list[int] = []
        with pytest.raises(Boom):
            run(model, calls)
        handle.remove()
        assert done[0] == call
        assert not report_of(model).is_finished
        assert_like_new(model)


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_a_stop_in_every_call(sampler: str, model: ModelPatcher) -> None:
    """Between cond and uncond of one evaluation, too, and between the evaluations of one step."""
    options: dict[str, Any] = {"steps": 5, "cfg": 3.0, "sampler": sampler}
    with mock.patch.object(comfy.samplers, "can_concat_cond", lambda one, other: one is other):
        first = tiny_models.sample(model, FAMILY, **options)
        assert report_of(model).reused
        total = len(report_of(model).records)
        assert total == {"euler": 10, "heun": 18}[sampler]
        for stop in range(1, total + 1):
            error = comfy.model_management.InterruptProcessingException if stop % 2 else Boom
            stopping, done = stopped_behind(model, stop, error)
            with pytest.raises(error):
                tiny_models.sample(stopping, FAMILY, **options)
            assert done == list(range(1, stop + 1))
            assert_clean(stopping, FAMILY)
            assert torch.equal(tiny_models.sample(model, FAMILY, **options), first)


def stopped_behind(
    model: ModelPatcher, stop: int, error: type[BaseException]
) -> tuple[ModelPatcher, list[int]]:
    """A clone that raises behind the n-th call, outside of all other wrappers; and its calls."""
    stopping, done = model.clone(), []

    def count(executor: Any, *args: Any, **kwargs: Any) -> Any:
        result = executor(*args, **kwargs)
        done.append(len(done) + 1)
        if len(done) == stop:
            raise error
        return result

    others = stopping.wrappers[WrappersMP.APPLY_MODEL]
    stopping.wrappers = {**stopping.wrappers, WrappersMP.APPLY_MODEL: {"count": [count], **others}}
    return stopping, done


@pytest.mark.parametrize("method", ["probe", "corrected", "complete"])
def test_error_in_our_own_code(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even that is not kept from the user, does not make sampling run twice, and is over with the run."""
    model, done, original = corrected(FAMILY, TOLERANT), [0], getattr(controller.ModelCall, method)

    def fail(*args: Any) -> Any:
        done[0] += 1
        if done[0] == 2:
            raise Boom
        return original(*args)

    with monkeypatch.context() as patch, pytest.raises(Boom):
        patch.setattr(controller.ModelCall, method, fail)
        run(model, [])
    assert done[0] == 2
    assert_like_new(model)


@pytest.mark.parametrize("stored", [1, 3])
def test_no_memory_for_an_anchor(stored: int, model: ModelPatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on without the cache and says so; the next one tries again."""
    done, make_anchor = [0], controller.make_anchor

    def fail(*args: Any, **kwargs: Any) -> Any:
        done[0] += 1
        if done[0] == stored:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return make_anchor(*args, **kwargs)

    calls: list[int] = []
    with monkeypatch.context() as patch, tiny_models.count_blocks(model, FAMILY) as executed:
        patch.setattr(controller, "make_anchor", fail)
        latent = run(model, calls)

    report = report_of(model)
    assert calls == list(range(STEPS))
    assert done[0] == stored  # not tried again in this run
    assert report.is_finished
    assert Reason.NO_MEMORY.value in report.reasons
    assert "memory for the cache ran out" in report.summary().lower()
    assert report.blocks_run == executed.total()
    if stored == 1:
        assert report.hit_rate == 0
        assert torch.equal(latent, run(model_of(FAMILY), []))
    assert torch.isfinite(latent).all()
    assert_like_new(model)


def test_nan_in_the_output_of_the_model() -> None:
    """What comes out of the model is the host's to deal with; ours is that no later step reuses any of it."""
    plain, calls = model_of(FAMILY).clone(), [0]

    def spoil(executor: Any, *args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        result = executor(*args, **kwargs)
        return result * math.nan if calls[0] == 4 else result

    plain.add_wrapper_with_key("apply_model", "spoil", spoil)
    model = apply_correction(plain, SOME_HITS)

    latent = run(model, [])

    report = report_of(model)
    assert latent.isnan().all()
    assert report.is_finished
    assert all(r.outcome is Outcome.COMPUTE for r in report.records if r.step_index >= 4)
    assert report.resets >= 1
    calls[0] = 10  # sound from here on
    assert_like_new(model)


def custom_run(model: ModelPatcher, sampler: object, sigmas: Tensor) -> Tensor:
    positive, negative = tiny_models.conditionings(FAMILY)
    torch.manual_seed(5)
    with torch.inference_mode():
        return run_node(
            custom.SamplerCustomAdvanced,
            noise=run_node(custom.RandomNoise, noise_seed=3),
            guider=run_node(custom.CFGGuider, model=model, positive=positive, negative=negative, cfg=1.0),
            sampler=sampler,
            sigmas=sigmas,
            latent_image={"samples": tiny_models.empty_latent(FAMILY)},
        )["samples"]


def schedule(steps: int) -> Tensor:
    node = custom.BasicScheduler
    return run_node(node, model=model_of(FAMILY), scheduler="simple", steps=steps, denoise=1.0)


def test_a_latent_that_grows_in_mid_run(model: ModelPatcher) -> None:
    """SamplerLCMUpscale: each size is a branch of its own."""
    settings = {"scale_ratio": 2.0, "scale_steps": 3, "upscale_method": "nearest-exact"}
    sampler = run_node(advanced.SamplerLCMUpscale, **settings)
    full = custom_run(model_of(FAMILY), sampler, schedule(12))
    assert full.shape[-1] == 2 * tiny_models.empty_latent(FAMILY).shape[-1]
    assert torch.equal(custom_run(corrected(FAMILY, ALWAYS_COMPUTED), sampler, schedule(12)), full)

    latent = custom_run(model, sampler, schedule(12))

    report = report_of(model)
    assert latent.shape == full.shape
    assert torch.isfinite(latent).all()
    assert Reason.NEW_BRANCH in [r.reason for r in report.records[2:5]]
    assert min(r.step_index for r in report.reused) >= 4
    assert_like_new(model)


def test_a_noise_level_that_only_rises(model: ModelPatcher) -> None:
    """FlipSigmas turns a picture back into noise: there is nothing below to forecast from."""
    sampler = run_node(custom.KSamplerSelect, sampler_name="euler")
    sigmas = run_node(custom.FlipSigmas, sigmas=schedule(8))
    full = custom_run(model_of(FAMILY), sampler, sigmas)

    assert torch.equal(custom_run(model, sampler, sigmas), full)

    report = report_of(model)
    assert report.hit_rate == 0
    assert "Nothing was reused" in report.summary()
    assert report.reasons[Reason.SIGMA_ROSE.value] == 7
    assert_like_new(model)


def test_a_noise_level_that_rises_once(model: ModelPatcher) -> None:
    """A restart in the middle: what was learnt below is no ground for a forecast above."""
    sampler = run_node(custom.KSamplerSelect, sampler_name="euler")
    sigmas = torch.tensor([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.0])

    custom_run(model, sampler, sigmas)

    report = report_of(model)
    assert report.records[6].reason is Reason.SIGMA_ROSE
    assert [r for r in report.reused if r.evaluation > 6]
    assert_like_new(model)
