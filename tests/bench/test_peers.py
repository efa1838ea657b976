"""Caches of other projects, on a tiny random Flux: work counted independently, no trace afterwards."""

import functools

import pytest
import torch
from diffusers import FluxTransformer2DModel

from adacorrection_core.config import CorrectionConfig
from adacorrection_core.diffusers import adacorrection
from bench.block_work import counted
from bench.peer import blocks_of
from demo.flux import euler_sample, new_noise, simple_sigmas
from demo.words import Conditioning

pytest.importorskip("cache_dit", reason="the peers are tested with cache-dit installed (extra: bench)")

from bench.peers import PEERS

NUM_STEPS = 16


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=8,
        guidance_embeds=False,
        axes_dims_rope=(4, 6, 6),
    ).eval()


@pytest.fixture(scope="module")
def sample(transformer):
    generator = torch.Generator().manual_seed(1)
    words = Conditioning(
        ["one"], *(torch.randn(1, *shape, generator=generator) for shape in ((5, 24), (8,), (5, 24), (8,)))
    )
    return functools.partial(euler_sample, transformer, new_noise([0], 8), words, NUM_STEPS)


def attributes(transformer):
    return {name: dict(module.__dict__) for name, module in transformer.named_modules()}


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_saves_work_and_leaves_no_trace(peer, transformer, sample):
    plain, before = sample(), attributes(transformer)
    ready = peer.prepared(transformer, NUM_STEPS, sample)
    counting = counted(transformer, blocks_of(transformer))
    with counting as work, ready.context(transformer, NUM_STEPS, ready.values[-1]):
        ours = sample()
    assert 0.1 < work.fraction(NUM_STEPS) < 0.95
    assert torch.isfinite(ours).all()
    assert not torch.equal(ours, plain)
    assert list(attributes(transformer)) == list(before)  # some caches look for blocks in this order
    for name, now in attributes(transformer).items():
        assert now.keys() == before[name].keys()
        assert all(now[key] is before[name][key] for key in now)
    assert torch.equal(sample(), plain)


def test_a_run_in_full_counts_as_one(transformer, sample):
    with counted(transformer, blocks_of(transformer)) as work:
        sample()
    assert work.fraction(NUM_STEPS) == 1.0


def test_the_count_agrees_with_our_own_report(transformer, sample):
    config = CorrectionConfig(tolerance=1.0)
    counting = counted(transformer, blocks_of(transformer))
    sigmas, branches = simple_sigmas(NUM_STEPS), ("cond", "uncond")
    with counting as work, adacorrection(transformer, config, sigmas, branches=branches, cfg=3.0) as run:
        sample()
    assert work.fraction(NUM_STEPS) == pytest.approx(run.report.block_fraction)
    assert run.report.block_fraction < 0.9


def test_half_of_the_batch_is_half_of_the_work(transformer, sample):
    with counted(transformer, blocks_of(transformer)) as work:
        sample(cfg=3.0)
        full = work.executions()
        blocks_of(transformer)[0].attn.to_q(torch.zeros(1, 16, 32))
        work.end_call()
    share = 16 * 32 * 32 / work.full[0]
    assert work.executions() == pytest.approx(full + share)
