"""How near a picture is to the one of the full run, and what a method comes to over several pictures.

PSNR and SSIM are scikit-image's, on pictures in [0, 1]; SSIM with the Gaussian window of Wang et al. 2004.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import mean_squared_error, structural_similarity

from demo.methods import Method

Picture = NDArray[np.float32]  # (H, W, 3) in [0, 1]

PSNR_CAP_DB = 100.0  # of identical pictures, so that means stay finite


@dataclass(frozen=True)
class Measurement:
    """One picture of one method against the full run with the same prompt and seed.

    Attributes:
        picture: the picture.
        block_fraction: block executions over those of the full run.
        seconds, full_seconds: measured time, and that of the full run timed alongside.
        psnr: decibels. ssim: 1 for identical pictures.
    """

    picture: Picture
    block_fraction: float
    seconds: float
    full_seconds: float
    psnr: float
    ssim: float


@dataclass(frozen=True)
class Row:
    """A method over all pictures, one line of the table.

    Attributes:
        label, group: of the method.
        block_fraction, psnr, ssim: means over the pictures.
        seconds: median over the pictures.
        speedup: median of the pairs, seconds of the full run over seconds.
    """

    label: str
    group: str
    block_fraction: float
    seconds: float
    speedup: float
    psnr: float
    ssim: float


def psnr(picture: Picture, reference: Picture) -> float:
    """Peak signal-to-noise ratio in decibels, at most PSNR_CAP_DB."""
    error = float(mean_squared_error(reference, picture))
    return min(-10 * float(np.log10(error)), PSNR_CAP_DB) if error > 0 else PSNR_CAP_DB


def ssim(picture: Picture, reference: Picture) -> float:
    """Structural similarity, 1 for identical pictures."""
    return float(
        structural_similarity(
            reference,
            picture,
            data_range=1.0,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def summarise(method: Method, measurements: list[Measurement]) -> Row:
    """The line of the table that a method's pictures come to."""
    return Row(
        method.label,
        method.group,
        fmean(m.block_fraction for m in measurements),
        median(m.seconds for m in measurements),
        median(m.full_seconds / m.seconds for m in measurements),
        fmean(m.psnr for m in measurements),
        fmean(m.ssim for m in measurements),
    )
