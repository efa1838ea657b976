"""What changes the weights of a model: LoRAs, scheduled LoRAs, merged models, weights in eight bits."""

from typing import Any

import comfy.hooks
import comfy.sd
import comfy_extras.nodes_model_merging as merging
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import CLOSE, SOME_HITS, assert_composes, model_of, relative_error, run_node, sampled
from torch import Generator, Tensor

import tiny_models
from adacorrection.adacorrection_core.stats import Reason
from adacorrection.nodes.host.session import apply_correction

STEPS = 10
# A weight of a block behind the probe, which the probe therefore cannot see change.
DEEP_WEIGHT = {"flux_dev": "double_blocks.1.img_mlp.0", "wan21_t2v": "blocks.2.ffn.0"}


@pytest.fixture(params=DEEP_WEIGHT)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def lora(family: str, rank: int = 4) -> dict[str, Tensor]:
    """A LoRA strong enough to be seen, as its file has it."""
    name, generator = DEEP_WEIGHT[family], Generator().manual_seed(7)
    weight = model_of(family).model.diffusion_model.get_parameter(f"{name}.weight")
    return {
        f"diffusion_model.{name}.lora_A.weight": torch.randn(rank, weight.shape[1], generator=generator),
        f"diffusion_model.{name}.lora_B.weight": torch.randn(weight.shape[0], rank, generator=generator) / 8,
    }


def with_lora(model: ModelPatcher, family: str, strength: float = 1.0) -> ModelPatcher:
    """As LoraLoaderModelOnly leaves it."""
    return comfy.sd.load_lora_for_models(model, None, lora(family), strength, 0.0)[0]


def test_lora(family: str) -> None:
    def sample(model: ModelPatcher) -> Tensor:
        return tiny_models.sample(model, family, steps=STEPS)

    without = sample(model_of(family))
    assert relative_error(without, sample(with_lora(model_of(family), family))) > 0.05

    assert_composes(sample, with_lora(model_of(family), family), family, wrong=without)

    before = sample(apply_correction(with_lora(model_of(family), family), SOME_HITS))
    after = sample(with_lora(apply_correction(model_of(family), SOME_HITS), family))
    assert torch.equal(before, after)
    assert torch.equal(sample(model_of(family)), without)


def scheduled(family: str, strengths: dict[float, float]) -> tiny_models.Conditioning:
    """A positive cond with a LoRA whose strength changes at parts of the run, as CreateHookLora leaves it."""
    hooks = comfy.hooks.create_hook_lora(lora(family), 1.0, 0.0)
    keyframes = comfy.hooks.HookKeyframeGroup()
    for start, strength in strengths.items():
        keyframes.add(comfy.hooks.HookKeyframe(strength, start_percent=start))
    hooks.set_keyframes_on_hooks(keyframes)
    positive, _ = tiny_models.conditionings(family)
    return comfy.hooks.set_hooks_for_conditioning(positive, hooks)


def test_a_lora_that_comes_in_mid_run_is_seen_at_once(family: str) -> None:
    """The probe does not see the new weights: it is the change of strength that makes the branch new."""

    def sample(model: ModelPatcher) -> Tensor:
        positive = scheduled(family, {0.0: 0.0, 0.5: 1.0})
        return tiny_models.sample(model, family, steps=STEPS, positive=positive)

    report = assert_composes(sample, model_of(family), family)

    changed = [record for record in report.records if record.reason is Reason.NEW_BRANCH]
    assert len(changed) == 1
    assert changed[0].step_index > 1
    assert [r for r in report.reused if r.step_index > changed[0].step_index]


def test_scheduled_lora_of_one_prompt_of_two(family: str) -> None:
    """The host then calls the model once for each group of hooks."""
    _, negative = tiny_models.conditionings(family)

    def sample(model: ModelPatcher) -> Tensor:
        run: dict[str, Any] = {"positive": scheduled(family, {0.0: 1.0}), "negative": negative}
        return tiny_models.sample(model, family, steps=STEPS, cfg=3.0, **run)

    report = assert_composes(sample, model_of(family), family, close=2 * CLOSE)
    assert {record.branch for record in report.reused} == {"cond", "uncond"}


def test_merged_models(family: str) -> None:
    other = tiny_models.load(family, seed=1)

    def merged(first: ModelPatcher, second: ModelPatcher) -> ModelPatcher:
        return run_node(merging.ModelMergeSimple, model1=first, model2=second, ratio=0.8)

    def sample(model: ModelPatcher) -> Tensor:
        return tiny_models.sample(model, family, steps=STEPS)

    assert_composes(sample, merged(model_of(family), other), family, wrong=sample(model_of(family)))

    after = sample(apply_correction(merged(model_of(family), other), SOME_HITS))
    before, report = sampled(
        merged(apply_correction(model_of(family), SOME_HITS), other), family, steps=STEPS
    )
    assert report.hit_rate > 0
    assert torch.equal(before, after)
    # The node on the second model alone has no say: its wrappers do not come along.
    plain = merged(model_of(family), apply_correction(other, SOME_HITS))
    assert torch.equal(sample(plain), sample(merged(model_of(family), other)))


def test_weights_in_eight_bits(family: str) -> None:
    """fp8_e4m3fn of the loader node; computed in the host's own choice of precision."""
    model = tiny_models.load(family, dtype=torch.float8_e4m3fn)
    assert (
        model.model.diffusion_model.get_parameter(f"{DEEP_WEIGHT[family]}.weight").dtype
        == torch.float8_e4m3fn
    )

    def sample(model: ModelPatcher) -> Tensor:
        return tiny_models.sample(model, family, steps=STEPS)

    report = assert_composes(sample, model, family)
    assert report.bytes_held > 0
    assert report.reused
