"""What the cache will take is known before the run where a long video is cut into windows."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import comfy.context_windows as context_windows
import comfy_extras.nodes_context_windows as windows
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy.nested_tensor import NestedTensor
from runs import ALWAYS_COMPUTED, TOLERANT, model_of, report_of, run_node, sampled
from test_expected import BOTH, FLUX, STEPS, TARGET, WAN, reported, share_held
from test_memory import asked_for
from test_regions import combined
from torch import Tensor

import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.nodes.host import memory
from adacorrection.nodes.host.rehearsal import Rehearsal
from adacorrection.nodes.host.session import apply_correction

FRAMES = 13
WINDOWS = {
    "context_length": 5,
    "context_overlap": 2,
    "context_stride": 1,
    "closed_loop": False,
    "fuse_method": "pyramid",
    "dim": 2,
    "freenoise": False,
}


def in_windows(model: ModelPatcher, schedule: str, **settings: Any) -> ModelPatcher:
    node = windows.ContextWindowsManualNode
    return run_node(node, model=model, context_schedule=schedule, **WINDOWS | settings)


def long_latent() -> Tensor:
    return tiny_models.empty_latent(WAN).new_zeros(1, 16, FRAMES, 8, 8)


@BOTH
@pytest.mark.parametrize("schedule", ["standard_static", "batched"])
def test_windows_that_stay(schedule: str, config: CorrectionConfig) -> None:
    plain = in_windows(model_of(WAN), schedule)
    assert share_held(plain, WAN, config, latent=long_latent()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("schedule", ["standard_uniform", "looped_uniform"])
def test_windows_that_move(schedule: str, stride: int) -> None:
    """How many anchors a window comes to before it is let go hangs on the decisions: at most what is said."""
    plain = in_windows(model_of(WAN), schedule, context_stride=stride)
    run = {"latent": long_latent()}
    assert share_held(plain, WAN, ALWAYS_COMPUTED, **run) == pytest.approx(1, abs=0.05)
    for config in (TOLERANT, TARGET):
        assert 0.8 < share_held(plain, WAN, config, **run) < 1.01


def test_a_video_that_fits_a_window() -> None:
    plain = in_windows(model_of(WAN), "standard_static", context_length=FRAMES)
    assert share_held(plain, WAN, TARGET, latent=long_latent()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("length", [5, FRAMES], ids=["windows", "a video that fits one"])
def test_a_prompt_for_each_window(length: int) -> None:
    """Of several prompts each window has one; where there are no windows, all of them count."""
    settings = {"context_length": length, "split_conds_to_windows": True}
    try:
        plain = in_windows(model_of(WAN), "standard_static", **settings)
    except TypeError:
        pytest.skip("this ComfyUI does not split prompts")
    first, second = (tiny_models.conditionings(WAN, seed=seed)[0] for seed in (1, 5))
    run = {"latent": long_latent(), "positive": combined(first, second)}
    assert share_held(plain, WAN, TARGET, **run) == pytest.approx(1, abs=0.05)


def test_the_step_that_the_host_is_at_stays_as_it_is() -> None:
    """Another run may be under way with the same windows."""
    plain = in_windows(model_of(WAN), "standard_uniform")
    handler = plain.model_options["context_handler"]
    handler._step = 7
    rehearsal = Rehearsal(plain, {}, plain.model_options, [tuple(long_latent().shape)])
    assert list(rehearsal.windows(0)) != list(rehearsal.windows(1))
    assert handler._step == 7


def test_what_fits_beside_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    monkeypatch.setattr(memory, "fits", lambda model, shape, needed: shapes.append(list(shape)) or True)
    model = in_windows(apply_correction(model_of(WAN), TARGET), "standard_static")  # cut only after ours
    tiny_models.sample(model, WAN, steps=2, latent=long_latent())
    assert shapes == [[1, 16, WINDOWS["context_length"], 8, 8]]


def test_windows_of_video_and_sound() -> None:
    """Two latents in one, the second cut as the first is."""
    model = model_of("ltxav")
    if not hasattr(model.model, "map_context_window_to_modalities"):
        pytest.skip("this ComfyUI has no windows for it")
    plain = in_windows(model, "standard_static", context_length=2, context_overlap=1)
    latent = NestedTensor([torch.zeros(1, 128, 5, 4, 4), torch.zeros(1, 8, 9, 16)])
    report = reported(plain, "ltxav", TARGET, latent=latent)
    assert len(report.records) == 2 * 4 * STEPS  # cond and uncond of four windows
    assert report.bytes_held == pytest.approx(report.bytes_expected, rel=0.05)


@pytest.mark.parametrize("is_cut_first", [False, True])
@pytest.mark.parametrize("along", ["frames", "batch"])
def test_the_host_is_asked_for_as_much_in_windows(along: str, is_cut_first: bool) -> None:
    """It asks for what one window takes; what is said of the cache must not shrink with that."""
    family, dim = (WAN, 2) if along == "frames" else (FLUX, 0)
    config = replace(TOLERANT, cache_placement="device")
    latent = long_latent() if along == "frames" else tiny_models.empty_latent(FLUX, FRAMES)
    plain, run = model_of(family), {"steps": 2, "cfg": 2.0, "latent": latent}
    if is_cut_first:
        model = apply_correction(in_windows(plain, "standard_static", dim=dim), config)
    else:
        model = in_windows(apply_correction(plain, config), "standard_static", dim=dim)
    with asked_for() as asked:
        tiny_models.sample(in_windows(plain, "standard_static", dim=dim), family, **run)
        tiny_models.sample(model, family, **run)

    (_, without), (_, minimum) = asked
    assert minimum - without == pytest.approx(report_of(model).bytes_expected, rel=0.4)
    assert minimum - without > 0.99 * report_of(model).bytes_expected


class OwnWindows(context_windows.ContextHandlerABC):
    """Another pack's, which has no more than the host's abstract class asks for."""

    def should_use_context(self, *_: Any) -> bool:
        return True

    def get_resized_cond(self, cond_in: list[dict[str, Any]], *_: Any) -> list[dict[str, Any]]:
        return cond_in

    def execute(
        self, calc_cond_batch: Callable[..., Any], model: Any, conds: Any, x_in: Tensor, *args: Any
    ) -> list[Tensor]:
        halves = [calc_cond_batch(model, conds, half, *args) for half in x_in.split(7, dim=2)]
        return [torch.cat(parts, dim=2) for parts in zip(*halves, strict=True)]


def test_windows_that_keep_their_length_to_themselves(caplog: pytest.LogCaptureFixture) -> None:
    plain = model_of(WAN).clone()
    plain.model_options["context_handler"] = OwnWindows()
    run = {"steps": 4, "cfg": 2.0, "latent": long_latent()}
    known = tiny_models.sample(plain, WAN, **run)

    latent, report = sampled(apply_correction(plain, ALWAYS_COMPUTED), WAN, **run)

    assert torch.equal(latent, known)
    assert report.bytes_held > report.bytes_expected == 0
    assert "is not known" in caplog.text


def test_windows_of_a_kind_that_is_not_known(caplog: pytest.LogCaptureFixture) -> None:
    """Another pack's: nothing is said of the anchors before the run, and the run goes on."""
    plain = in_windows(model_of(WAN), "batched")
    known = tiny_models.sample(plain, WAN, steps=4, latent=long_latent())
    handler = plain.model_options["context_handler"]
    handler.context_schedule = None
    handler.get_context_windows = lambda *_: [
        context_windows.IndexListContextWindow(list(frames), dim=2, total_frames=FRAMES)
        for frames in (range(5), range(5, 10), range(10, FRAMES))
    ]

    model = apply_correction(plain, ALWAYS_COMPUTED)
    latent = tiny_models.sample(model, WAN, steps=4, latent=long_latent())

    assert torch.equal(latent, known)
    assert report_of(model).bytes_held > report_of(model).bytes_expected == 0
    assert "is not known" in caplog.text
