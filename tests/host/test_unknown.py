"""Models that the pack cannot help: an error in plain words at the node, never a run lost at the sampler."""

import pytest
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.model_patcher import ModelPatcher
from comfy.ops import disable_weight_init
from runs import REPRESENTATIVES, SOME_HITS, corrected, model_of, sampled
from torch import nn

import tiny_models
from adacorrection.adacorrection_core.config import ConfigError
from adacorrection.adacorrection_core.stats import Reason
from adacorrection.nodes.host import handle
from adacorrection.nodes.host.families import FAMILIES
from adacorrection.nodes.host.session import apply_correction


class Sculptor(nn.Module):
    """An architecture that nobody knows."""


def patcher(diffusion_model: nn.Module) -> ModelPatcher:
    model = nn.Module()
    model.diffusion_model = diffusion_model
    device = torch.device("cpu")
    return ModelPatcher(model, load_device=device, offload_device=device)


def test_unknown_architecture_is_named() -> None:
    with pytest.raises(ConfigError) as error:
        apply_correction(patcher(Sculptor()), SOME_HITS)

    message = str(error.value)
    assert "'Sculptor'" in message
    assert all(family.name in message for family in FAMILIES)
    assert "Bypass" in message


def test_unet_is_told_in_plain_words() -> None:
    unet = UNetModel(
        image_size=8,
        in_channels=4,
        out_channels=4,
        model_channels=32,
        num_res_blocks=[1, 1],
        channel_mult=(1, 1),
        num_heads=1,
        use_spatial_transformer=True,
        context_dim=8,
        transformer_depth=[0, 1],
        transformer_depth_output=[0, 0, 1, 1],
        transformer_depth_middle=1,
        operations=disable_weight_init,
    )

    with pytest.raises(ConfigError, match="U-Net .*Stable Diffusion 1.5 or SDXL.*diffusion transformers"):
        apply_correction(patcher(unet), SOME_HITS)


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_block_count_changes_before_sampling(family: str) -> None:
    model = tiny_models.load(family)
    patched = apply_correction(model, SOME_HITS)
    name = tiny_models.FAMILIES[family].blocks[-1]
    del getattr(model.model.diffusion_model, name)[1]

    latent, report = sampled(patched, family, steps=5)

    assert torch.equal(latent, tiny_models.sample(model, family, steps=5))
    assert [record.reason for record in report.records] == 5 * [Reason.BLOCKS_CHANGED]
    assert Reason.BLOCKS_CHANGED.value in report.summary()


def test_another_architecture_at_sampling_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a guider calls a second model with the options of the first."""
    patched = corrected("flux_dev")
    monkeypatch.setattr(handle, "find_family", lambda _: None)

    latent, report = sampled(patched, "flux_dev", steps=4)

    assert torch.equal(latent, tiny_models.sample(model_of("flux_dev"), "flux_dev", steps=4))
    assert {record.reason for record in report.records} == {Reason.UNKNOWN_MODEL}
    assert report.is_finished
