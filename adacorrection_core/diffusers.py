"""Adapter for Hugging Face diffusers transformers.

    with adacorrection(transformer, config, sigmas, branches=("uncond", "cond"), cfg=3.0) as run:
        for sigma in sigmas[:-1]:
            transformer(..., timestep=sigma)
    print(run.report.summary())

The transformer is duck-typed, so that diffusers itself is never imported here. Which share of a batch
belongs to which conditioning is said by `branches`; pipelines that call the transformer once a
conditioning inside `transformer.cache_context("cond")` are recognised by that name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from .blocks import HookedModel
from .config import ConfigError, CorrectionConfig
from .risk import Schedule
from .rules import Rule
from .stages import Stage, find_layers
from .state import Branch, RunState
from .stats import RunReport

_IMAGE, _TEXT = (0, "hidden_states"), (1, "encoder_hidden_states")

# Transformer class -> its lists of blocks. Since diffusers 0.35 the single blocks of Flux take and return
# image and text apart (https://github.com/huggingface/diffusers/blob/58eb52c/src/diffusers/models/transformers/transformer_flux.py).
REGISTRY: dict[str, tuple[Stage, ...]] = {
    "FluxTransformer2DModel": (
        Stage("transformer_blocks", _IMAGE, _TEXT, ("text", "image")),
        Stage("single_transformer_blocks", _IMAGE, _TEXT, ("text", "image")),
    ),
}


def stages_of(transformer: nn.Module) -> tuple[Stage, ...]:
    """The block lists of a transformer.

    Raises:
        ConfigError: a class that is not known.
    """
    name = type(transformer).__name__
    if name not in REGISTRY:
        raise ConfigError(
            f"AdaCorrection does not know {name!r}. Supported in diffusers: {', '.join(REGISTRY)}."
        )
    return REGISTRY[name]


@contextmanager
def adacorrection(
    transformer: nn.Module,
    config: CorrectionConfig,
    sigmas: Sequence[float],
    *,
    branches: Sequence[str] = ("cond",),
    cfg: float | None = None,
    make_rule: Callable[[Schedule], Rule] | None = None,
    is_correcting: bool = True,
) -> Iterator[RunState]:
    """Sample a flow-matching transformer with AdaCorrection for the length of the `with` block.

    Args:
        transformer: a diffusers transformer of a supported class.
        config: the setting.
        sigmas: noise levels of the run, 1 (noise) to 0, one more than steps.
        branches: name of each equal share of the batch, in order.
        cfg: scale of classifier-free guidance, where "cond" and "uncond" are combined by it.
        make_rule: another decision rule than AdaCorrection's own.
        is_correcting: False holds the cached residual, as a plain cache does.

    Yields:
        the run; its `report` is complete after the block.
    """
    layers = find_layers(transformer, stages_of(transformer))
    first, last = 1.0 - config.start_percent, 1.0 - config.end_percent
    levels = tuple(float(sigma) for sigma in sigmas)
    # Pipelines in half precision hand the noise level over in it.
    is_rounded = next(transformer.parameters()).dtype in (torch.float16, torch.bfloat16)
    schedule = Schedule(levels, True, first, last, config.warmup_steps, is_rounded)
    report = RunReport(config.name, f"{type(transformer).__name__}, {len(layers)} blocks", schedule.num_steps)
    rule = make_rule(schedule) if make_rule else None
    run = RunState(config, schedule, report, cfg=cfg, rule=rule, is_correcting=is_correcting)
    model = HookedModel(layers, run)
    names = list(branches)
    forward, cache_context = transformer.forward, getattr(transformer, "cache_context", None)

    def hooked_forward(*args: Any, **kwargs: Any) -> Any:
        with model.call(kwargs["timestep"], [Branch(name, name) for name in names]) as walk:
            output = forward(*args, **kwargs)
        return output if walk.is_whole else forward(*args, **kwargs)

    @contextmanager
    def hooked_context(name: str, **kwargs: Any) -> Iterator[None]:
        assert cache_context is not None
        names[:] = [name]
        try:
            with cache_context(name, **kwargs):
                yield
        finally:
            names[:] = branches

    started = time.perf_counter()
    with instance_attributes(transformer, forward=hooked_forward, cache_context=hooked_context):
        try:
            yield run
            run.finish()
        finally:
            report.seconds = time.perf_counter() - started
            run.release()


@contextmanager
def instance_attributes(module: nn.Module, **attributes: Any) -> Iterator[None]:
    """Give a module attributes of its own; afterwards it has those that it had before."""
    before = {name: module.__dict__[name] for name in attributes if name in module.__dict__}
    module.__dict__.update(attributes)
    try:
        yield
    finally:
        for name in attributes:
            del module.__dict__[name]
        module.__dict__.update(before)
