"""A run's life in ComfyUI: made when sampling starts, gone when it ends, however it ends.

Keyed wrappers do everything. OUTER_SAMPLE makes the run's state and puts it where only this run's calls can
see it; APPLY_MODEL, which every model of the host has, looks after one model call; PREDICT_NOISE, around all
calls of an evaluation and their guidance, settles what the corrected steps before it owe.
The patched model itself carries the setting and, as plain numbers, the report of its last run.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...adacorrection_core.call import CountedCall
from ...adacorrection_core.config import ConfigError, CorrectionConfig
from ...adacorrection_core.evaluation import Branch
from ...adacorrection_core.outlook import Outlook
from ...adacorrection_core.readings import DenoisedReading
from ...adacorrection_core.risk import Schedule
from ...adacorrection_core.state import RunState
from ...adacorrection_core.stats import Reason, RunReport
from .branches import branches_of
from .events import LiveRun, describe_model, show_text
from .family import Family, kind_of
from .handle import APPLY_MODEL, KEY, OUTER_SAMPLE, RunHandle, handle_in, named
from .memory import computing_dtype, shape_with_cache
from .other_caches import two_caches
from .recognise import family_of, find_family, unwrapped
from .rehearsal import Rehearsal, guidance_scale
from .samplers import unfit_sampler

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

logger = logging.getLogger(__name__)


def apply_correction(
    model: ModelPatcher, config: CorrectionConfig, node_id: str | None = None
) -> ModelPatcher:
    """A clone of a model that samples with AdaCorrection; the model itself is left as it is.

    Args:
        model: a loaded diffusion transformer of a supported family.
        config: the setting. A correction that the model has already is replaced.
        node_id: the node in the browser that shows the runs; None where there is none.

    Raises:
        ConfigError: an architecture that is not supported.
    """
    diffusion_model = unwrapped(model.model.diffusion_model)
    family = family_of(diffusion_model)
    if not family.has_blocks:
        check_whole_model(family, config)
    counts = Counter(kind_of(layer.stage) for layer in family.layers(diffusion_model)) or {"model": 1}
    session = Session(config, family.describe(diffusion_model), counts, node_id)
    show_text(f"{describe_model(session.description, session.probe_blocks)}.", node_id)
    for before in model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY):
        logger.warning(
            "AdaCorrection is in this chain twice: the later setting (%s) replaces the earlier one (%s).",
            config.name,
            before.__self__.config.name,
        )
    patched = model.clone()
    wrappers = (
        (WrappersMP.OUTER_SAMPLE, session.outer_sample),
        (WrappersMP.PREPARE_SAMPLING, session.prepare_sampling),
        (WrappersMP.SAMPLER_SAMPLE, session.sampler_sample),
        (WrappersMP.PREDICT_NOISE, session.predict_noise),
        (WrappersMP.APPLY_MODEL, session.apply_model),
    )
    for kind, wrapper in wrappers:
        patched.remove_wrappers_with_key(kind, KEY)
        patched.add_wrapper_with_key(kind, KEY, wrapper)
    return patched


def check_whole_model(family: Family, config: CorrectionConfig) -> None:
    """Say that the blocks of a model are not known.

    Raises:
        ConfigError: paper mode, which works on blocks.
    """
    if config.mode == "paper":
        raise ConfigError(
            f"mode is 'paper', which corrects block by block; the blocks of {family.name} are not known. "
            "Set mode to accelerated."
        )
    logger.warning("AdaCorrection: the blocks of %s are not known; it works on the whole model.", family.name)


def report_of(model: ModelPatcher) -> RunReport:
    """The report of the last run that sampled with this model or a clone of it.

    Raises:
        ConfigError: a model without AdaCorrection, or one that has not been sampled yet.
    """
    wrappers = model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)
    if not wrappers:
        raise ConfigError(
            "This model has no AdaCorrection. Connect the model output of the AdaCorrection node, "
            "the same that goes into the sampler."
        )
    report: RunReport | None = wrappers[-1].__self__.report
    if report is None:
        raise ConfigError(
            "This model has not been sampled yet. Connect the sampler's latent output here, "
            "so that the report is made after sampling."
        )
    return report


class Session:
    """What a patched model carries: the setting, and the report of its last run. No tensors.

    Args:
        config: the setting.
        description: the model's family and blocks, in words.
        counts: how many blocks of each kind it had when it was patched, in the order of their run.
        node_id: the node in the browser that shows the runs; None where there is none.
    """

    def __init__(
        self, config: CorrectionConfig, description: str, counts: dict[str, int], node_id: str | None = None
    ) -> None:
        self.config = config
        self.description = description
        self.counts = counts
        self.node_id = node_id
        self.num_blocks = sum(counts.values())
        self.report: RunReport | None = None
        self.live: LiveRun | None = None

    @property
    def probe_blocks(self) -> int:
        """Blocks that run where the decision is in doubt; none of a whole model, nor with a target."""
        return min(self.config.asked_probe_blocks, self.num_blocks - 1)

    def follow(self, run: RunState) -> None:
        """Show a run on the node in the browser."""
        if self.node_id is None:
            return
        outlook = Outlook(self.config, run.schedule)
        self.live = LiveRun(self.node_id, run.report, run.report.groups, self.probe_blocks, outlook)
        run.observer = self.live.hear

    def announce(self) -> None:
        """Tell the browser what the run will be, before it begins."""
        if self.live is not None:
            self.live.hear()

    def outer_sample(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """OUTER_SAMPLE wrapper: the length of one sampling run."""
        guider = executor.class_obj
        given = named(OUTER_SAMPLE, args, kwargs)
        schedule = make_schedule(
            given["sigmas"], guider.model_patcher.get_model_object("model_sampling"), self.config
        )
        groups = tuple(self.counts.items())
        report = RunReport(self.config.name, self.description, schedule.num_steps, groups=groups)
        run = RunState(self.config, schedule, report, cfg=guidance_scale(guider))
        # The host gives each run its own copy of these dicts; what they hold is passed on as it is.
        options = guider.model_options.setdefault("transformer_options", {})
        others = "" if self.config.is_off else two_caches(guider.model_options)
        report.note = others or unfit_sampler(given["sampler"], self.config)
        shapes = given.get("latent_shapes") or [given["noise"].shape]
        if given.get("denoise_mask") is not None:
            run.corrector.stop()  # the host puts the known part of the picture back at each step
        options[KEY] = handle = RunHandle(run, shapes, is_yielding=bool(others))
        if report.note:
            logger.warning("AdaCorrection: %s", report.note)
        self.follow(run)
        started = time.perf_counter()
        try:
            result = executor(*args, **kwargs)
            handle.count_plain(self.num_blocks)
            run.finish()
            return result
        finally:
            report.seconds = time.perf_counter() - started
            options.pop(KEY, None)
            run.release()
            self.report = report
            if self.live is not None:
                self.live.end()
            logger.info("%s", log_line(report))

    def prepare_sampling(
        self, executor: Any, model: ModelPatcher, noise_shape: Any, conds: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """PREPARE_SAMPLING wrapper: say what the cache will take, before the host makes room for the run."""
        handle = handle_in(kwargs.get("model_options") or {})
        family = find_family(unwrapped(model.model.diffusion_model))
        is_idle = handle is None or handle.is_yielding or self.config.is_off
        if is_idle or family is None or self.config.mode == "paper":
            self.announce()
            return executor(model, noise_shape, conds, *args, **kwargs)
        run = handle.run
        rehearsal = Rehearsal(model, conds, kwargs["model_options"], handle.latent_shapes, run.cfg)
        shape = shape_with_cache(run, family, rehearsal, noise_shape)
        self.announce()
        return executor(model, shape, conds, *args, **kwargs)

    def apply_model(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """APPLY_MODEL wrapper: the length of one model call."""
        given = named(APPLY_MODEL, args, kwargs)
        x, options = given["x"], given["transformer_options"]
        handle: RunHandle | None = options.get(KEY)
        if handle is None:
            return executor(*args, **kwargs)
        if self.config.is_off:
            handle.note_plain(options, len(x))
            return executor(*args, **kwargs)
        model, sigma = executor.class_obj, options["sigmas"][:1]
        diffusion_model = unwrapped(model.diffusion_model)
        branches = handle.told_apart(branches_of(model, given))
        is_training = torch.is_grad_enabled()  # a forecast has no gradients
        watched = (
            Reason.TRAINING if is_training else handle.watched(diffusion_model, self.num_blocks, options)
        )
        if isinstance(watched, Reason):
            return self.apply_plain(
                handle.run, watched, sigma.detach(), branches, lambda: executor(*args, **kwargs)
            )
        if handle.is_yielding:
            return watched.count(sigma, branches, Reason.OTHER_CACHE, lambda: executor(*args, **kwargs))
        dtype = computing_dtype(model, model.manual_cast_dtype)
        reading = DenoisedReading(x, per_row(given["t"], x), dtype)
        num_latent = find_family(diffusion_model).num_latent(diffusion_model, x.shape)
        return watched.call(sigma, branches, reading, lambda: executor(*args, **kwargs), num_latent)

    def sampler_sample(self, executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        """SAMPLER_SAMPLE wrapper: a run that ends above noise level 0 hands on what is settled as well.

        The host's arguments are the guider, the sigmas and extra_args first.
        """
        latent: Tensor = executor(*args, **kwargs)
        guider, sigmas, extra = args[:3]
        handle = handle_in(extra["model_options"])
        shift = None if handle is None else handle.run.corrector.shift
        if shift is None or shift.shape != latent.shape or not sigmas[-1] > 0:
            return latent
        unscaled, moved = guider.inner_model.model_sampling.inverse_noise_scaling, sigmas[-1] * shift
        return latent + (unscaled(sigmas[-1], moved) - unscaled(sigmas[-1], moved * 0)).to(latent.dtype)

    def predict_noise(
        self, executor: Any, latent: Tensor, sigma: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        """PREDICT_NOISE wrapper: one evaluation by the sampler, all conditionings and their guidance."""
        model_options = kwargs["model_options"] if "model_options" in kwargs else args[0]
        handle = handle_in(model_options)
        is_idle = handle is None or handle.is_yielding or self.config.is_off
        if is_idle or torch.is_grad_enabled():
            return executor(latent, sigma, *args, **kwargs)
        with handle.evaluation():
            if self.config.mode == "paper":
                return executor(latent, sigma, *args, **kwargs)
            run, level = handle.run, per_row(sigma, latent)
            run.corrector.expect(latent.shape)
            shifted = run.corrector.shifted(latent, level)
            denoised: Tensor = executor(shifted, sigma, *args, **kwargs)
        moved = run.settle(latent, (shifted - denoised) / level)
        return denoised if moved is None else denoised + (level * moved).to(denoised.dtype)

    def apply_plain(
        self,
        run: RunState,
        reason: Reason,
        sigma: Tensor,
        branches: list[Branch],
        compute: Callable[[], Tensor],
    ) -> Tensor:
        """A call that is left to the host and counted."""
        call = CountedCall(run, sigma, branches)
        try:
            return compute()
        finally:
            call.close(self.num_blocks, self.num_blocks, reason)


def make_schedule(sigmas: Tensor, model_sampling: Any, config: CorrectionConfig) -> Schedule:
    """The noise levels of a run, and between which of them steps may be corrected."""
    # Flow models call their levels 0 to 1; all others have noise over signal.
    is_flow = any(cls.__name__ == "CONST" for cls in type(model_sampling).__mro__)
    first = float(model_sampling.percent_to_sigma(config.start_percent))
    last = float(model_sampling.percent_to_sigma(config.end_percent))
    return Schedule(tuple(sigmas.tolist()), is_flow, first, last, config.warmup_steps)


def per_row(sigma: Tensor, latent: Tensor) -> Tensor:
    """(B, 1, ...) noise level of each row, to go with a latent (B, ...)."""
    return sigma.reshape(-1, *[1] * (latent.ndim - 1)).to(latent.dtype)


def log_line(report: RunReport) -> str:
    """The one line that a run leaves in the log."""
    state = "" if report.is_finished else " (did not finish)"
    return (
        f"AdaCorrection {report.config_name}: "
        f"{len(report.reused)} of {len(report.records)} evaluations corrected, "
        f"{report.block_fraction:.0%} of the block executions, {report.seconds:.2f} s{state}"
    )
