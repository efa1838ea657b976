"""Numbers of a comparison against scikit-image's, pictures of it, and what cannot be compared."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from adacorrection_core.comparison import Comparison, ComparisonError
from adacorrection_core.side_by_side import HEAT, heat
from adacorrection_core.similarity import psnr, similarity, ssim


def pictures(number: int = 1, height: int = 40, width: int = 56, channels: int = 3, seed: int = 0) -> Tensor:
    """Smooth pictures in [0, 1], (N, H, W, C)."""
    noise = torch.rand(number, channels, 6, 8, generator=torch.Generator().manual_seed(seed))
    large = torch.nn.functional.interpolate(noise, size=(height, width), mode="bicubic")
    return large.clamp(0, 1).movedim(1, -1)


def noisy(reference: Tensor, strength: float = 0.05) -> Tensor:
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(1))
    return (reference + strength * noise).clamp(0, 1)


@pytest.mark.parametrize("strength", [0.001, 0.05, 0.5])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("data_range", [1.0, 2.5])
def test_numbers_are_those_of_scikit_image(strength: float, channels: int, data_range: float) -> None:
    one = pictures(channels=channels)[0]
    other = noisy(one, strength)
    arrays = one.numpy().astype(np.float64), other.numpy().astype(np.float64)

    assert psnr(one, other, data_range) == pytest.approx(
        peak_signal_noise_ratio(*arrays, data_range=data_range), abs=1e-4
    )
    expected = structural_similarity(
        *arrays,
        data_range=data_range,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(one, other, data_range) == pytest.approx(expected, abs=1e-6)


def test_identical_pictures() -> None:
    measured = similarity(pictures(2), pictures(2))

    assert measured.psnr == (100.0, 100.0)
    assert measured.ssim == pytest.approx((1.0, 1.0))
    assert measured.summary() == "Identical: not one value differs"


def test_batch_is_measured_picture_by_picture() -> None:
    one = pictures(3)
    other = one.clone()
    other[1] = noisy(one)[1]
    measured = similarity(one, other)

    assert measured.psnr[0] == measured.psnr[2] == 100.0
    assert measured.psnr[1] == psnr(one[1], other[1]) < 40
    assert measured.mean_psnr == pytest.approx(sum(measured.psnr) / 3)
    assert measured.worst == 1
    assert "Worst: picture 2" in measured.summary()


def test_difference_is_told_in_levels_of_a_picture() -> None:
    """So that one sees at once what no screen can show. Latents have no levels."""
    one = pictures()
    assert "0.001 at most (0.26 of 255 levels)" in similarity(one, one + 0.001).summary()
    assert "0.001 at most, of a range of 4" in similarity(one, one + 0.001, data_range=4.0).summary()


def test_small_pictures_have_a_smaller_window() -> None:
    one = pictures(height=4, width=3)[0]
    assert ssim(one, one) == pytest.approx(1.0)
    assert ssim(one, 1 - one) < 0.9


def test_difference_lies_where_the_pictures_differ() -> None:
    one = pictures()
    other = one.clone()
    other[0, 10:20, 30:40] += 0.2
    comparison = Comparison.of(("IMAGE", one), ("IMAGE", other))
    drawn = comparison.draw_difference()[0]

    times = drawn.shape[1] // one.shape[2]
    marked = drawn[10 * times : 20 * times, 30 * times : 40 * times]
    lightest, darkest = (torch.tensor(colour) / 255 for colour in (HEAT[-1], HEAT[0]))
    assert marked.reshape(-1, 3).sub(lightest).abs().max() < 0.02
    assert drawn[: 9 * times].reshape(-1, 3).sub(darkest).abs().max() < 0.02
    assert drawn.shape[0] > one.shape[1] * times  # the scale is below


def test_full_scale_sets_the_lightest_colour() -> None:
    one = torch.full((1, 32, 32, 3), 0.5)
    comparison = Comparison.of(("IMAGE", one), ("IMAGE", one + 0.1))

    assert comparison.draw_difference(1.0)[0, 0, 0].mean() < comparison.draw_difference(0.2)[0, 0, 0].mean()


def test_heat_grows_lighter_all_the_way() -> None:
    lightness = heat(torch.linspace(0, 1, 50)) @ torch.tensor([0.2126, 0.7152, 0.0722])
    assert (lightness.diff() > 0).all()


@pytest.mark.parametrize(("width", "expected"), [(16, 2 * 256 + 8), (400, 808), (3000, 2048)])
def test_side_by_side_is_wide_enough_to_see_and_no_wider(width: int, expected: int) -> None:
    one = pictures(1, 12, width)
    both = Comparison.of(("IMAGE", one), ("IMAGE", noisy(one))).draw_side_by_side()

    assert both.shape[2] == expected
    assert both.min() >= 0 and both.max() <= 1


def test_transparency_and_grey_can_be_shown() -> None:
    for channels in (1, 4):
        one = pictures(channels=channels)
        assert Comparison.of(("IMAGE", one), ("IMAGE", noisy(one))).draw_side_by_side().shape[-1] == 3


@pytest.mark.parametrize("shape", [(2, 16, 8, 8), (1, 4, 8, 8), (2, 16, 3, 8, 8), (1, 2, 8, 8)])
def test_latents_of_pictures_and_videos(shape: tuple[int, ...]) -> None:
    one = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    comparison = Comparison.of(("LATENT", one), ("LATENT", one + 0.01))

    frames = shape[0] * (shape[2] if len(shape) == 5 else 1)
    measured = comparison.measured
    assert len(measured.psnr) == len(comparison.draw_side_by_side()) == frames
    assert measured.data_range == pytest.approx(float(one.max() - one.min()))
    assert measured.mean_psnr == pytest.approx(20 * np.log10(measured.data_range / 0.01), abs=1e-2)


def test_latent_without_contrast() -> None:
    flat = torch.zeros(1, 4, 8, 8)
    assert Comparison.of(("LATENT", flat), ("LATENT", flat)).measured.psnr == (100.0,)


def broken() -> Tensor:
    picture = pictures()
    picture[0, 0, 0, 0] = float("nan")
    return picture


@pytest.mark.parametrize(
    ("reference", "compared", "words"),
    [
        (("IMAGE", pictures()), ("LATENT", torch.zeros(1, 4, 8, 8)), "connect two images or two latents"),
        (("IMAGE", pictures(1, 40, 56)), ("IMAGE", pictures(1, 32, 48)), "1 of 56 x 40.*1 of 48 x 32"),
        (("IMAGE", pictures(3)), ("IMAGE", pictures(2)), "3 of 56 x 40.*2 of 56 x 40.*same size and number"),
        (("IMAGE", pictures()), ("IMAGE", pictures(channels=4)), "3 channels.*4 channels"),
        (
            ("LATENT", torch.zeros(1, 16, 5, 8, 8)),
            ("LATENT", torch.zeros(1, 16, 8, 8)),
            "1 of 5 frames of 8 x 8 with 16 channels",
        ),
        (("LATENT", torch.zeros(1, 64, 100)), ("LATENT", torch.zeros(1, 64, 100)), "decode what was sampled"),
        (("LATENT", [1, 2]), ("LATENT", [1, 2]), "several parts"),
        (("IMAGE", pictures()), ("IMAGE", broken()), "compared has NaN"),
    ],
)
def test_what_cannot_be_compared_is_told_in_words(reference: object, compared: object, words: str) -> None:
    with pytest.raises(ComparisonError, match=words):
        Comparison.of(reference, compared)  # type: ignore[arg-type]


def test_inputs_are_left_as_they_are() -> None:
    one, other = pictures(2), noisy(pictures(2)) * 1.2
    before = one.clone(), other.clone()
    comparison = Comparison.of(("IMAGE", one), ("IMAGE", other))
    comparison.draw_difference()
    comparison.draw_side_by_side()

    assert torch.equal(one, before[0]) and torch.equal(other, before[1])
