"""A model whose blocks are not known, or cannot be stood in for: looked after from outside.

There is no probe, so a corrected call costs nothing and knows less. What tells the drift is the model's
input: the latent, as the model is given it. What is kept of a full pass and forecast is the velocity, the
direction (x - denoised) / sigma in which the sampler moves: it changes slowly, and it is the same whether the
model predicts noise, velocity or the clean latent. All else (decision, forecast, weight, risk) is the
controller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .controller import ModelCall
from .state import Branch, RunState
from .stats import Reason


def latent_to_tokens(latent: Tensor) -> Tensor:
    """(B, C, ...) latent as (B, N, C) tokens, one an element."""
    return latent.flatten(2).mT


def tokens_to_latent(tokens: Tensor, like: Tensor) -> Tensor:
    """The inverse of `latent_to_tokens`."""
    return tokens.mT.reshape(like.shape)


class WholeModel:
    """A model whose calls a run looks after without its blocks.

    Args:
        run: state of the sampling run.
    """

    def __init__(self, run: RunState) -> None:
        self.run = run

    def call(
        self,
        sigmas: Tensor,
        branches: Sequence[Branch],
        latent: Tensor,
        model_input: Tensor,
        compute: Callable[[], Tensor],
    ) -> Tensor:
        """One model call.

        Args:
            sigmas: (B,) noise level of each row.
            branches: one a conditioning in the batch, in order.
            latent: (B, C, ...) x at this noise level.
            model_input: the same, scaled as the model is given it.
            compute: runs the model.

        Returns:
            the clean latent that the model, or the forecast of its velocity, expects.
        """
        call = ModelCall(self.run, sigmas[:1], branches)
        if self.run.has_given_up:
            denoised = compute()
            call.close(1, 1, Reason.NO_MEMORY)
            return denoised
        level = sigmas.view(-1, *[1] * (latent.ndim - 1)).to(latent.dtype)
        tokens = latent_to_tokens(model_input.to(latent.dtype))
        with self.run.lock:
            call.enter(torch.zeros_like(tokens))
            should_compute = call.probe(tokens)
        if not should_compute:
            with self.run.lock:
                velocity = tokens_to_latent(call.corrected() - tokens, latent)
                call.close(0, 1)
            return latent - level * velocity
        denoised = compute()
        with self.run.lock:
            if denoised.shape == latent.shape:
                call.complete(tokens + latent_to_tokens((latent - denoised) / level))
            call.close(1, 1)
        return denoised
