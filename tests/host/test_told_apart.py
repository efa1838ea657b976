"""Calls with one uuid in one evaluation are told apart, whoever makes them; latents are by their shape."""

from collections.abc import Callable
from typing import Any

import comfy.sample
import comfy.samplers
import comfy_extras.nodes_lt as lightricks
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import CLOSE, SOME_HITS, assert_composes, corrected, model_of, relative_error, report_of, run_node
from torch import Tensor
from torch.nn.functional import interpolate

import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.adacorrection_core.stats import Reason
from adacorrection.nodes.host.branches import branches_of
from adacorrection.nodes.host.session import apply_correction

STEPS = 10
FAMILY = "flux_dev"
Call = dict[str, Any]


def test_guidance_by_switches_of_the_model() -> None:
    """LTX-2's: each makes a pass of its own for the same cond, without a patch; one ends before the other."""
    if not hasattr(lightricks, "LTXVModalityGuidance"):
        pytest.skip("this ComfyUI has no such guidance for LTX-2")
    plain = run_node(
        lightricks.LTXVSpatioTemporalGuidance,
        model=model_of("ltxav"),
        scale=1.0,
        blocks="1",
        start_percent=0.0,
        end_percent=0.5,
    )
    plain = run_node(
        lightricks.LTXVModalityGuidance, model=plain, modality_scale=3.0, start_percent=0.0, end_percent=1.0
    )

    report = assert_composes(
        lambda model: tiny_models.sample(model, "ltxav", steps=STEPS, cfg=2.0), plain, "ltxav"
    )

    evaluations = [record.evaluation for record in report.records]
    assert {evaluations.count(n) for n in evaluations} == {3, 4}
    assert len(set(evaluations)) == STEPS


def test_what_tells_passes_of_one_cond_apart() -> None:
    """Patches, switches, conditions, size and model do; what another pack counts in the options does not."""
    own, latent = model_of(FAMILY).model, tiny_models.empty_latent(FAMILY)
    options = {"uuids": ["a"], "cond_or_uncond": [0], "run_vx": True, "step": 3}

    def key(
        given: tuple[str, ...] = ("guidance", "voice"),
        model: object = own,
        x: Tensor = latent,
        **changes: object,
    ) -> object:
        call = {"x": x, "control": None, "transformer_options": options | changes}
        (branch,) = branches_of(model, call | dict.fromkeys(given, 1))
        return branch.key

    others = [
        key(run_vx=False),
        key(stg_self_attn_blocks=frozenset({1})),
        key(patches={"attn1_patch": [in_tiles]}),
        key(("guidance",)),
        key(("guidance", "voice", "control")),
        key(model=tiny_models.load(FAMILY).model),
        key(x=latent[..., :8]),
        key(uuids=["b"]),
        key(cond_or_uncond=[1]),
    ]
    assert len({key(), *others}) == 1 + len(others)
    assert key(("voice", "guidance"), step=4) == key()


def in_tiles(function: Callable[..., Tensor], call: Call) -> Tensor:
    """Left and right half one after the other, as tiled diffusion cuts large pictures."""
    halves = call["input"].chunk(2, dim=-1)
    return torch.cat([function(half.contiguous(), call["timestep"], **call["c"]) for half in halves], dim=-1)


def row_of(conditions: Call, row: int) -> Call:
    """The conditions of one row of a batch."""
    return {k: v[row : row + 1] if isinstance(v, Tensor) else v for k, v in conditions.items()}


def row_by_row(function: Callable[..., Tensor], call: Call) -> Tensor:
    """cond and uncond one after the other, to save memory; what the options say of the batch is left."""
    rows = range(len(call["input"]))
    inputs = (call["input"][i : i + 1] for i in rows)
    outputs = [
        function(x, call["timestep"][i : i + 1], **row_of(call["c"], i))
        for i, x in zip(rows, inputs, strict=True)
    ]
    return torch.cat(outputs)


def row_by_row_by_role(function: Callable[..., Tensor], call: Call) -> Tensor:
    """The same, and one of the options is set right."""
    roles = iter(call["cond_or_uncond"])

    def with_role(x: Tensor, timestep: Tensor, **conditions: Any) -> Tensor:
        options = conditions.pop("transformer_options") | {"cond_or_uncond": [next(roles)]}
        return function(x, timestep, transformer_options=options, **conditions)

    return row_by_row(with_role, call)


@pytest.mark.parametrize("wrapper", [in_tiles, row_by_row, row_by_row_by_role], ids=lambda f: f.__name__)
def test_a_wrapper_that_cuts_the_batch_into_calls(wrapper: Callable[..., Tensor]) -> None:
    plain = model_of(FAMILY).clone()
    plain.set_model_unet_function_wrapper(wrapper)
    run = {"steps": STEPS, "cfg": 2.0}

    report = assert_composes(lambda model: tiny_models.sample(model, FAMILY, **run), plain, FAMILY)

    assert len({record.evaluation for record in report.records}) == STEPS
    off = apply_correction(plain, CorrectionConfig(tolerance=0.0))
    tiny_models.sample(off, FAMILY, **run)
    assert set(report_of(off).reasons) == {Reason.OFF.value}


def euler_that_changes(change: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Euler's method, whose latent changes its shape in the middle."""

    def sampler(
        model: Callable[..., Tensor], x: Tensor, sigmas: Tensor, extra_args: Call, **_: Any
    ) -> Tensor:
        for i in range(len(sigmas) - 1):
            x = change(x) if i == len(sigmas) // 2 else x
            denoised = model(x, sigmas[i].expand(len(x)), **extra_args)
            x = x + (sigmas[i + 1] - sigmas[i]) * (x - denoised) / sigmas[i]
        return x

    return sampler


CHANGES = {
    "larger": lambda x: interpolate(x, scale_factor=2),
    "more pictures": lambda x: torch.cat([x, x.flip(-1)]),
    "fewer pictures": lambda x: x[:1],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_sampler_that_changes_the_shape_in_the_middle(change: str) -> None:
    """It adds no noise, so that something is owed by then: that goes with the old shape."""
    latent = tiny_models.empty_latent(FAMILY, 2)
    sampler = comfy.samplers.KSAMPLER(euler_that_changes(CHANGES[change]))

    def sample(model: ModelPatcher) -> Tensor:
        noise, conds = comfy.sample.prepare_noise(latent, 0), tiny_models.conditionings(FAMILY)
        with torch.inference_mode():
            return comfy.sample.sample_custom(
                model,
                noise,
                1.0,
                sampler,
                torch.linspace(1, 0, 15),
                *conds,
                latent,
                disable_pbar=True,
                seed=0,
            )

    model = corrected(FAMILY, SOME_HITS)
    assert relative_error(sample(model), sample(model_of(FAMILY))) < 2 * CLOSE

    report = report_of(model)
    assert Reason.NEW_BRANCH.value in report.reasons
    assert [record for record in report.reused if record.step_index > 8]
