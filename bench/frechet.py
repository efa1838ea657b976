"""Frechet distance of two sets of pictures, in a feature space that needs no download.

Features are the means and spreads, over the picture, of the channels of a small convolutional network with
fixed random weights. Such features see colour, contrast and texture at three scales, and no objects: the
distance tells whether a method changes the look of a set as a whole, not whether single pictures are good,
and its numbers compare with no other FID. Means of as many features as pictures are noise: it takes several
times as many pictures as FEATURES.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

WIDTHS = (3, 16, 16, 16)
FEATURES = 2 * sum(WIDTHS[1:])


@cache
def kernels() -> list[Tensor]:
    """Weights (out, in, 3, 3) of three convolutions, the same every time."""
    generator = torch.Generator().manual_seed(0)
    widths = zip(WIDTHS[:-1], WIDTHS[1:], strict=True)
    return [torch.randn(out, width, 3, 3, generator=generator) / (9 * width) ** 0.5 for width, out in widths]


def picture_features(picture: Tensor) -> list[float]:
    """FEATURES numbers of a picture (3, H, W) in [0, 1]; each convolution is at half the size before."""
    found, hidden = [], 2 * picture.unsqueeze(0) - 1
    for kernel in kernels():
        hidden = torch.relu(torch.conv2d(hidden, kernel, stride=2, padding=1)) * 2**0.5
        found += [hidden.mean(dim=(0, 2, 3)), hidden.std(dim=(0, 2, 3))]
    return [float(number) for part in found for number in part]


def frechet_distance(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> float:
    """Frechet distance of two normal distributions fitted to two sets of features.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Heusel et al., arXiv 1706.08500).

    Args:
        first, second: a row of features for each picture, at least two rows.
    """
    one, two = (torch.tensor(rows, dtype=torch.float64) for rows in (first, second))
    apart = (one.mean(0) - two.mean(0)).square().sum()
    c1, c2 = (torch.cov(rows.T) for rows in (one, two))
    root = symmetric_root(c1)
    # (C1 C2)^(1/2) has the trace of (R C2 R)^(1/2) with R the root of C1.
    trace = c1.trace() + c2.trace() - 2 * symmetric_root(root @ c2 @ root).trace()
    return float(apart + trace.clamp_min(0.0))


def symmetric_root(matrix: Tensor) -> Tensor:
    """Square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp_min(0.0).sqrt() @ vectors.T
