"""The adapter for diffusers keeps its contract on tiny random transformers of each supported class."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("diffusers", reason="the diffusers adapter is tested with diffusers installed")

from diffusers import FirstBlockCacheConfig
from torch.nn import Linear, Parameter

from adacorrection_core.config import ConfigError, CorrectionConfig
from adacorrection_core.diffusers import (
    adacorrection,
    disable_adacorrection,
    enable_adacorrection,
    report_of,
)
from adacorrection_core.diffusers_families import FAMILIES
from adacorrection_core.stages import find_layers
from adacorrection_core.stats import Outcome
from adacorrection_core.transfer import Transfer
from bench.tiny_transformers import TINY, make, sample, start_latent, velocity

SIGMAS = [1 - i / 12 for i in range(13)]
LOOSE = CorrectionConfig(tolerance=1.0, warmup_steps=3, max_consecutive=3)
BOTH = ("uncond", "cond")


@pytest.fixture(scope="module", params=TINY)
def transformer(request):
    return make(request.param)


@pytest.fixture(scope="module")
def flux():
    return make("FluxTransformer2DModel")


@pytest.fixture(params=["told", "learnt"])
def levels(request):
    """The noise levels as an argument, or none, so that they are learnt from the calls."""
    return SIGMAS if request.param == "told" else None


def test_each_supported_class_is_tested():
    assert FAMILIES.keys() == TINY.keys()


@pytest.mark.parametrize("tolerance", [0.0, 1e-12])
def test_no_tolerance_is_bit_identical(transformer, tolerance, levels):
    plain = sample(transformer, SIGMAS, 2)
    with adacorrection(transformer, CorrectionConfig(tolerance=tolerance), levels, branches=BOTH) as run:
        hooked = sample(transformer, SIGMAS, 2)
    assert torch.equal(plain, hooked)
    assert run.report.block_fraction == 1.0
    assert [record.branch for record in run.report.records] == 12 * ["uncond", "cond"]
    assert run.report.records[0].blocks_total == TINY[type(transformer).__name__].num_blocks


def test_a_corrected_run_is_close_cheaper_and_the_same_each_time(transformer, levels):
    plain = sample(transformer, SIGMAS)
    results = []
    for _ in range(2):
        with adacorrection(transformer, LOOSE, levels) as run:
            results.append(sample(transformer, SIGMAS))
        assert run.report.is_finished
        assert run.report.block_fraction < 0.6
        assert run.report.num_steps == 12
        assert run.report.records[-1].outcome is Outcome.COMPUTE
    assert torch.equal(*results)
    assert 0 < float((plain - results[0]).norm() / plain.norm()) < 0.05


@torch.inference_mode()
def test_an_unmoved_probe_gives_the_output_of_the_full_pass(transformer):
    """A wrong place of the image tokens, or a wrong order of what blocks return, would show here."""
    latent = torch.cat([start_latent(type(transformer).__name__)] * 2)
    with adacorrection(transformer, LOOSE, SIGMAS, branches=BOTH) as run:
        full, held = (velocity(transformer, latent, SIGMAS[4]) for _ in range(2))
    assert [record.outcome for record in run.report.records[2:]] == 2 * [Outcome.HOLD]
    assert float((full - held).norm() / full.norm()) < 1e-5


# diffusers gives SD3 no cache_context: its pipeline has one call for both.
@pytest.mark.parametrize("transformer", sorted(TINY.keys() - {"SD3Transformer2DModel"}), indirect=True)
@torch.inference_mode()
def test_cache_contexts_name_the_branches_of_separate_calls(transformer, levels):
    latent = start_latent(type(transformer).__name__)
    with adacorrection(transformer, LOOSE, levels) as run:
        for sigma in SIGMAS[:-1]:
            for name in ("cond", "uncond"):
                with transformer.cache_context(name):
                    velocity(transformer, latent, sigma)
    records = run.report.records
    assert [record.branch for record in records] == 12 * ["cond", "uncond"]
    assert {record.branch for record in records if record.outcome is not Outcome.COMPUTE} == set(BOTH)
    assert {record.evaluation for record in records} == set(range(12))


def test_an_error_inside_a_block_passes_once_and_leaves_nothing(transformer, levels):
    plain, before = sample(transformer, SIGMAS), attributes(transformer)
    block = find_layers(transformer, FAMILIES[type(transformer).__name__].stages)[1].block
    calls = []

    def fail(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("stop")

    handle = block.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="stop"), adacorrection(transformer, LOOSE, levels) as run:
        sample(transformer, SIGMAS)
    handle.remove()
    assert len(calls) == 3
    assert not run.report.is_finished
    assert not (run.model if levels is None else run.branches)
    assert attributes(transformer) == before
    assert torch.equal(sample(transformer, SIGMAS), plain)


def attributes(transformer):
    return {name: set(module.__dict__) for name, module in transformer.named_modules()}


def test_runs_in_a_row_are_told_apart_by_their_levels(flux):
    """Loops of one's own tell nobody when they are through."""
    short = [1 - i / 8 for i in range(9)]
    enable_adacorrection(flux, LOOSE)
    first, other = sample(flux, SIGMAS), sample(flux, short)
    report = report_of(flux)
    again = sample(flux, SIGMAS)
    disable_adacorrection(flux)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert [record.step_index for record in report.records] == list(range(8))
    assert report.num_steps == 8
    assert report.block_fraction < 0.8


