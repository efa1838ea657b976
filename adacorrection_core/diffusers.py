"""Adapter for Hugging Face diffusers transformers, as a hook of diffusers' own registry.

With a pipeline, until it is disabled:

    enable_adacorrection(pipe, CorrectionConfig.from_preset("balanced"))
    pipe(prompt)
    print(report_of(pipe).summary())
    disable_adacorrection(pipe)

or for the length of a block:

    with adacorrection(pipe, config):
        pipe(prompt)

`pipe.transformer` may stand in place of the pipeline, as diffusers' own caches have it. Without the
scheduler, which can be given beside it, the noise levels are learnt from the calls. What is lost then:

- The end of the run is not known: the last step or two, and those below a level of 0.03 (0.12 with
  LTX-Video), are computed in full. Pipelines that pass `step_index` and `num_inference_steps` to
  `cache_context` (Wan's) tell the end.
- A speed-up asked for is met less exactly, since the levels to come are an estimate: within 0.04 of the block
  executions, 0.08 where levels are rounded to one, and at 0.8 dB less at most (the demo's model in bfloat16,
  28 and 50 steps, shifts of 3 to 12).
- Levels that half precision rounds to the same number count as one step.
- A run that was broken off is told from the next one only where the noise level starts again or jumps.

With a loop of one's own, for one run, at levels that are told:

    with adacorrection(transformer, config, sigmas, branches=("uncond", "cond"), cfg=3.0) as run:
        for sigma in sigmas[:-1]:
            transformer(..., timestep=sigma)
    print(run.report.summary())

Pipelines that call the transformer once a conditioning, inside `transformer.cache_context("cond")`, are
recognised by that name. Where conditionings share a batch, `branches` says which share is which; left
alone, the whole batch counts as one. `cfg` lets corrected steps be repaid (`diffusers_settlement`).

Of two transformers (Wan 2.2) each has a run and a report of its own. What corrected steps owe goes over from
the first to the second where the pipeline is given; where they are enabled one by one it is lost there.

diffusers is imported when it is first used, never with this module.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import nn

from .config import ConfigError, CorrectionConfig
from .diffusers_experts import Handover
from .diffusers_hook import Setting, TransformerHook
from .diffusers_levels import flow_levels
from .diffusers_registry import attach, attached, check_free, detach
from .risk import Schedule
from .rules import Rule
from .stats import RunReport

DENOISERS = ("transformer", "transformer_2")  # names that pipelines give them


def enable_adacorrection(
    target: Any,
    config: CorrectionConfig | None = None,
    scheduler: Any = None,
    *,
    branches: Sequence[str] = ("cond",),
    cfg: float | Sequence[float] | None = None,
    is_settling: bool = True,
) -> None:
    """Sample with AdaCorrection from now on.

    Args:
        target: a diffusers pipeline, or a transformer of a supported class, `pipe.transformer`. A pipeline
            with two (Wan 2.2) has it enabled on both.
        config: the setting, the preset Balanced by default; its cache_placement "auto" is the device here,
            where nobody knows what else needs the memory.
        scheduler: `pipe.scheduler`, beside a transformer. Without it, see the module's words.
        branches: name of each equal share of the batch, in order, where one call holds several conditionings.
        cfg: scale of classifier-free guidance, where "cond" and "uncond" are combined by it, uncond + cfg *
            (cond - uncond). With it the expected error is sharper, and what corrected steps owe is repaid.
            One for each transformer where they differ (Wan's guidance_scale and guidance_scale_2). Leave it
            out where the pipeline rescales the sum (Qwen-Image's true_cfg_scale).
        is_settling: False where the pipeline changes the latents between steps, so that nothing can be repaid
            by them. Pipelines with a mask_image are known to.

    Raises:
        ConfigError: an unknown class, a scheduler without timesteps, a cache that is enabled already, or
            another number of guidance scales than of transformers.
    """
    for hook in hooks_for(target, scheduler, setting_of(config, branches, is_settling=is_settling), cfg):
        attach(hook)


def disable_adacorrection(target: Any) -> None:
    """Leave a pipeline or transformer as it was before; where nothing is enabled, do nothing."""
    for transformer in transformers_of(target):
        if attached(transformer) is not None:
            detach(transformer)


def report_of(target: Any) -> RunReport | None:
    """The record of the last run of a transformer, or of a pipeline's first one.

    None before the first run, or where AdaCorrection is not enabled.
    """
    hook = attached(transformers_of(target)[0])
    return hook.report if hook is not None else None


@contextmanager
def adacorrection(
    target: Any,
    config: CorrectionConfig | None = None,
    sigmas: Sequence[float] | None = None,
    *,
    scheduler: Any = None,
    branches: Sequence[str] = ("cond",),
    cfg: float | Sequence[float] | None = None,
    make_rule: Callable[[Schedule], Rule] | None = None,
    is_correcting: bool = True,
    is_settling: bool = True,
) -> Iterator[Any]:
    """Sample with AdaCorrection for the length of the `with` block.

    Args:
        target, config, scheduler, cfg: as for `enable_adacorrection`.
        sigmas: noise levels of the only run, 1 (noise) to 0, one more than steps; or timesteps, 1000 to 0.
            None for a pipeline, or where they are to be learnt from the calls.
        branches, make_rule, is_correcting, is_settling: see `Setting`.

    Yields:
        the run where sigmas are given, else the first transformer's hook. The `report` of either is
        complete after the block.

    Raises:
        ConfigError: an unknown class, or a cache that is enabled already.
    """
    options = {"make_rule": make_rule, "is_correcting": is_correcting, "is_settling": is_settling}
    setting = setting_of(config, branches, **options)
    hooks = hooks_for(target, scheduler, setting, cfg)
    for hook in hooks:
        attach(hook)
    try:
        yield hooks[0] if sigmas is None else hooks[0].tell(flow_levels(sigmas))
        for hook in hooks:
            hook.finish()
    finally:
        for hook in hooks:
            detach(hook.transformer)


def setting_of(config: CorrectionConfig | None, branches: Sequence[str], **options: Any) -> Setting:
    """The setting of all runs, but for the guidance."""
    return Setting(config or CorrectionConfig.from_preset("balanced"), tuple(branches), **options)


def transformers_of(target: Any) -> list[nn.Module]:
    """The transformers of a pipeline, or the one that is given.

    Raises:
        ConfigError: a pipeline without one.
    """
    if isinstance(target, nn.Module):
        return [target]
    found = [getattr(target, name, None) for name in DENOISERS]
    transformers = [module for module in found if isinstance(module, nn.Module)]
    if not transformers:
        raise ConfigError(
            f"{type(target).__name__} has no transformer; AdaCorrection works on diffusion transformers. "
            "Pass a diffusers pipeline with one, or pipe.transformer."
        )
    return transformers


def hooks_for(
    target: Any, scheduler: Any, setting: Setting, cfg: float | Sequence[float] | None
) -> list[TransformerHook]:
    """A hook for each transformer, not registered yet.

    Raises:
        ConfigError: see `enable_adacorrection`.
    """
    transformers = transformers_of(target)
    for transformer in transformers:
        check_free(transformer)
    is_pipeline = target is not transformers[0]
    first = target.scheduler if is_pipeline and scheduler is None else scheduler
    if first is not None and getattr(first, "timesteps", None) is None:
        raise ConfigError(
            f"scheduler is {first!r}; AdaCorrection reads the noise levels off a diffusers scheduler: "
            "pass pipe.scheduler, or none to learn them from the calls."
        )
    if is_pipeline and "mask_image" in inspect.signature(type(target).__call__).parameters:
        setting = replace(setting, is_settling=False)
    find_scheduler = None
    if first is not None:
        find_scheduler = (lambda: target.scheduler) if scheduler is None else (lambda: scheduler)
    pairs = zip(transformers, scales_of(cfg, len(transformers)), strict=True)
    hooks = [TransformerHook(one, replace(setting, cfg=scale), find_scheduler) for one, scale in pairs]
    if len(hooks) == 2:
        hooks[0].leaves = hooks[1].takes = Handover(lambda: getattr(target.config, "boundary_ratio", None))
    return hooks


def scales_of(cfg: float | Sequence[float] | None, count: int) -> list[float | None]:
    """The guidance scale of each of `count` transformers.

    Raises:
        ConfigError: another number of them.
    """
    if not isinstance(cfg, Sequence):
        return [cfg] * count
    if len(cfg) != count:
        raise ConfigError(
            f"cfg is {cfg!r}, {len(cfg)} guidance scales for {count} transformers. Give one for all of them, "
            "or one for each."
        )
    return list(cfg)
