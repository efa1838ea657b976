"""A model that is trained is left alone: a forecast has no gradients, and noise levels come at random."""

import comfy.samplers
import comfy_extras.nodes_train as train
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import SOME_HITS, report_of

import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.adacorrection_core.stats import Reason
from adacorrection.nodes.host.session import apply_correction

FAMILY = "sd3"
STEPS = 12
IMAGES = 4


def trained(config: CorrectionConfig | None) -> tuple[list[float], ModelPatcher]:
    """Losses of ComfyUI's own training, of one weight in the model."""
    model = tiny_models.load(FAMILY)
    weight = model.model.diffusion_model.get_parameter("joint_blocks.1.x_block.mlp.fc1.weight")
    weight.requires_grad_(True)
    losses: list[float] = []
    sampler = train.TrainSampler(
        torch.nn.MSELoss(),
        torch.optim.SGD([weight], lr=1e-2),
        losses.append,
        total_steps=STEPS,
        training_dtype=torch.bfloat16,
    )
    patched = model if config is None else apply_correction(model, config)
    guider = comfy.samplers.CFGGuider(patched)
    positive = IMAGES * tiny_models.conditionings(FAMILY)[0]
    guider.set_conds(positive, [])
    guider.set_cfg(1.0)
    latent = torch.randn(
        tiny_models.empty_latent(FAMILY, IMAGES).shape, generator=torch.Generator().manual_seed(1)
    )
    torch.manual_seed(3)
    guider.sample(torch.zeros_like(latent), latent, sampler, torch.arange(IMAGES), disable_pbar=True, seed=0)
    return losses, patched


@pytest.mark.parametrize("config", [SOME_HITS, CorrectionConfig(mode="paper")], ids=["target", "paper"])
def test_training_is_what_it_is_without(config: CorrectionConfig) -> None:
    alone, _ = trained(None)
    assert len(set(alone)) == STEPS

    losses, patched = trained(config)

    assert losses == alone
    assert set(report_of(patched).reasons) == {Reason.TRAINING.value}
