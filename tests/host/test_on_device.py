"""What only a device beside the CPU shows, with TEST_DEVICE=second; the conftest leaves it out without."""

from dataclasses import replace
from typing import Any

import comfy.model_management
import comfy.samplers
import pytest
import torch
from runs import REPRESENTATIVES, TOLERANT, corrected, model_of, sampled
from torch import Tensor

import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.adacorrection_core.state import RunState
from adacorrection.adacorrection_core.storage import ROUGHLY
from adacorrection.nodes.host.session import apply_correction
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


def unannounced(args: dict[str, Any]) -> Tensor:
    """Guidance by a pass without the prompt's patches, found out about by nobody before it is made."""
    call = getattr(comfy.samplers, "_".join(["calc", "cond", "batch"]))
    options = args["model_options"]
    options = options | {"transformer_options": options["transformer_options"] | {"another": True}}
    (other,) = call(args["model"], [args["cond"]], args["input"], args["sigma"], options)
    return args["denoised"] + 0.5 * (args["cond_denoised"] - other)


def test_what_the_host_has_not_been_told_of_waits_in_ram(monkeypatch: pytest.MonkeyPatch) -> None:
    held, note = [], RunState.note_bytes_held

    def note_on_device(run: RunState) -> None:
        held.append(sum(state.history.bytes_on_device for state in run.branches.values()))
        note(run)

    monkeypatch.setattr(RunState, "note_bytes_held", note_on_device)
    plain = model_of("flux_dev").clone()
    plain.set_model_sampler_post_cfg_function(unannounced)
    run = {"steps": 14, "cfg": 2.0}
    _, usual = sampled(corrected("flux_dev", TARGET), "flux_dev", **run)
    most = max(held)
    assert not usual.has_spilled

    held.clear()
    latent, report = sampled(apply_correction(plain, TARGET), "flux_dev", **run)
    assert max(held) == most <= ROUGHLY * report.bytes_expected
    assert report.bytes_held > report.bytes_expected
    assert report.has_spilled and "partly in RAM" in report.summary()

    on_device = replace(TARGET, cache_placement="device")
    kept_there, report = sampled(apply_correction(plain, on_device), "flux_dev", **run)
    assert not report.has_spilled
    assert torch.equal(latent, kept_there)
