"""ComfyUI's multi-GPU work units: cond and uncond at once, in threads, each on a clone of the model.

Two names of the one CPU stand for the devices, with TEST_DEVICE=second two that are strangers to each other;
scheduler, threads and model clones are the host's own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from runs import (
    ALWAYS_COMPUTED,
    SOME_HITS,
    TOLERANT,
    closeness,
    probe_always_asked,
    relative_error,
    sampled,
)
from torch import Tensor

import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig
from adacorrection.adacorrection_core.stats import Outcome
from adacorrection.nodes.host.session import apply_correction

multigpu = pytest.importorskip("comfy.multigpu", reason="this ComfyUI has no multi-GPU work units")
if not hasattr(multigpu, "MultiGPUThreadPool"):
    pytest.skip("this ComfyUI has no threads for multi-GPU work units", allow_module_level=True)

DEVICES = [comfy.model_management.get_torch_device(), torch.device("cpu", 0)]  # the host's, and one more
STEPS = 10


@contextmanager
def on_two_devices(family: str) -> Iterator[ModelPatcher]:
    """The family's model, whose runs are shared out to two clones of it, one on each device."""
    model, other = tiny_models.load(family), tiny_models.load(family)
    other.load_device = DEVICES[1]
    comfy.model_management.load_models_gpu([other])
    called_on: set[torch.device] = set()
    other.model.current_patcher = other
    pool = multigpu.MultiGPUThreadPool(DEVICES)
    clones = dict(zip(DEVICES, (model, other), strict=True))

    def share_out(executor: Any, x: Any, sigma: Any, model_options: dict[str, Any], seed: Any) -> Any:
        added = {"multigpu_clones": clones, "multigpu_thread_pool": pool}
        return executor(x, sigma, model_options | added, seed)

    def note_device(executor: Any, x: Tensor, *args: Any, **options: Any) -> Tensor:
        called_on.add(x.device)
        return executor(x, *args, **options)

    patched = model.clone()
    patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "share out", share_out)
    patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "note device", note_device)
    try:
        yield patched
    finally:
        pool.shutdown()
    assert {device.type for device in called_on} == {device.type for device in DEVICES}


@pytest.mark.parametrize("config", [SOME_HITS, TOLERANT], ids=["target", "tolerance"])
@pytest.mark.parametrize("family", ["flux_dev", "wan21_t2v"])
def test_each_device_has_a_state_of_its_own(family: str, config: CorrectionConfig) -> None:
    with on_two_devices(family) as model, probe_always_asked():
        full = tiny_models.sample(model, family, steps=STEPS, cfg=3.0)
        same, _ = sampled(apply_correction(model, ALWAYS_COMPUTED), family, steps=STEPS, cfg=3.0)
        latent, report = sampled(apply_correction(model, config), family, steps=STEPS, cfg=3.0)
        num_blocks = len(tiny_models.blocks(model, family))

    assert torch.equal(same, full)
    assert report.is_finished
    assert len(report.records) == 2 * STEPS
    assert {record.branch for record in report.reused} == {"cond", "uncond"}
    assert all(record.outcome is not Outcome.COMPUTE or record.reason for record in report.records)
    assert relative_error(latent, full) < closeness(family)
    # Counted in the blocks of each device's own model, of which the probe is the first.
    computed = {record.blocks_run for record in report.records if record.outcome is Outcome.COMPUTE}
    assert computed == {num_blocks}
    assert {record.blocks_run for record in report.reused} <= {0, config.asked_probe_blocks}
    for evaluation in range(STEPS):
        both = [record for record in report.records if record.evaluation == evaluation]
        assert len({record.outcome is Outcome.COMPUTE for record in both}) == 1, "decided once for both"