def test_learning_the_levels_waits_for_the_device_once_a_call(flux, monkeypatch):
    reads, original = [], Transfer.read_waiting
    monkeypatch.setattr(
        Transfer, "read_waiting", lambda transfer: (reads.append(len(transfer.unread)), original(transfer))
    )
    config = CorrectionConfig(tolerance=1.0, warmup_steps=3, max_consecutive=3, probe_blocks=0)
    with adacorrection(flux, config):
        sample(flux, SIGMAS)
    assert sum(count > 0 for count in reads[:-1]) <= 12


@torch.inference_mode()
def test_calls_of_one_conditioning_each_are_repaid_as_one_of_both_is():
    """What is owed is in the guided velocity, whichever call brings it."""
    flux, results, reports = make("FluxTransformer2DModel"), [], []
    words = TINY["FluxTransformer2DModel"].extra(2)

    def uncond_and_cond(latent, sigma, order):
        both = torch.cat([latent] * 2)
        rows = {name: words[name] for name in ("encoder_hidden_states", "pooled_projections")}
        fixed = {name: words[name] for name in ("img_ids", "txt_ids")}
        if not order:
            timestep = torch.full((2,), sigma)
            return flux(hidden_states=both, timestep=timestep, return_dict=False, **rows, **fixed)[0].chunk(2)
        parts = {}
        for name in order:
            i, timestep = BOTH.index(name), torch.full((1,), sigma)
            own = {key: value[i : i + 1] for key, value in rows.items()}
            with flux.cache_context(name):
                (parts[name],) = flux(
                    hidden_states=latent, timestep=timestep, return_dict=False, **own, **fixed
                )
        return [parts[name] for name in BOTH]

    config = CorrectionConfig(tolerance=1.0, warmup_steps=3, max_consecutive=3, probe_blocks=0)
    for order, is_settling in (((), True), (BOTH, True), (BOTH[::-1], True), (BOTH, False)):
        latent = start_latent("FluxTransformer2DModel")
        options = {"branches": ("cond",) if order else BOTH, "cfg": 3.0, "is_settling": is_settling}
        with adacorrection(flux, config, SIGMAS, **options) as run:
            for sigma, sigma_next in zip(SIGMAS[:-1], SIGMAS[1:], strict=True):
                uncond, cond = uncond_and_cond(latent, sigma, order)
                latent = latent + (sigma_next - sigma) * torch.lerp(uncond, cond, 3.0)
        results.append(latent)
        reports.append([record.outcome for record in run.report.records])
    assert reports[0] == reports[1] == reports[2] == reports[3]
    whole, *apart, unsettled = results
    assert all(float((whole - each).norm()) < 1e-4 * float(whole.norm()) for each in apart)
    assert float((whole - unsettled).norm()) > 1e-3 * float(whole.norm())


@pytest.mark.parametrize("case", ["latent twice", "tokens that stay", "own levels"])
@torch.inference_mode()
def test_nothing_is_repaid_where_the_input_is_not_one_latent(case):
    flux, name = make("FluxTransformer2DModel"), "FluxTransformer2DModel"
    latent = start_latent(name)
    with adacorrection(flux, LOOSE, SIGMAS) as run:
        for sigma, sigma_next in zip(SIGMAS[:4], SIGMAS[1:5], strict=True):
            rows = torch.cat([latent] * 2) if case == "latent twice" else latent
            extra = TINY[name].extra(len(rows))
            timestep = torch.full((len(rows), 16) if case == "own levels" else (len(rows),), sigma)
            if case == "own levels":
                flux.time_text_embed.forward = lambda timestep, *words: torch.zeros(1, 32)
            moved = flux(hidden_states=rows, timestep=timestep, return_dict=False, **extra)[0][:1]
            if case == "tokens that stay":
                moved[:, :3] = 0
            latent = latent + (sigma_next - sigma) * moved
        assert not run.corrector.is_active
        assert not run.settlement.is_stochastic


