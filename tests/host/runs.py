"""Runs of the tiny models with and without AdaCorrection, as the host tests compare them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any
from unittest import mock

import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

import comfy_host
import tiny_models
from adacorrection.adacorrection_core import rules
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.adacorrection_core.stats import RunReport
from adacorrection.nodes.host.session import apply_correction, report_of

OFF = CorrectionConfig(tolerance=0.0)
# The hooks are in place and anchors are kept, but no step is ever corrected.
ALWAYS_COMPUTED = CorrectionConfig(tolerance=1e-9)
# Two steps of three, whatever a tolerance means at present: random models are no measure of that.
SOME_HITS = CorrectionConfig(target_speedup=1.5, warmup_steps=3)
# One step of five, where the effect of something small must show beside it.
FEW_HITS = CorrectionConfig(target_speedup=1.25, warmup_steps=3)
# The same by a tolerance: stand-ins are in place whenever the model runs.
TOLERANT = CorrectionConfig(tolerance=1.0, warmup_steps=3, max_consecutive=2)
# How far a run with SOME_HITS may be from the full one, in a family with smooth weights.
CLOSE = tiny_models.FAMILIES["flux_dev"].closeness
# One of each kind, for what does not depend on a family's variant.
REPRESENTATIVES = ("flux_dev", "sd3", "hunyuan_video", "wan21_t2v")


def only_on_the_cpu(reason: str) -> pytest.MarkDecorator:
    """Leaves a test out where the host computes on another device."""
    return pytest.mark.skipif(comfy_host.ON_SECOND_DEVICE, reason=reason)


@contextmanager
def probe_always_asked() -> Iterator[None]:
    """Meanwhile every decision by tolerance hangs on the probe: what is corrected has run the first block."""
    with mock.patch.object(rules, "IN_DOUBT", (-1.0, float("inf"))):
        yield


@cache
def model_of(family: str) -> ModelPatcher:
    """The tiny model of a family, loaded once. A test that changes the model loads its own."""
    return tiny_models.load(family)


def corrected(family: str, config: CorrectionConfig = SOME_HITS) -> ModelPatcher:
    """A patched clone of the family's tiny model."""
    return apply_correction(model_of(family), config)


def sampled(model: ModelPatcher, family: str, **options: Any) -> tuple[Tensor, RunReport]:
    """The latent and the report of one run."""
    return tiny_models.sample(model, family, **options), report_of(model)


def closeness(family: str) -> float:
    """How far a run with SOME_HITS may be from the full one."""
    return tiny_models.FAMILIES[family].closeness


def relative_error(latent: Tensor, full: Tensor) -> float:
    """Distance from another latent, relative to that."""
    return float(torch.linalg.vector_norm(latent - full) / torch.linalg.vector_norm(full))


def run_node(node: type, **inputs: Any) -> Any:
    """First output of one of the host's nodes, of the new schema or the old."""
    if hasattr(node, "execute"):
        result = node.execute(**inputs)
        return (getattr(result, "args", None) or result)[0]
    return getattr(node(), node.FUNCTION)(**inputs)[0]


def assert_composes(
    sample: Callable[[ModelPatcher], Tensor],
    plain: ModelPatcher,
    family: str,
    *,
    wrong: Tensor | None = None,
    close: float = CLOSE,
) -> RunReport:
    """A workflow gives the host's own picture without correction, and nearly that in fewer blocks with it.

    Args:
        sample: the workflow, given a model.
        plain: the model as it comes to the AdaCorrection node.
        family: of its tiny model.
        wrong: what comes out where the workflow's effect is lost; the picture must be nearer the right one.
        close: how far the picture may be from the host's own.

    Returns:
        the report of the corrected run.
    """
    with tiny_models.count_blocks(plain, family) as all_blocks:
        full = sample(plain)
    assert torch.equal(sample(apply_correction(plain, ALWAYS_COMPUTED)), full)
    model = apply_correction(plain, SOME_HITS if wrong is None else FEW_HITS)
    with tiny_models.count_blocks(model, family) as executed:
        latent = sample(model)

    report = report_of(model)
    assert report.is_finished
    assert report.hit_rate > 0
    assert executed.total() < all_blocks.total()
    error = relative_error(latent, full)
    assert 0 < error < close
    assert_composes_where_blocks_are_left_out(sample, plain, full, close)
    if wrong is not None:
        wrong_error = relative_error(wrong, full)
        assert error < wrong_error / 2, f"off by {error:.4f}, the wrong one by {wrong_error:.4f}"
    return report


def assert_composes_where_blocks_are_left_out(
    sample: Callable[[ModelPatcher], Tensor], plain: ModelPatcher, full: Tensor, close: float
) -> None:
    """The same where corrected steps run the first block, and what lies between the others for nothing."""
    model = apply_correction(plain, replace(TOLERANT, max_consecutive=1))
    with probe_always_asked():
        latent = sample(model)

    report = report_of(model)
    blocks = {record.blocks_run for record in report.reused}
    assert 1 in blocks <= {0, 1}  # one call of an evaluation decides for all
    assert 0 < relative_error(latent, full) < close


def skip_unless_batched(family: str, rows: int) -> None:
    """Leave out what this host's own model cannot do."""
    if not tiny_models.takes_rows(family, rows):
        pytest.skip(f"{family} does not take {rows} rows in ComfyUI {tiny_models.comfyui_version}")


def evaluate_twice(
    model: ModelPatcher,
    family: str,
    *,
    cfg: float = 1.0,
    batch: int = 1,
    between: Callable[[], object] = lambda: None,
    positive: tiny_models.Conditioning | None = None,
    negative: tiny_models.Conditioning | None = None,
) -> tuple[Tensor, Tensor]:
    """What the model gives for the same latent at the same sigma, asked twice in one run.

    The second time the probe has not moved, so that it is corrected (tolerance permitting) by exactly the
    residual of the first: the outputs must agree to rounding, or tokens have been put in the wrong place.
    """
    outputs: list[Tensor] = []

    def sampler(
        model_k: Callable[..., Tensor], x: Tensor, sigmas: Tensor, extra_args: dict[str, Any], **_: Any
    ) -> Tensor:
        sigma = sigmas[2] * x.new_ones(x.shape[0])
        outputs.append(model_k(x, sigma, **extra_args).clone())
        between()
        outputs.append(model_k(x, sigma, **extra_args).clone())
        return x

    latent = tiny_models.empty_latent(family, batch)
    conds = tiny_models.conditionings(family)
    with torch.inference_mode():
        comfy.sample.sample_custom(
            model,
            comfy.sample.prepare_noise(latent, 0),
            cfg,
            comfy.samplers.KSAMPLER(sampler),
            torch.linspace(1.0, 0.0, 9),
            positive or conds[0],
            negative or conds[1],
            latent,
            disable_pbar=True,
            seed=0,
        )
    return outputs[0], outputs[1]
