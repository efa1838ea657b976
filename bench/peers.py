"""Caches of other projects on the demo's transformer, so that all can be compared at equal block executions.

    python -m bench.peers --steps 20 28 50

    for peer in PEERS:
        ready = peer.prepared(transformer, num_steps, sample)
        for value in ready.values:
            blocks = blocks_of(transformer)
            with counted(transformer, blocks) as work, ready.context(transformer, num_steps, value):
                sample()
            print(peer.name, value, work.fraction(num_steps))

The transformer is diffusers' FluxTransformer2DModel or SD3Transformer2DModel, called by keyword once a step,
with cond before uncond in one batch, or cond alone. Each peer is the project's own code; its note says what
is not at its authors' default. Run as a command, this prints what each comes to on one picture.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

from bench.block_work import counted
from bench.peer import Peer, blocks_of
from bench.peers_cache_dit import CACHE_DIT_PEERS
from bench.peers_diffusers import DIFFUSERS_PEERS
from demo.flux import new_noise, simple_sigmas
from demo.sampler import MODEL_FOLDER, DemoModel, euler, guided_velocity, load_model

__all__ = ["PEERS", "Peer", "blocks_of", "counted"]

PEERS: list[Peer] = [*DIFFUSERS_PEERS, *CACHE_DIT_PEERS]


def latent_psnr(latent: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio in decibels over the reference's range."""
    error = float((latent - reference).square().mean().sqrt())
    return 20 * math.log10(float(reference.max() - reference.min()) / error) if error else math.inf


@torch.inference_mode()
def survey(model: DemoModel, peer: Peer, num_steps: int, prompt: int, cfg: float) -> list[str]:
    """A line for each value of a peer's knob: share of block executions and latent PSNR on one picture."""
    velocity, noise, sigmas = guided_velocity(model, prompt, cfg), new_noise([0]), simple_sigmas(num_steps)
    transformer = model.transformer

    def sample() -> Tensor:
        return euler(velocity, noise, sigmas)

    full, lines = sample(), []
    ready = peer.prepared(transformer, num_steps, sample)
    for value in ready.values:
        counting = counted(transformer, blocks_of(transformer))
        with counting as work, ready.context(transformer, num_steps, value):
            latent = sample()
        fraction, psnr = work.fraction(num_steps), latent_psnr(latent, full)
        lines.append(f"{peer.name:38} {peer.knob:>14} {value!s:>7} {num_steps:5} {fraction:6.3f} {psnr:6.1f}")
    return lines


def main() -> None:
    """Prints the survey of all peers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[28], help="steps of the sampler")
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER, help="folder with a network's weights")
    parser.add_argument("--prompt", type=int, default=0, help="prompt, by number")
    parser.add_argument("--cfg", type=float, default=3.0, help="guidance scale")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(arguments.model)
    print(f"{'peer':38} {'knob':>14} {'value':>7} {'steps':>5} {'blocks':>6} {'PSNR':>6}")
    for peer in PEERS:
        for num_steps in arguments.steps if arguments.cfg != 1 or not peer.needs_guidance else ():
            print("\n".join(survey(model, peer, num_steps, arguments.prompt, arguments.cfg)), flush=True)


if __name__ == "__main__":
    main()
