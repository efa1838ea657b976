"""The AdaCorrectionCompare node on what the host hands to it."""

from __future__ import annotations

from pathlib import Path

import folder_paths
import pytest
import torch
from comfy.nested_tensor import NestedTensor

from adacorrection.adacorrection_core.comparison import ComparisonError
from adacorrection.nodes.compare import AdaCorrectionCompare


@pytest.fixture(autouse=True)
def previews_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Previews go to the host's temp folder, which is not ours to write into."""
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))


def test_images() -> None:
    reference = torch.rand(2, 48, 64, 3, generator=torch.Generator().manual_seed(0)) * 0.5
    compared = reference.clone()
    compared[1] += 0.1

    output = AdaCorrectionCompare.execute(reference, compared, full_scale=0.2)
    psnr, ssim, difference, both, summary = output.result

    assert psnr == pytest.approx((100 + 20) / 2, abs=1e-3)
    assert 0.5 < ssim < 1
    assert difference.shape[0] == both.shape[0] == 2
    assert difference.shape[-1] == both.shape[-1] == 3
    assert "Worst: picture 2" in summary
    assert output.ui["text"] == (summary,)
    assert len(output.ui["images"]) == 1  # the worst of a batch


def test_latents_of_a_video() -> None:
    latent = {"samples": torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(0))}
    psnr, ssim, difference, _, summary = AdaCorrectionCompare.execute(latent, latent).result

    assert (psnr, ssim) == (100.0, pytest.approx(1.0))
    assert len(difference) == 3
    assert "Identical" in summary


def test_sound_and_picture_in_one_latent_are_refused_in_words() -> None:
    nested = {"samples": NestedTensor([torch.zeros(1, 16, 2, 4, 4), torch.zeros(1, 8, 10, 4)])}
    with pytest.raises(ComparisonError, match="connect the images"):
        AdaCorrectionCompare.execute(nested, nested)


def test_picture_and_latent_are_refused_in_words() -> None:
    with pytest.raises(ComparisonError, match="connect two images or two latents"):
        AdaCorrectionCompare.execute(torch.zeros(1, 8, 8, 3), {"samples": torch.zeros(1, 4, 8, 8)})
