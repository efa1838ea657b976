"""A long video in windows of a few frames each, by ComfyUI's own node: each window is a branch of its own."""

import comfy_extras.nodes_context_windows as windows
from comfy.model_patcher import ModelPatcher
from runs import assert_composes, model_of, run_node
from torch import Tensor

import tiny_models
from adacorrection.adacorrection_core.stats import Reason

STEPS = 10
FRAMES = 7
FAMILY = "wan21_t2v"
SETTINGS = {
    "context_length": 3,
    "context_overlap": 1,
    "context_stride": 1,
    "closed_loop": False,
    "fuse_method": "pyramid",
    "dim": 2,
    "freenoise": False,
}


def windowed(schedule: str) -> ModelPatcher:
    return run_node(
        windows.ContextWindowsManualNode, model=model_of(FAMILY), context_schedule=schedule, **SETTINGS
    )


def sample(model: ModelPatcher) -> Tensor:
    latent = tiny_models.empty_latent(FAMILY).new_zeros(1, 16, FRAMES, 8, 8)
    return tiny_models.sample(model, FAMILY, steps=STEPS, cfg=2.0, latent=latent)


def test_windows_that_stay() -> None:
    report = assert_composes(sample, windowed("standard_static"), FAMILY)

    assert len(report.records) == 2 * 3 * STEPS  # cond and uncond, frames 0-2, 2-4 and 4-6
    reused = [record.evaluation for record in report.reused]
    assert {reused.count(n) for n in reused} == {6}  # one decision for all windows of a step


def test_windows_that_move() -> None:
    """A window at a place where none was before is a new branch, whatever frames it shares with others."""
    report = assert_composes(sample, windowed("looped_uniform"), FAMILY)

    assert Reason.NEW_BRANCH.value in report.reasons
    # Windows that are over are let go: no more than those of the last few steps are held.
    alone = assert_composes(sample, windowed("standard_static"), FAMILY)
    assert report.bytes_held < 2.5 * alone.bytes_held
