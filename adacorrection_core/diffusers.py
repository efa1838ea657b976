"""Adapter for Hugging Face diffusers transformers, as a hook of diffusers' own registry.

With a pipeline, until it is disabled; the noise levels of each run are read off the scheduler:

    enable_adacorrection(pipe.transformer, CorrectionConfig.from_preset("balanced"), pipe.scheduler)
    pipe(prompt)
    print(report_of(pipe.transformer).summary())
    disable_adacorrection(pipe.transformer)

With a loop of one's own, for one run:

    with adacorrection(transformer, config, sigmas, branches=("uncond", "cond"), cfg=3.0) as run:
        for sigma in sigmas[:-1]:
            transformer(..., timestep=sigma)
    print(run.report.summary())

Pipelines that call the transformer once a conditioning, inside `transformer.cache_context("cond")`, are
recognised by that name. Where conditionings share a batch, `branches` says which share is which; left
alone, the whole batch counts as one. A pipeline with two transformers (Wan 2.2) enables it on each.

diffusers is imported when it is first used, never with this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from .config import ConfigError, CorrectionConfig
from .diffusers_families import flow_levels
from .diffusers_hook import Setting, TransformerHook, attach, attached, detach
from .risk import Schedule
from .rules import Rule
from .state import RunState
from .stats import RunReport


def enable_adacorrection(
    transformer: nn.Module,
    config: CorrectionConfig,
    scheduler: Any,
    *,
    branches: Sequence[str] = ("cond",),
    cfg: float | None = None,
) -> None:
    """Sample a pipeline's transformer with AdaCorrection from now on.

    Args:
        transformer: a diffusers transformer of a supported class, `pipe.transformer`.
        config: the setting; its cache_placement "auto" is the device here, where nobody knows what else
            needs the memory.
        scheduler: `pipe.scheduler`, which the pipeline sets up for each run.
        branches: name of each equal share of the batch, in order, where one call holds several conditionings.
        cfg: scale of classifier-free guidance, where "cond" and "uncond" are combined by it; it sharpens the
            expected error.

    Raises:
        ConfigError: an unknown class, a scheduler without timesteps, or a cache that is enabled already.
    """
    if getattr(scheduler, "timesteps", None) is None:
        raise ConfigError(
            f"scheduler is {scheduler!r}; AdaCorrection reads the noise levels off a diffusers scheduler: "
            "pass pipe.scheduler. Without one, use adacorrection(), a context manager that takes sigmas."
        )
    attach(TransformerHook(transformer, Setting(config, tuple(branches), cfg), scheduler))


def disable_adacorrection(transformer: nn.Module) -> None:
    """Leave the transformer as it was before `enable_adacorrection`; where it is not enabled, do nothing."""
    if attached(transformer) is not None:
        detach(transformer)


def report_of(transformer: nn.Module) -> RunReport | None:
    """The record of the transformer's last run; None before the first, or where it is not enabled."""
    hook = attached(transformer)
    return hook.report if hook is not None else None


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
    """Sample a transformer with AdaCorrection for one run, the length of the `with` block.

    Args:
        transformer: a diffusers transformer of a supported class.
        config: the setting.
        sigmas: noise levels of the run, 1 (noise) to 0, one more than steps; or timesteps, 1000 to 0.
        branches, cfg, make_rule, is_correcting: see `Setting`.

    Yields:
        the run; its `report` is complete after the block.

    Raises:
        ConfigError: an unknown class, or a cache that is enabled already.
    """
    hook = TransformerHook(transformer, Setting(config, tuple(branches), cfg, make_rule, is_correcting))
    attach(hook)
    try:
        yield hook.begin(flow_levels(sigmas))
        hook.finish()
    finally:
        detach(transformer)
