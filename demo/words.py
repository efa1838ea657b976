"""Prompts without a text encoder: every word is a fixed random vector.

A prompt is the tokens [style:S, bg:GROUND, sub:SUBCATEGORY, up to five words of the emoji's name]. Each
token's vector is Gaussian, seeded by the SHA-256 of "tinyflux:" + token, so the same word is the same
vector on every machine and nothing has to be stored or learnt to read it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

WIDTH = 256  # numbers in a token
MAX_TOKENS = 8
MAX_NAME_WORDS = 5
FILLER_WORDS = frozenset({"face", "with", "of"})  # said of so many pictures that they tell none apart


@dataclass(frozen=True)
class Prompt:
    """What to draw: `short_name` and `style` pick the picture, `ground` the colour behind it."""

    style: str
    ground: str
    short_name: str
    subcategory: str
    name: str

    def tokens(self) -> list[str]:
        """The prompt as at most eight tokens."""
        words = [w for w in re.findall(r"[a-z0-9]+", self.name.lower()) if w not in FILLER_WORDS]
        tags = [f"style:{self.style}", f"bg:{self.ground}", f"sub:{self.subcategory}"]
        return tags + words[:MAX_NAME_WORDS]


@dataclass(frozen=True)
class Conditioning:
    """Prompts as the network reads them.

    context: (B, 8, 256) tokens; pooled: (B, 256);
    neg_context: (1, 8, 256) and neg_pooled: (1, 256) are zeros,
    the null condition of classifier-free guidance.
    """

    names: list[str]
    context: Tensor
    pooled: Tensor
    neg_context: Tensor
    neg_pooled: Tensor


def word_vector(token: str) -> Tensor:
    """token -> (256,) standard Gaussian numbers that depend on nothing else."""
    seed = int.from_bytes(hashlib.sha256(f"tinyflux:{token}".encode()).digest()[:8], "little")
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32))


def encode_tokens(tokens: list[str]) -> tuple[Tensor, Tensor]:
    """tokens -> context (8, 256), zero-padded, and pooled (256,) of unit variance."""
    vectors = torch.stack([word_vector(token) for token in tokens])
    context = torch.zeros(MAX_TOKENS, WIDTH)
    context[: len(tokens)] = vectors
    return context, vectors.sum(0) / len(tokens) ** 0.5


def encode_prompts(prompts: list[Prompt]) -> Conditioning:
    """Prompts -> the tensors and names that conds.safetensors holds."""
    encoded = [encode_tokens(prompt.tokens()) for prompt in prompts]
    names = [f"{i:02d}_{p.style}_{p.ground}_{p.short_name}" for i, p in enumerate(prompts)]
    context, pooled = (torch.stack(part) for part in zip(*encoded, strict=True))
    return Conditioning(names, context, pooled, torch.zeros(1, MAX_TOKENS, WIDTH), torch.zeros(1, WIDTH))


def save_conditioning(conditioning: Conditioning, path: str | Path) -> None:
    """Writes conds.safetensors; the names travel as JSON in its metadata."""
    tensors = {key: getattr(conditioning, key) for key in ("context", "pooled", "neg_context", "neg_pooled")}
    save_file(tensors, path, metadata={"names": json.dumps(conditioning.names)})


def load_conditioning(path: str | Path) -> Conditioning:
    """Reads conds.safetensors."""
    with safe_open(path, "pt") as stored:
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (not a dict)
        return Conditioning(json.loads(stored.metadata()["names"]), **tensors)


DEMO_PROMPTS = [
    Prompt("noto", "white", "grinning", "face-smiling", "grinning face"),
    Prompt("noto", "blue", "heart_eyes", "face-affection", "smiling face with heart-shaped eyes"),
    Prompt("twemoji", "pink", "sob", "face-concerned", "loudly crying face"),
    Prompt("twemoji", "white", "sunglasses", "face-glasses", "smiling face with sunglasses"),
    Prompt("noto", "green", "cat", "animal-mammal", "cat face"),
    Prompt("noto", "black", "pig", "animal-mammal", "pig face"),
    Prompt("noto", "purple", "tiger", "animal-mammal", "tiger face"),
    Prompt("noto", "white", "octopus", "animal-marine", "octopus"),
    Prompt("twemoji", "yellow", "heart", "heart", "heavy black heart"),
    Prompt("noto", "white", "frog", "animal-amphibian", "frog face"),
    Prompt("noto", "blue", "pizza", "food-prepared", "slice of pizza"),
    Prompt("noto", "white", "watermelon", "food-fruit", "watermelon"),
    Prompt("noto", "pink", "rose", "plant-flower", "rose"),
    Prompt("noto", "white", "hamburger", "food-prepared", "hamburger"),
    Prompt("noto", "black", "strawberry", "food-fruit", "strawberry"),
    Prompt("noto", "gray", "skull", "face-negative", "skull"),
]
