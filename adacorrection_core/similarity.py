"""How near pictures are to others: PSNR, SSIM and where they differ. Pure tensor functions.

SSIM is that of Wang et al. 2004 (doi 10.1109/TIP.2003.819861): Gaussian window of 11 x 11, sigma 1.5, mean
over channels. It gives scikit-image's numbers (gaussian_weights=True, use_sample_covariance=False), which
is not used here since ComfyUI does not bring it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

PSNR_CAP_DB = 100.0  # of identical pictures, so that means stay finite
WINDOW_RADIUS, WINDOW_SIGMA = 5, 1.5
K1, K2 = 0.01, 0.03  # keep the quotients finite where a window is black or flat


@dataclass(frozen=True)
class Similarity:
    """Pictures against their references.

    Attributes:
        psnr: decibels, one a picture; at most PSNR_CAP_DB.
        ssim: one a picture, 1 for identical ones.
        difference: (N, H, W) absolute difference, mean over channels.
        data_range: what PSNR and SSIM take as the range of values.
    """

    psnr: tuple[float, ...]
    ssim: tuple[float, ...]
    difference: Tensor
    data_range: float

    @property
    def mean_psnr(self) -> float:
        """Decibels, mean over the pictures, as video is commonly measured."""
        return sum(self.psnr) / len(self.psnr)

    @property
    def mean_ssim(self) -> float:
        """Mean over the pictures."""
        return sum(self.ssim) / len(self.ssim)

    @property
    def worst(self) -> int:
        """Number of the picture with the lowest PSNR, from 0."""
        return min(range(len(self.psnr)), key=self.psnr.__getitem__)

    def summary(self) -> str:
        """The numbers in a line or two."""
        largest, mean = float(self.difference.max()), float(self.difference.mean())
        if largest == 0:
            return "Identical: not one value differs"
        is_picture = self.data_range == 1
        scale = (
            f" ({255 * largest:.2g} of 255 levels)"
            if is_picture
            else f", of a range of {self.data_range:.3g}"
        )
        lines = [
            f"PSNR {self.mean_psnr:.1f} dB, SSIM {self.mean_ssim:.4f}",
            f"Difference {mean:.2g} on average, {largest:.2g} at most{scale}",
        ]
        if len(self.psnr) > 1:
            worst = self.worst
            lines[0] += f" (mean of {len(self.psnr)} pictures)"
            lines.append(
                f"Worst: picture {worst + 1}, {self.psnr[worst]:.1f} dB, SSIM {self.ssim[worst]:.4f}"
            )
        return "\n".join(lines)


def similarity(reference: Tensor, compared: Tensor, data_range: float = 1.0) -> Similarity:
    """Measure pictures against their references.

    Args:
        reference, compared: (N, H, W, C), the same shape.
        data_range: range of the values, 1 for pictures in [0, 1].
    """
    pairs = list(zip(reference.float(), compared.float(), strict=True))
    return Similarity(
        tuple(psnr(one, other, data_range) for one, other in pairs),
        tuple(ssim(one, other, data_range) for one, other in pairs),
        torch.stack([(one - other).abs().mean(-1) for one, other in pairs]),
        data_range,
    )


def psnr(reference: Tensor, compared: Tensor, data_range: float = 1.0) -> float:
    """Peak signal-to-noise ratio in decibels of tensors of one shape, at most PSNR_CAP_DB."""
    error = float((reference.double() - compared.double()).square().mean()) / data_range**2
    return min(-10 * float(torch.tensor(error).log10()), PSNR_CAP_DB) if error > 0 else PSNR_CAP_DB


def ssim(reference: Tensor, compared: Tensor, data_range: float = 1.0) -> float:
    """Structural similarity of two pictures (H, W, C), 1 for identical ones.

    A picture lower or narrower than 11 is measured with as large a window as fits into it.
    """
    # In doubles: variances are small differences of large squares.
    one, other = (picture.double().movedim(-1, 0).contiguous() for picture in (reference, compared))
    mean_one, mean_other = blurred(one), blurred(other)
    var_one = blurred(one * one) - mean_one * mean_one
    var_other = blurred(other * other) - mean_other * mean_other
    covariance = blurred(one * other) - mean_one * mean_other
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    luminance = (2 * mean_one * mean_other + c1) / (mean_one**2 + mean_other**2 + c1)
    structure = (2 * covariance + c2) / (var_one + var_other + c2)
    return float((luminance * structure).mean())


def blurred(pictures: Tensor) -> Tensor:
    """Windows' weighted means, (C, H, W); only windows that lie inside."""
    for dim in (1, 2):
        radius = min(WINDOW_RADIUS, (pictures.shape[dim] - 1) // 2)
        weights = [math.exp(-0.5 * (place / WINDOW_SIGMA) ** 2) for place in range(-radius, radius + 1)]
        inside = pictures.shape[dim] - 2 * radius
        # Ten times as fast on a CPU as a convolution.
        means = torch.zeros_like(pictures.narrow(dim, 0, inside))
        for i, weight in enumerate(weights):
            means.add_(pictures.narrow(dim, i, inside), alpha=weight / sum(weights))
        pictures = means
    return pictures
