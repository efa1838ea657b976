"""The adapter's hook on a diffusers transformer: looks after its calls, run by run."""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import BlockHooks
from .config import ConfigError, CorrectionConfig
from .diffusers_experts import Handover
from .diffusers_families import Family, family_of
from .diffusers_levels import SAME_LEVEL, LearntLevels, scheduler_levels
from .diffusers_settlement import GuidedSettlement
from .evaluation import Branch
from .kept import HALVES
from .readings import VelocityReading
from .risk import Schedule
from .rules import Rule
from .stages import find_layers
from .state import RunState
from .stats import RunReport
from .watched import WatchedModel

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
        is_settling: False where the pipeline changes the latents between steps, as inpainting does.
    """

    config: CorrectionConfig
    branches: tuple[str, ...] = ("cond",)
    cfg: float | None = None
    make_rule: Callable[[Schedule], Rule] | None = None
    is_correcting: bool = True
    is_settling: bool = True


class TransformerHook:
    """A stateful hook in the sense of diffusers (ModelHook): looks after a transformer's calls, run by run.

    A run ends when the pipeline says so (it resets stateful hooks when it is through). Where it does not, the
    next one begins when the scheduler has been given new timesteps, or when the noise level starts again.

    Args:
        transformer: of a supported class.
        setting: for all runs.
        find_scheduler: where the noise levels are read; None where `tell` is called, or where they are to be
            learnt from the calls.

    Attributes:
        leaves: set where another transformer takes the run over.
        takes: set where this one takes it over.
    """

    _is_stateful = True

    def __init__(
        self, transformer: nn.Module, setting: Setting, find_scheduler: Callable[[], Any] | None = None
    ) -> None:
        self.family: Family = family_of(transformer)
        self.transformer = transformer
        self.setting = setting
        self.find_scheduler = find_scheduler
        self.leaves: Handover | None = None
        self.takes: Handover | None = None
        self.layers = find_layers(transformer, self.family.stages)
        self.block_hooks = BlockHooks(self.layers)  # for all runs: compiled graphs guard on the stand-ins
        self.contexts = importlib.import_module("diffusers.hooks.hooks").StateManager(dict)
        self.fn_ref: Any = None  # the registry puts the forward that it hooks here
        self.model: WatchedModel | None = None
        self.settlement: GuidedSettlement | None = None
        self.is_told = False
        self.timesteps: Tensor | None = None
        self.learnt: LearntLevels | None = None
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
        if not self.is_told:
            self.finish()
        return module

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """One call of the transformer."""
        arguments = self.bound(args, kwargs)
        branches = self.branches_of(arguments)
        timestep, latent = arguments["timestep"], arguments["hidden_states"]
        level = self.ready(branches, self.family.noise_level(timestep))
        model, settlement = self.model, self.settlement
        assert model is not None and settlement is not None
        if isinstance(timestep, Tensor) and timestep.ndim > 1:
            settlement.stop()  # tokens have levels of their own

        def forward(given: Tensor) -> Tensor:
            changed = {**arguments, "hidden_states": given, "return_dict": False}
            velocity: Tensor = self.fn_ref.original_forward(**changed)[0]
            return velocity

        def compute(given: Tensor) -> Tensor:
            return model.call(level, branches, VelocityReading(given), lambda: forward(given))

        velocity = settlement.call([branch.role for branch in branches], latent, level, compute)
        if not self.is_told:
            self.after_call(model.run, settlement, branches)
        if not arguments.get("return_dict", True):
            return (velocity,)
        return importlib.import_module("diffusers.models.modeling_outputs").Transformer2DModelOutput(velocity)

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

    def ready(self, branches: list[Branch], level: Tensor | float) -> Tensor | float:
        """Have a run for a call, a new one where that begins here.

        Returns:
            the call's noise level, as given or as read from the device.
        """
        if self.is_told:
            return level
        if self.find_scheduler is None:
            return self.learn(branches, level)
        scheduler = self.find_scheduler()
        if self.model is None or self.timesteps is not scheduler.timesteps:
            self.abandon()
            self.timesteps = scheduler.timesteps
            boundary = None if self.leaves is None else self.leaves.find_boundary()
            run = self.begin(scheduler_levels(scheduler, boundary))
            if self.takes is not None and run.corrector.is_active:
                run.corrector.shift = self.takes.take(self.timesteps)
        return level

    def learn(self, branches: list[Branch], level: Tensor | float) -> float:
        """The same where the noise levels are known from the calls alone."""
        if self.model is None:
            number = float(level.reshape(-1)[0]) if isinstance(level, Tensor) else level
        else:  # with all else that waits, so that the call itself has nothing left to wait for
            self.model.run.close_if_over([branch.key for branch in branches])
            number, _ = self.model.run.transfer.read(level)
        if self.learnt is None or self.learnt.is_another_run(number):
            self.abandon()
            rounding = torch.finfo(self.dtype).eps / 4  # of a number of 0.5 to 1
            self.learnt = LearntLevels(rounding=rounding, lowest=self.family.lowest_level)
        self.learnt.meet(number, self.steps_left())
        if self.model is None:
            self.begin(self.learnt.sigmas)
        else:
            last = max(1.0 - self.setting.config.end_percent, self.learnt.end() * (1 + SAME_LEVEL))
            run, sigmas = self.model.run, tuple(self.learnt.sigmas)
            run.reschedule(replace(run.schedule, sigmas=sigmas, last_sigma=last))
        return number

    @property
    def dtype(self) -> torch.dtype:
        """Precision that it computes in, as diffusers knows it: weights may be stored in less."""
        transformer: Any = self.transformer
        dtype: torch.dtype = transformer.dtype
        return dtype

    def steps_left(self) -> int | None:
        """Steps from this call's on, where the pipeline says so in its cache context."""
        context = self.contexts._context
        index, count = (getattr(context, name, None) for name in ("step_index", "num_inference_steps"))
        return None if index is None or count is None else int(count) - int(index)

    def tell(self, sigmas: Sequence[float]) -> RunState:
        """Begin the only run that there will be, at these noise levels."""
        self.is_told = True
        return self.begin(sigmas)

    def begin(self, sigmas: Sequence[float]) -> RunState:
        """A new run at these noise levels, 1 (noise) to 0, one more than steps."""
        config = self.setting.config
        first, last = 1.0 - config.start_percent, 1.0 - config.end_percent
        # Pipelines in half precision hand the noise level over in it, some divide it in it as well: two
        # roundings by half of eps. What is learnt of a level is so rounded already.
        is_rounded = self.dtype in HALVES and self.learnt is None
        rounding = torch.finfo(self.dtype).eps if is_rounded else 0.0
        schedule = Schedule(tuple(sigmas), True, first, last, config.warmup_steps, rounding)
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
        self.settlement = GuidedSettlement(run, self.setting.cfg, self.setting.is_settling)
        self.started = time.perf_counter()
        return run

    def after_call(self, run: RunState, settlement: GuidedSettlement, branches: Sequence[Branch]) -> None:
        """In a pipeline the run may end here: its seconds are those up to now.

        Past the last step nothing is corrected, and what was remembered would stand in the VAE's way.
        """
        run.report.seconds = time.perf_counter() - self.started
        is_end_known = self.learnt is None or self.learnt.is_end_known
        if is_end_known and run.evaluation is not None and run.schedule.is_last(run.evaluation.step_index):
            run.forget(branch.key for branch in branches)
            if not settlement.parts:  # another conditioning of the same step is still to come
                if self.leaves is not None:
                    self.leaves.leave(self.timesteps, run.corrector.shift)
                settlement.stop()

    def finish(self) -> None:
        """The run is complete."""
        if self.model is not None:
            if self.learnt is not None:
                self.model.run.report.num_steps = len(self.learnt.met)
            self.model.run.finish()
        self.abandon()

    def abandon(self) -> None:
        """No run is under way any more; its report stays."""
        if self.model is not None:
            if self.is_told:
                self.model.run.report.seconds = time.perf_counter() - self.started
            self.model.run.release()
        if self.leaves is not None:
            self.leaves.leave(None, None)
        self.model = self.settlement = self.timesteps = self.learnt = None
