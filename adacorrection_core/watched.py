"""A model whose calls a run looks after: each is planned, run under the blocks' stand-ins, and recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from torch import Tensor

from .blocks import BlockHooks
from .call import CountedCall
from .controller import ModelCall, Plan
from .evaluation import Branch
from .paper import PaperCall
from .readings import Reading
from .stages import Layer
from .state import RunState
from .stats import Reason
from .walks import PaperWalk, ProbeWalk, Walk


class WatchedModel:
    """A model whose calls a run looks after.

    Args:
        layers: all blocks of the model in order; none where they are not known, and then there is no probe.
        run: state of the sampling run.
    """

    def __init__(self, layers: Sequence[Layer], run: RunState) -> None:
        self.layers = list(layers)
        self.num_blocks = max(len(self.layers), 1)
        self.run = run
        self.probe_blocks = min(run.probe_blocks, self.num_blocks - 1)

    @cached_property
    def hooks(self) -> BlockHooks:
        """The stand-ins, made when first needed: a cache that is switched off never needs them."""
        return BlockHooks(self.layers)

    def call(
        self,
        sigma: Tensor | float,
        branches: Sequence[Branch],
        reading: Reading,
        compute: Callable[[], Tensor],
        num_latent: int | None = None,
    ) -> Tensor:
        """One model call. One that fails leaves no record of its blocks.

        Args:
            sigma: noise level of the call, a number or a tensor with it in first place.
            branches: one a conditioning in the batch, in order.
            reading: how the output is read.
            compute: runs the model.
            num_latent: see `ProbeWalk`.

        Returns:
            the model's output, or what it is expected to be.
        """
        run = self.run
        if run.config.mode == "paper":
            return self.paper_call(sigma, branches, compute)
        if run.config.is_off or run.has_given_up:
            return self.plain_call(CountedCall(run, sigma, branches), compute)
        call = ModelCall(run, sigma, branches, reading)
        with run.lock:
            plan = call.plan(can_probe=self.probe_blocks > 0)
        if run.has_given_up:
            return self.plain_call(call, compute)
        computed, blocks_run = None, 0
        if plan is not Plan.SKIP:
            computed, blocks_run = self.run_model(call, plan, compute, num_latent)
        with run.lock:
            output = call.corrected() if computed is None else call.complete(computed)
        if output is None:  # memory has run out
            output, blocks_run = compute(), blocks_run + self.num_blocks
        with run.lock:
            call.close(blocks_run, self.num_blocks, Reason.NO_MEMORY if run.has_given_up else None)
        return output

    def plain_call(self, call: CountedCall, compute: Callable[[], Tensor]) -> Tensor:
        """One model call without the cache."""
        output = compute()
        reason = Reason.OFF if self.run.config.is_off else Reason.NO_MEMORY
        call.close(self.num_blocks, self.num_blocks, reason)
        return output

    def run_model(
        self, call: ModelCall, plan: Plan, compute: Callable[[], Tensor], num_latent: int | None
    ) -> tuple[Tensor | None, int]:
        """Run the model under the blocks' stand-ins.

        Returns:
            its output, None where the probe has said that it need not run; and how many blocks ran.
        """
        if not self.probe_blocks:
            return compute(), self.num_blocks
        walk = ProbeWalk(self.layers, call, self.probe_blocks, num_latent, plan is Plan.PROBE)
        with self.hooks.during(walk):
            output = compute()
        return (output if walk.should_compute else None), walk.blocks_run

    def paper_call(
        self, sigma: Tensor | float, branches: Sequence[Branch], compute: Callable[[], Tensor]
    ) -> Tensor:
        """One model call in paper mode."""
        call = PaperCall(self.run, sigma, branches)
        walk = PaperWalk(self.layers, call)
        with self.hooks.during(walk):
            output = compute()
        call.close(walk.blocks_run, self.num_blocks)
        return output

    def count(
        self, sigma: Tensor | float, branches: Sequence[Branch], reason: Reason, compute: Callable[[], Tensor]
    ) -> Tensor:
        """One model call that is left to the host: its blocks are counted, where they are known.

        Args:
            sigma, branches, compute: see `call`.
            reason: why nothing is corrected.
        """
        call = CountedCall(self.run, sigma, branches)
        if not self.layers:
            output, blocks_run = compute(), self.num_blocks
        else:
            walk = Walk(self.layers)
            with self.hooks.during(walk):
                output = compute()
            blocks_run = walk.blocks_run
        call.close(blocks_run, self.num_blocks, reason)
        return output
