"""What the calls of a run find in transformer_options: its state, and the models it looks after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ...adacorrection_core.call import CountedCall
from ...adacorrection_core.evaluation import Branch
from ...adacorrection_core.state import RunState
from ...adacorrection_core.stats import Reason
from ...adacorrection_core.watched import WatchedModel
from .branches import conds_of, role_name
from .family import Family, Shape
from .recognise import find_family

KEY = "adacorrection"
# The first arguments of the host's functions, in order; another pack's wrapper may pass them on by name.
OUTER_SAMPLE = ("noise", "latent_image", "sampler", "sigmas", "denoise_mask")
APPLY_MODEL = ("x", "t", "c_concat", "c_crossattn", "control", "transformer_options")


class RunHandle:
    """What a run's calls find in transformer_options. Older hosts copy those deeply: this stays one object.

    Args:
        run: state of the run.
        latent_shapes: (B, C, ...) of each latent.
        is_yielding: whether every call is left to another cache.

    Attributes:
        called: how often each branch has been called in the evaluation under way; None between two.
    """

    def __init__(self, run: RunState, latent_shapes: Sequence[Shape] = (), is_yielding: bool = False) -> None:
        self.run = run
        self.latent_shapes = latent_shapes
        self.is_yielding = is_yielding
        self.models: dict[int, WatchedModel | Reason] = {}
        self.plain: list[tuple[Tensor, list[tuple[Any, int]]]] = []
        self.called: Counter[Hashable] | None = None

    def __deepcopy__(self, memo: dict[int, object]) -> RunHandle:
        return self

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """The length of one evaluation by the sampler, in which no branch comes twice."""
        before, self.called = self.called, Counter()
        try:
            yield
        finally:
            self.called = before

    def told_apart(self, branches: Sequence[Branch]) -> list[Branch]:
        """Branches of which nothing tells why they come again in the same evaluation, by their turn.

        Tiles that a wrapper cuts the picture into, or a second pass of a guidance node that is not known.
        Both have their order, and no tile has its past from another one.
        """
        # Of a guider of another kind it is not known when its evaluations end: within the call alone.
        called, turns = Counter() if self.called is None else self.called, []
        with self.run.lock:
            for branch in branches:
                called[branch.key] += 1
                turns.append(Branch((branch.key, called[branch.key]), branch.role))
        return turns

    def note_plain(self, options: dict[str, Any], num_rows: int) -> None:
        """Take note of a call while the cache is switched off; its record is made when the run ends."""
        self.plain.append((options["sigmas"], conds_of(options, num_rows)))

    def count_plain(self, num_blocks: int) -> None:
        """Record the calls that were noted."""
        for sigmas, conds in self.plain:
            branches = [Branch(cond, role_name(cond[1])) for cond in conds]
            CountedCall(self.run, sigmas[:1], branches).close(num_blocks, num_blocks, Reason.OFF)

    def watched(
        self, diffusion_model: nn.Module, num_blocks: int, options: dict[str, Any]
    ) -> WatchedModel | Reason:
        """A model under the run's care, or why it is left alone. A run may use several: one a device, say."""
        key = id(diffusion_model)
        if key not in self.models:
            self.models[key] = self.watch(diffusion_model, num_blocks, options)
        return self.models[key]

    def watch(
        self, diffusion_model: nn.Module, num_blocks: int, options: dict[str, Any]
    ) -> WatchedModel | Reason:
        """Look after a model of a known family that still has the blocks it had when it was patched."""
        family: Family | None = find_family(diffusion_model)
        if family is None:
            return Reason.UNKNOWN_MODEL
        if family.own_state in options:
            return Reason.OWN_STATE
        if not family.has_blocks:
            return WatchedModel([], self.run) if num_blocks == 1 else Reason.UNKNOWN_MODEL
        layers = family.layers(diffusion_model)
        if len(layers) != num_blocks or len(layers) < 2:
            return Reason.BLOCKS_CHANGED
        return WatchedModel(layers, self.run)


def handle_in(model_options: dict[str, Any]) -> RunHandle | None:
    """The handle of the run that these options belong to; None where the run is not ours."""
    handle: RunHandle | None = model_options.get("transformer_options", {}).get(KEY)
    return handle


def named(names: Sequence[str], args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name, however they were passed.

    Args:
        names: of the first ones that are passed by place.
        args, kwargs: as they came.
    """
    return dict(zip(names, args, strict=False)) | kwargs