@pytest.mark.parametrize("cfg", [None, 3.0], ids=["alone", "guided"])
@torch.inference_mode()
def test_a_loop_that_works_in_place_draws_the_same_picture(flux, cfg):
    """What the caller is handed and what it hands over is its own: it may write into all of it."""
    roles, weights = (("cond",), (1.0,)) if cfg is None else (("cond", "uncond"), (cfg, 1 - cfg))

    def draw(is_in_place):
        latent = start_latent("FluxTransformer2DModel")
        with adacorrection(flux, LOOSE, SIGMAS, cfg=cfg) as run:
            for sigma, sigma_next in zip(SIGMAS[:-1], SIGMAS[1:], strict=True):
                steps = []
                for role, weight in zip(roles, weights, strict=True):
                    with flux.cache_context(role):
                        output = velocity(flux, latent, sigma)
                    scale = weight * (sigma_next - sigma)
                    steps.append(output.mul_(scale) if is_in_place else output * scale)
                latent = latent.add_(sum(steps)) if is_in_place else latent + sum(steps)
        assert not run.settlement.is_stochastic
        return latent

    assert torch.equal(draw(True), draw(False))


def test_half_precision_knows_its_steps(levels):
    half = make("FluxTransformer2DModel", torch.bfloat16)
    with adacorrection(half, LOOSE, levels) as run:
        sample(half, SIGMAS)
    assert [record.step_index for record in run.report.records] == list(range(12))
    assert run.report.block_fraction < 0.6


@pytest.mark.parametrize("stored", [torch.uint8, torch.float8_e4m3fn])
def test_weights_that_are_stored_in_less_say_nothing_of_the_noise_levels(levels, stored):
    """Quantised and layerwise cast transformers compute in half precision all the same."""
    half = make("FluxTransformer2DModel", torch.bfloat16)
    if stored is torch.uint8:
        half.register_parameter("packed", Parameter(torch.zeros(1, dtype=stored), requires_grad=False))
    else:
        half.enable_layerwise_casting(storage_dtype=stored, compute_dtype=torch.bfloat16)
    with adacorrection(half, LOOSE, levels) as run:
        sample(half, SIGMAS)
    assert [record.step_index for record in run.report.records] == list(range(12))
    assert run.report.block_fraction < 0.6


def test_blocks_compiled_one_by_one_stay_whole_graphs(flux):
    with adacorrection(flux, LOOSE, SIGMAS) as eager:
        expected = sample(flux, SIGMAS)
    compiled = make("FluxTransformer2DModel")
    layers = find_layers(compiled, FAMILIES["FluxTransformer2DModel"].stages)
    for layer in layers:
        layer.block.compile(backend="eager", fullgraph=True)
    own = [layer.block._compiled_call_impl for layer in layers]
    graphs = []
    for _ in range(2):
        with adacorrection(compiled, LOOSE, SIGMAS) as run:
            corrected = sample(compiled, SIGMAS)
        assert run.report.block_fraction == eager.report.block_fraction < 0.6
        assert float((corrected - expected).norm() / expected.norm()) < 1e-5
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert 0 < graphs[0] == graphs[1]
    assert [layer.block._compiled_call_impl for layer in layers] == own


def test_a_second_cache_is_refused(flux):
    with adacorrection(flux, LOOSE, SIGMAS):
        with pytest.raises(ValueError, match="already been enabled"):
            flux.enable_cache(FirstBlockCacheConfig())
        with pytest.raises(ConfigError, match="A cache is enabled"), adacorrection(flux, LOOSE, SIGMAS):
            pass
    flux.enable_cache(FirstBlockCacheConfig())
    with pytest.raises(ConfigError, match="FirstBlockCacheConfig"), adacorrection(flux, LOOSE, SIGMAS):
        pass
    flux.disable_cache()


def test_a_batch_that_cannot_be_shared_is_refused(flux):
    message = "batch of 1 cannot be shared by 2 branches"
    with pytest.raises(ConfigError, match=message), adacorrection(flux, LOOSE, SIGMAS, branches=BOTH):
        sample(flux, SIGMAS)


def test_unknown_transformer_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"does not know 'Linear'.*FluxTransformer2DModel"):  # noqa: SIM117
        with adacorrection(Linear(2, 2), LOOSE, SIGMAS):
            pass
