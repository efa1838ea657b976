"""What only a device beside the CPU shows, with TEST_DEVICE=second; the conftest leaves it out without."""

from dataclasses import replace

import comfy.model_management
import pytest
import torch
from runs import REPRESENTATIVES, TOLERANT, corrected, sampled

import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from second_device import DEVICE, counted

TARGET = CorrectionConfig(target_speedup=2.0)


def test_the_host_is_on_the_device() -> None:
    model = tiny_models.load("flux_dev")
    assert comfy.model_management.get_torch_device() == model.load_device == DEVICE


@pytest.mark.parametrize("config", [TOLERANT, TARGET], ids=["tolerance", "target"])
@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_anchors_wait_in_ram_where_they_do_not_fit(
    family: str, config: CorrectionConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chosen without being told to: pinned memory, no wait more, the same latent bit for bit."""
    with counted() as events:
        latent, report = sampled(corrected(family, config), family, steps=14)
    assert not report.is_offloaded

    monkeypatch.setattr(comfy.model_management, "EXTRA_RESERVED_VRAM", 1 << 40)
    with counted() as events_offloaded:
        offloaded, offloaded_report = sampled(corrected(family, config), family, steps=14)
    assert offloaded_report.is_offloaded
    assert offloaded_report.hit_rate > 0
    assert torch.equal(offloaded, latent)
    assert events_offloaded.get("to cpu, not waited for", 0) > events.get("to cpu, not waited for", 0)
    assert events_offloaded["to cpu"] <= events["to cpu"]


def test_told_to_keep_them_on_the_device_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comfy.model_management, "EXTRA_RESERVED_VRAM", 1 << 40)
    config = replace(TARGET, cache_placement="device")
    _, report = sampled(corrected("flux_dev", config), "flux_dev", steps=8)
    assert not report.is_offloaded
