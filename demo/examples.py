"""Training examples: pictures on grounds as latents, their prompts, noise, and noise levels.

Noise levels are logit-normal (Esser et al. 2024, https://arxiv.org/abs/2403.03206, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from demo.picture_code import PictureCode
from demo.pictures import GROUNDS, PictureSet
from demo.words import DEMO_PROMPTS, encode_tokens

NULL_SHARE = 0.12  # of the batch learns without its prompt, for classifier-free guidance
UNIFORM_SHARE = 0.1  # of the noise levels is uniform, so that the ends of the path are seen
OWN_GROUND_SHARE = 0.5  # of the demo pictures stands on the ground that the demo asks for


@dataclass(frozen=True)
class Batch:
    """clean: (B, C, h, w) latents; noise: the same; sigma: (B,); context: (B, 8, 256); pooled: (B, 256)."""

    clean: Tensor
    noise: Tensor
    sigma: Tensor
    context: Tensor
    pooled: Tensor


class Examples:
    """Draws training batches from a picture set."""

    def __init__(self, pictures: PictureSet, code: PictureCode, focus: float, device: str) -> None:
        self.pictures = PictureSet(pictures.rgba.to(device), pictures.subjects)
        self.code = PictureCode(code.mean.to(device), code.basis.to(device), code.gain.to(device), code.patch)
        self.focus = focus
        self.device = device
        self.demo = torch.tensor([[pictures.find(p), list(GROUNDS).index(p.ground)] for p in DEMO_PROMPTS])
        prompts = [replace(subject, ground=ground) for subject in pictures.subjects for ground in GROUNDS]
        encoded = [encode_tokens(prompt.tokens()) for prompt in prompts]
        self.context = torch.stack([context for context, _ in encoded]).to(device)
        self.pooled = torch.stack([pooled for _, pooled in encoded]).to(device)

    def draw(self, size: int, generator: torch.Generator) -> Batch:
        """`size` examples; a share `focus` of them shows the demo's subjects."""
        index = torch.randint(len(self.pictures.subjects), (size,), generator=generator)
        ground = torch.randint(len(GROUNDS), (size,), generator=generator)
        demo = self.demo[torch.randint(len(self.demo), (size,), generator=generator)]
        is_demo = torch.rand(size, generator=generator) < self.focus
        keeps_ground = is_demo & (torch.rand(size, generator=generator) < OWN_GROUND_SHARE)
        index, ground = torch.where(is_demo, demo[:, 0], index), torch.where(keeps_ground, demo[:, 1], ground)
        return self._batch(index.to(self.device), ground.to(self.device), generator)

    def _batch(self, index: Tensor, ground: Tensor, generator: torch.Generator) -> Batch:
        clean = self.code.encode(self.pictures.on_ground(index, ground))
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        prompted = (torch.rand(len(index), generator=generator) >= NULL_SHARE).to(clean)
        row = index * len(GROUNDS) + ground
        context, pooled = self.context[row] * prompted[:, None, None], self.pooled[row] * prompted[:, None]
        return Batch(clean, noise, draw_sigmas(len(index), generator).to(clean), context, pooled)


def draw_sigmas(count: int, generator: torch.Generator) -> Tensor:
    """(count,) noise levels in (0, 1): logit-normal, some uniform."""
    uniform = torch.rand(count, generator=generator)
    logit_normal = torch.randn(count, generator=generator).sigmoid()
    return torch.where(torch.rand(count, generator=generator) < UNIFORM_SHARE, uniform, logit_normal)
