"""What a cache of another project is to the bench, and what the peers' contexts share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from itertools import count
from typing import Any

from diffusers import CacheMixin
from torch import Tensor, nn

from adacorrection_core.diffusers_families import family_of
from adacorrection_core.stages import find_layers

Value = float | str
Context = Callable[[nn.Module, int, Any], AbstractContextManager[None]]


def blocks_of(transformer: nn.Module) -> list[nn.Module]:
    """The blocks of a diffusers transformer, in the order in which they are called."""
    return [layer.block for layer in find_layers(transformer, family_of(transformer).stages)]


@dataclass(frozen=True)
class Peer:
    """A cache of another project.

    Attributes:
        name: what it is, and whose.
        knob: what trades fidelity for speed.
        values: a sweep of it, slow to fast.
        context: `context(transformer, num_steps, value)` puts it in charge of one sampling run.
        note: how it is used, and what is not at the authors' default.
        needs_guidance: whether it wants cond and uncond in the batch.
        calibrate: `calibrate(transformer, num_steps, sample)` makes the context, from a run in full.
    """

    name: str
    knob: str
    values: tuple[Value, ...]
    context: Context
    note: str
    needs_guidance: bool = False
    calibrate: Callable[[nn.Module, int, Callable[[], object]], Context] | None = None

    def prepared(self, transformer: nn.Module, num_steps: int, sample: Callable[[], object]) -> Peer:
        """This peer, calibrated where it needs that, for a number of steps.

        Args:
            transformer: the model that will be sampled.
            num_steps: steps of the sampler, one call of the transformer each.
            sample: draws one picture; it may be called once.
        """
        if self.calibrate is None:
            return self
        return replace(self, context=self.calibrate(transformer, num_steps, sample), calibrate=None)


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


@contextmanager
def restored(transformer: nn.Module) -> Iterator[None]:
    """Afterwards every module has the attributes and children that it had before, in their order.

    Caches leave hooks and marks behind; cache-dit takes the lists of blocks out and puts them back last.
    """
    tables = [table for module in transformer.modules() for table in (module.__dict__, module._modules)]
    before = [(table, dict(table)) for table in tables]
    try:
        yield
    finally:
        for table, content in before:
            table.clear()
            table.update(content)


def hand_text_on(transformer: nn.Module) -> None:
    """Let SD3's last block return the text that it was given, where it returns none: caches subtract it.

    Nothing reads that text. `restored` undoes it.
    """
    block = transformer.transformer_blocks[-1]
    if not getattr(block, "context_pre_only", False):
        return
    forward = block.forward

    @wraps(forward)  # cache-dit looks at the signature
    def forward_with_text(
        hidden_states: Tensor, encoder_hidden_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        return encoder_hidden_states, forward(hidden_states, encoder_hidden_states, *args, **kwargs)[1]

    block.forward = forward_with_text


@contextmanager
def one_cache_context(transformer: nn.Module, num_steps: int) -> Iterator[None]:
    """Runs each call of the transformer inside diffusers' cache context, as a pipeline does.

    Cond and uncond share a batch, so there is one context; it is told the step and the noise level.
    """
    forward, steps, noise_level = transformer.forward, count(), family_of(transformer).noise_level

    def forward_in_context(*args: Any, **kwargs: Any) -> Any:
        sigma = float(noise_level(kwargs["timestep"])[0])
        place = {"step_index": next(steps), "num_inference_steps": num_steps, "sigma": sigma}
        with CacheMixin.cache_context(transformer, "cond_uncond", **place):  # SD3's lacks the mixin
            return forward(*args, **kwargs)

    with instance_attributes(transformer, forward=forward_in_context):
        yield
