"""A fixed linear picture code in place of a VAE.

A picture is cut into patches of 4 x 4 x 3 numbers p in [-1, 1]. The code is their PCA with
the channels' spread compressed, so that fine detail is neither drowned by the mean colour nor blown up
to the size of it:

    z = (V^T (p - mean)) * g,    g_i ~ std_i^-0.6, scaled so that the variance over all channels is 1
    p = V (z / g) + mean

"Model space" is z, what the network sees. ComfyUI hands latents through its own Flux latent format,
latent = z / comfy_scale + comfy_shift; `to_comfy` and `from_comfy` go between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

COMFY_SCALE, COMFY_SHIFT = 0.3611, 0.1159  # comfy/latent_formats.py, class Flux
SPREAD_EXPONENT = 0.6


@dataclass(frozen=True)
class PictureCode:
    """The code of pictures as latents.

    mean: (P * P * 3,) mean patch; basis: (P * P * 3, C) orthonormal columns; gain: (C,).
    """

    mean: Tensor
    basis: Tensor
    gain: Tensor
    patch: int = 4

    @classmethod
    def load(cls, path: str | Path) -> PictureCode:
        """Reads a picture_code.safetensors."""
        stored = load_file(path)
        return cls(stored["mean"], stored["V"], stored["g"], int(stored["patch"]))

    @classmethod
    def fit(cls, pictures: Tensor, channels: int = 16, patch: int = 4) -> PictureCode:
        """Finds the code of `pictures`: (B, 3, H, W) in [0, 1]."""
        patches = _cut(pictures * 2 - 1, patch).flatten(0, 2)  # (B * h * w, 3 * P * P)
        mean = patches.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))  # ascending
        std = values.flip(0)[:channels].clamp_min(1e-8).sqrt()
        gain = std**-SPREAD_EXPONENT
        gain = gain / (std * gain).square().mean().sqrt()
        return cls(mean, vectors.flip(1)[:, :channels].contiguous(), gain, patch)

    def save(self, path: str | Path, metadata: dict[str, str] | None = None) -> None:
        """Writes what `load` reads."""
        numbers = {
            "patch": torch.tensor(self.patch),
            "comfy_scale_factor": torch.tensor(COMFY_SCALE),
            "comfy_shift_factor": torch.tensor(COMFY_SHIFT),
        }
        save_file({"mean": self.mean, "V": self.basis, "g": self.gain, **numbers}, path, metadata=metadata)

    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, C, H / P, W / P) in model space."""
        patches = _cut(pictures * 2 - 1, self.patch)  # (B, h, w, 3 * P * P)
        return ((patches - self.mean) @ self.basis * self.gain).permute(0, 3, 1, 2)

    def decode(self, latent: Tensor) -> Tensor:
        """(B, C, h, w) in model space -> (B, 3, h * P, w * P) in [0, 1]."""
        patches = (latent.permute(0, 2, 3, 1).float() / self.gain) @ self.basis.T + self.mean
        return (_join(patches, self.patch) / 2 + 0.5).clamp(0, 1)

    @staticmethod
    def to_comfy(latent: Tensor) -> Tensor:
        """Model space -> ComfyUI LATENT samples (its Flux latent format)."""
        return latent / COMFY_SCALE + COMFY_SHIFT

    @staticmethod
    def from_comfy(samples: Tensor) -> Tensor:
        """ComfyUI LATENT samples (its Flux latent format) -> model space."""
        return (samples - COMFY_SHIFT) * COMFY_SCALE


def _cut(pictures: Tensor, patch: int) -> Tensor:
    """(B, 3, H, W) -> (B, H / P, W / P, 3 * P * P) patches."""
    batch, colours, height, width = pictures.shape
    grid = pictures.reshape(batch, colours, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 1, 3, 5).flatten(3)


def _join(patches: Tensor, patch: int) -> Tensor:
    """(B, h, w, 3 * P * P) patches -> (B, 3, h * P, w * P)."""
    batch, rows, columns, _ = patches.shape
    grid = patches.reshape(batch, rows, columns, 3, patch, patch).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(batch, 3, rows * patch, columns * patch)
