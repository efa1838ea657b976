"""torch.compile by ComfyUI's own node, before and after ours; eager backend, so Dynamo alone."""

import comfy_extras.nodes_torch_compile as compile_nodes
import pytest
import torch
import torch._dynamo
from comfy.model_patcher import ModelPatcher
from runs import TOLERANT, corrected, model_of, relative_error, run_node, sampled

import tiny_models
from adacorrection.nodes.host.session import apply_correction

pytestmark = pytest.mark.skipif(not torch._dynamo.is_dynamo_supported(), reason="no Dynamo on this platform")
STEPS = 8
SHORT = {
    "flux_short": tiny_models.flux({"depth": 1, "depth_single_blocks": 2}, guidance=3.5),
    "wan_short": tiny_models.wan({"num_layers": 3}, (1, 16, 2, 8, 8)),
}


def compiled(model: ModelPatcher) -> ModelPatcher:
    return run_node(compile_nodes.TorchCompileModel, model=model, backend="eager")


@pytest.fixture(autouse=True)
def fresh_graphs() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("is_ours_first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("family", SHORT)
def test_compiled_model(family: str, is_ours_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tiny_models.FAMILIES, family, SHORT[family])
    full = tiny_models.sample(model_of(family), family, steps=2)
    expected, eager = sampled(corrected(family, TOLERANT), family, steps=STEPS)
    if is_ours_first:
        model = compiled(corrected(family, TOLERANT))
    else:
        model = apply_correction(compiled(model_of(family)), TOLERANT)

    graphs = []
    for _ in range(3):
        latent, report = sampled(model, family, steps=STEPS)
        assert report.hit_rate == eager.hit_rate > 0
        assert relative_error(latent, expected) < 1e-4
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])

    # Each run has stand-ins of its own: that must not use up Dynamo's limit of graphs a frame.
    assert graphs[1] == graphs[2]
    assert torch.equal(tiny_models.sample(model_of(family), family, steps=2), full)
