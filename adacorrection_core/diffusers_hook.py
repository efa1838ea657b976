"""The adapter's hook on a diffusers transformer: looks after its calls, run by run."""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import BlockHooks
from .config import ConfigError, CorrectionConfig
from .diffusers_families import Family, family_of
from .evaluation import Branch
from .readings import VelocityReading
from .risk import Schedule
from .rules import Rule
from .stages import find_layers
from .state import RunState
from .stats import RunReport
from .watched import WatchedModel

HOOK_NAME = "adacorrection"
SHARED_CONTEXT = "cond_uncond"  # what pipelines call the context of a batch with both


@dataclass(frozen=True)
class Setting:
    """What stays the same over the runs of a transformer.

    Attributes:
        config: the setting.
        branches: name of each equal share of the batch, in order.
        cfg: scale of classifier-free guidance, where "cond" and "uncond" are combined by it.
        make_rule: another decision rule than AdaCorrection's own.
        is_correcting: False holds the cached velocity, as a plain cache does.
    """

    config: CorrectionConfig
    branches: tuple[str, ...] = ("cond",)
    cfg: float | None = None
    make_rule: Callable[[Schedule], Rule] | None = None
    is_correcting: bool = True


class TransformerHook:
    """A stateful hook in the sense of diffusers (ModelHook): looks after a transformer's calls, run by run.

    A run ends when the pipeline says so (it resets stateful hooks when it is through), and where it does not,
    when the scheduler has been given new timesteps.

    Args:
        transformer: of a supported class.
        setting: for all runs.
        scheduler: where the noise levels are read; None where `begin` is told them.
    """

    _is_stateful = True

    def __init__(self, transformer: nn.Module, setting: Setting, scheduler: Any = None) -> None:
        self.family: Family = family_of(transformer)
        self.transformer = transformer
        self.setting = setting
        self.scheduler = scheduler
        self.layers = find_layers(transformer, self.family.stages)
        self.block_hooks = BlockHooks(self.layers)  # for all runs: compiled graphs guard on the stand-ins
        self.contexts = importlib.import_module("diffusers.hooks.hooks").StateManager(dict)
        self.fn_ref: Any = None  # the registry puts the forward that it hooks here
        self.model: WatchedModel | None = None
        self.timesteps: Tensor | None = None
        self.started = 0.0
        self.report: RunReport | None = None

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        """Nothing to prepare."""
        return module

    def deinitalize_hook(self, module: nn.Module) -> nn.Module:
        """The hook is taken away: a run under way is not finished."""
        self.abandon()
        return module

    def pre_forward(
        self, module: nn.Module, *args: Any, **kwargs: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments pass as they are."""
        return args, kwargs

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        """The output passes as it is."""
        return output

    def reset_state(self, module: nn.Module) -> nn.Module:
        """The pipeline is through with its run."""
        if self.scheduler is not None:
            self.finish()
        return module

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """One call of the transformer."""
        arguments = self.bound(args, kwargs)
        model, wants_dict = self.model_of_run(), arguments.get("return_dict", True)
        latent: Tensor = arguments["hidden_states"]
        branches = self.branches_of(arguments)

        def compute(given: Tensor) -> Tensor:
            changed = {**arguments, "hidden_states": given, "return_dict": False}
            velocity: Tensor = self.fn_ref.original_forward(**changed)[0]
            return velocity

        velocity = self.settled_call(model, branches, latent, arguments["timestep"], compute)
        if self.scheduler is not None:
            self.after_call(model.run)
        if not wants_dict:
            return (velocity,)
        return importlib.import_module("diffusers.models.modeling_outputs").Transformer2DModelOutput(velocity)

    def settled_call(
        self,
        model: WatchedModel,
        branches: list[Branch],
        latent: Tensor,
        timestep: Any,
        compute: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """One call, with the debt of corrected steps settled where the call holds all conditionings."""
        run, level, cfg = model.run, self.family.noise_level(timestep), self.setting.cfg
        roles = [branch.role for branch in branches]
        is_whole = len(roles) == 1 or (cfg is not None and set(roles) == {"cond", "uncond"})
        if not is_whole or not run.is_correcting or run.config.is_off or run.config.mode == "paper":
            return model.call(level, branches, VelocityReading(latent), lambda: compute(latent))
        count = len(branches)
        given = latent
        if run.corrector.shift is not None:
            shift = run.corrector.shift.repeat(count, *[1] * (latent.ndim - 1))
            given = latent + (shift * flat_level(level, latent)).to(latent.dtype)
        velocity = model.call(level, branches, VelocityReading(given), lambda: compute(given))
        guided = velocity
        if cfg is not None and count == 2:
            parts = dict(zip(roles, velocity.chunk(2), strict=True))
            guided = torch.lerp(parts["uncond"], parts["cond"], cfg)
        run.settle(latent[: len(guided)], guided)
        if run.corrector.shift is None:
            return velocity
        return velocity - run.corrector.shift.repeat(count, *[1] * (latent.ndim - 1)).to(velocity.dtype)

    def bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name, however they were passed."""
        if not args:
            return kwargs
        signature = inspect.signature(type(self.transformer).forward)
        arguments = dict(signature.bind_partial(self.transformer, *args, **kwargs).arguments)
        return {name: value for name, value in arguments.items() if name != "self"}

    def branches_of(self, arguments: dict[str, Any]) -> list[Branch]:
        """The conditionings in a call: by the name of its cache context, else by their shares of the batch.

        A pass that leaves out layers (Stable Diffusion 3's skip-layer guidance) is a branch of its own.
        """
        context = self.contexts._context
        name = None if context is None else context.name
        names = self.setting.branches
        if name not in (None, SHARED_CONTEXT) or len(names) == 1:
            names = (name or names[0],)
        skipped = arguments.get("skip_layers")
        if skipped:
            return [Branch(("skip_layers", *skipped), "skip_layers")]
        batch = len(arguments["hidden_states"])
        if batch % len(names):
            raise ConfigError(
                f"A batch of {batch} cannot be shared by {len(names)} branches ({', '.join(names)}). Pass as "
                "many branches as there are conditionings in the batch, or none to take it as a whole."
            )
        return [Branch(name, name) for name in names]

    def model_of_run(self) -> WatchedModel:
        """The model in its present run; a new one where the scheduler has new timesteps."""
        if self.scheduler is not None and (
            self.model is None or self.timesteps is not self.scheduler.timesteps
        ):
            self.abandon()
            self.timesteps = self.scheduler.timesteps
            self.begin(scheduler_levels(self.scheduler))
        assert self.model is not None
        return self.model

    def begin(self, sigmas: Sequence[float]) -> RunState:
        """A new run at these noise levels, 1 (noise) to 0, one more than steps."""
        config = self.setting.config
        first, last = 1.0 - config.start_percent, 1.0 - config.end_percent
        # Pipelines in half precision hand the noise level over in it.
        is_rounded = next(self.transformer.parameters()).dtype in (torch.float16, torch.bfloat16)
        schedule = Schedule(tuple(sigmas), True, first, last, config.warmup_steps, is_rounded)
        family = f"{type(self.transformer).__name__}, {len(self.layers)} blocks"
        self.report = RunReport(config.name, family, schedule.num_steps)
        make_rule = self.setting.make_rule
        run = RunState(
            config,
            schedule,
            self.report,
            cfg=self.setting.cfg,
            rule=make_rule(schedule) if make_rule else None,
            is_correcting=self.setting.is_correcting,
        )
        self.model = WatchedModel(self.layers, run)
        self.model.hooks = self.block_hooks
        self.started = time.perf_counter()
        return run

    def after_call(self, run: RunState) -> None:
        """In a pipeline the run may end here: its seconds are those up to now.

        Past the last step nothing is corrected, and what was remembered would stand in the VAE's way.
        """
        run.report.seconds = time.perf_counter() - self.started
        if run.evaluation is not None and run.schedule.is_last(run.evaluation.step_index):
            run.branches.clear()

    def finish(self) -> None:
        """The run is complete."""
        if self.model is not None:
            self.model.run.finish()
        self.abandon()

    def abandon(self) -> None:
        """No run is under way any more; its report stays."""
        if self.model is not None:
            if self.scheduler is None:
                self.model.run.report.seconds = time.perf_counter() - self.started
            self.model.run.release()
        self.model = self.timesteps = None


def flat_level(level: Tensor | float, latent: Tensor) -> Tensor | float:
    """A noise level, to go with a latent (B, ...)."""
    return level.reshape(-1, *[1] * (latent.ndim - 1)) if isinstance(level, Tensor) else level


def scheduler_levels(scheduler: Any) -> list[float]:
    """Noise levels of the run that a scheduler has been set up for, 1 to 0, one more than steps.

    A run may begin in the middle: with a picture to start from, or as the second of two experts.
    """
    begin = getattr(scheduler, "step_index", None) or getattr(scheduler, "begin_index", None) or 0
    scale = float(scheduler.config.num_train_timesteps)
    return [timestep / scale for timestep in scheduler.timesteps[begin:].tolist()] + [0.0]


def attach(hook: TransformerHook) -> None:
    """Register a hook with its transformer.

    Raises:
        ConfigError: this or another cache is enabled already.
    """
    transformer: Any = hook.transformer
    present = getattr(transformer, "_cache_config", None)
    if present is not None:
        raise ConfigError(
            f"A cache is enabled on this transformer already ({type(present).__name__}), and two would skip "
            "twice. Call disable_adacorrection(transformer) or transformer.disable_cache() first."
        )
    registry = importlib.import_module("diffusers.hooks").HookRegistry.check_if_exists_or_initialize(
        transformer
    )
    registry.register_hook(hook, HOOK_NAME)
    transformer._cache_config = hook.setting.config  # enable_cache then refuses a second cache
    if not hasattr(transformer, "_reset_stateful_cache"):  # what pipelines call when they are through
        transformer._reset_stateful_cache = registry.reset_stateful_hooks


def attached(transformer: nn.Module) -> TransformerHook | None:
    """Our hook on a transformer, if there is one."""
    registry = getattr(transformer, "_diffusers_hook", None)
    hook: TransformerHook | None = registry.get_hook(HOOK_NAME) if registry is not None else None
    return hook


def detach(transformer: Any) -> None:
    """Take our hook away, and what diffusers' registry leaves behind where it holds no other."""
    registry = transformer._diffusers_hook
    registry.remove_hook(HOOK_NAME, recurse=False)
    for name in ("_cache_config", "_reset_stateful_cache"):
        transformer.__dict__.pop(name, None)
    if not registry.hooks:
        del transformer._diffusers_hook
        if getattr(transformer.forward, "__func__", None) is type(transformer).forward:
            transformer.__dict__.pop("forward", None)
