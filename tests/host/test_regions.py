"""Prompts for parts of the picture and parts of the run: several branches a step, some that come and go."""

from collections.abc import Callable
from typing import Any

import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom
import comfy_extras.nodes_differential_diffusion as differential
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import CLOSE, assert_composes, model_of, run_node
from torch import Tensor

import nodes as comfy_nodes
import tiny_models
from adacorrection.adacorrection_core.stats import Outcome, Reason

STEPS = 12
FAMILY = "flux_dev"


def left_half() -> Tensor:
    """(1, H, W) mask at latent size."""
    mask = torch.zeros(1, 16, 16)
    mask[..., :8] = 1.0
    return mask


def combined(*conds: tiny_models.Conditioning) -> tiny_models.Conditioning:
    """Several as one, by ConditioningCombine."""
    whole = conds[0]
    for cond in conds[1:]:
        whole = run_node(comfy_nodes.ConditioningCombine, conditioning_1=whole, conditioning_2=cond)
    return whole


def in_mask(cond: tiny_models.Conditioning, mask: Tensor, area: str = "default") -> tiny_models.Conditioning:
    node = comfy_nodes.ConditioningSetMask
    return run_node(node, conditioning=cond, mask=mask, strength=1.0, set_cond_area=area)


def in_range(cond: tiny_models.Conditioning, start: float, end: float) -> tiny_models.Conditioning:
    return run_node(comfy_nodes.ConditioningSetTimestepRange, conditioning=cond, start=start, end=end)


def sampling(positive: tiny_models.Conditioning, **options: Any) -> Callable[[ModelPatcher], Tensor]:
    """A run with this prompt."""

    def sample(model: ModelPatcher) -> Tensor:
        _, negative = tiny_models.conditionings(FAMILY)
        run = {"steps": STEPS, "cfg": 2.0, "positive": positive, "negative": negative} | options
        return tiny_models.sample(model, FAMILY, **run)

    return sample


def prompts() -> tuple[tiny_models.Conditioning, tiny_models.Conditioning]:
    """Two different ones."""
    return tiny_models.conditionings(FAMILY)[0], tiny_models.conditionings(FAMILY, seed=5)[0]


@pytest.mark.parametrize("area", ["default", "mask bounds"])
def test_a_prompt_for_each_half(area: str) -> None:
    left, right = prompts()
    positive = combined(in_mask(left, left_half(), area), in_mask(right, 1 - left_half(), area))
    wrong = sampling(left)(model_of(FAMILY))

    report = assert_composes(sampling(positive), model_of(FAMILY), FAMILY, wrong=wrong, close=2 * CLOSE)

    # With bounds each half is called on its own, and so is the uncond that the host makes for it.
    branches = 5 if area == "mask bounds" else 3
    assert len(report.records) == branches * STEPS
    reused = [record.evaluation for record in report.reused]
    assert {reused.count(n) for n in reused} == {branches}


def test_an_area_in_percent() -> None:
    whole, corner = prompts()
    share = {"width": 0.5, "height": 0.5, "x": 0.25, "y": 0.25, "strength": 1.0}
    corner = run_node(comfy_nodes.ConditioningSetAreaPercentage, conditioning=corner, **share)
    wrong = sampling(whole)(model_of(FAMILY))

    report = assert_composes(
        sampling(combined(whole, corner)), model_of(FAMILY), FAMILY, wrong=wrong, close=2 * CLOSE
    )

    assert len(report.records) == 4 * STEPS


def test_calls_split_as_memory_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free memory decides how many conds go into a call, and may change from step to step."""
    left, right = prompts()
    positive = combined(in_mask(left, left_half()), in_mask(right, 1 - left_half()))
    together, calls = comfy.samplers.can_concat_cond, [0]

    def can_concat(one: Any, other: Any) -> bool:
        calls[0] += 1
        return one is other or (calls[0] // 7 % 2 == 0 and together(one, other))

    monkeypatch.setattr(comfy.samplers, "can_concat_cond", can_concat)

    def sample(model: ModelPatcher) -> Tensor:
        calls[0] = 0
        return sampling(positive)(model)

    report = assert_composes(sample, model_of(FAMILY), FAMILY, close=2 * CLOSE)
    assert len(report.records) == 3 * STEPS
    seconds = [record.seconds for record in report.records]
    assert 1 < len(set(seconds)) < len(seconds)  # some records share a call, some do not


def test_prompts_that_take_turns() -> None:
    """One prompt for the first part, another for the second, one that overlaps both."""
    first, second = prompts()
    third = tiny_models.conditionings(FAMILY, seed=9)[0]
    positive = combined(in_range(first, 0.0, 0.4), in_range(second, 0.4, 1.0), in_range(third, 0.25, 0.75))

    report = assert_composes(sampling(positive), model_of(FAMILY), FAMILY, close=2 * CLOSE)

    steps = [[r for r in report.records if r.step_index == i and r.branch == "cond"] for i in range(STEPS)]
    assert {len(step) for step in steps} == {1, 2}
    comers = [i for i in range(1, STEPS) if len(steps[i]) > len(steps[i - 1])]
    assert all(r.outcome is Outcome.COMPUTE for i in comers for r in steps[i])
    assert Reason.NEW_BRANCH.value in report.reasons


def test_a_branch_that_is_away_and_comes_back() -> None:
    """Guidance left out in the middle of a run, by ComfyUI's own node: the uncond has anchors from before."""
    if not hasattr(custom, "CFGOverride"):
        pytest.skip("this ComfyUI has no CFGOverride")
    part = {"cfg": 1.0, "start_percent": 0.4, "end_percent": 0.6}
    plain = run_node(custom.CFGOverride, model=model_of(FAMILY), **part)

    report = assert_composes(sampling(prompts()[0]), plain, FAMILY)

    uncond = [record.step_index for record in report.records if record.branch == "uncond"]
    away = set(range(STEPS)) - set(uncond)
    assert away == set(range(min(away), max(away) + 1)) and 0 < min(away) < max(away) < STEPS - 1
    assert {r.branch for r in report.reused if r.step_index > max(away)} == {"cond", "uncond"}


def test_differential_inpainting() -> None:
    """A mask of greys whose threshold moves with the step."""
    latent = torch.full_like(tiny_models.empty_latent(FAMILY), 0.3)
    ramp = torch.linspace(0, 1, 16).repeat(1, 1, 16, 1)
    plain = run_node(differential.DifferentialDiffusion, model=model_of(FAMILY), strength=1.0)
    options = {"latent": latent, "noise_mask": ramp}
    wrong = sampling(prompts()[0], **options)(model_of(FAMILY))

    assert_composes(sampling(prompts()[0], **options), plain, FAMILY, wrong=wrong)
