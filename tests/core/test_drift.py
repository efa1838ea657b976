"""Offset estimation, computed by hand on small tensors."""

import math

import pytest
import torch

from adacorrection_core.drift import (
    MAX_SAMPLED_TOKENS,
    gram,
    relative_drift,
    sample_tokens,
    token_spread,
    token_weights,
)


def test_spread_is_the_channel_deviation_of_each_token():
    tokens = torch.tensor([[[1.0, 3.0], [2.0, 2.0], [0.0, 8.0]]])
    assert token_spread(tokens).tolist() == [[1.0, 0.0, 4.0]]


def test_weights_favour_structure_and_have_mean_one():
    tokens = torch.tensor([[[1.0, 3.0], [2.0, 2.0], [0.0, 4.0]]])  # spread 1, 0, 2; mean 1
    assert token_weights(tokens, 1.0).flatten().tolist() == [1.0, 0.0, 2.0]
    assert token_weights(tokens, 0.5).flatten().tolist() == [1.0, 0.5, 1.5]
    assert token_weights(tokens, 0.0) is None


def test_flat_tokens_make_no_weight_infinite():
    assert torch.isfinite(token_weights(torch.ones(1, 4, 3), 1.0)).all()


def test_gram_by_hand():
    a, b = torch.tensor([[[1.0, 2.0], [0.0, 1.0]]]), torch.tensor([[[3.0, 0.0], [1.0, 1.0]]])
    assert gram([a, b]).tolist() == [[6.0, 4.0], [4.0, 11.0]]
    weights = torch.tensor([[[2.0], [1.0]]])
    assert gram([a, b], weights).tolist() == [[11.0, 7.0], [7.0, 20.0]]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("width", [4, 512])
def test_drift_is_free_of_scale_and_width(scale, width):
    probe = torch.ones(2, 6, width) * scale
    moved = gram([probe, probe * 1.1 - probe])
    assert relative_drift(float(moved[1, 1]), float(moved[0, 0])) == pytest.approx(0.1, rel=1e-4)


def test_drift_of_nothing():
    assert relative_drift(0.0, 0.0) == 0.0
    assert relative_drift(1.0, 0.0) == math.inf


def test_sample_is_a_copy_in_float32():
    tokens = torch.ones(1, 4, 2, dtype=torch.bfloat16)
    sampled = sample_tokens(tokens)
    tokens += 1
    assert sampled.dtype == torch.float32
    assert sampled.tolist() == torch.ones(1, 4, 2).tolist()
    same_dtype = torch.ones(1, 4, 2)
    assert sample_tokens(same_dtype).data_ptr() != same_dtype.data_ptr()


@pytest.mark.parametrize("count", [1, 1024, 1025, 4096, 32760])
def test_sample_is_bounded_and_spread_over_all_tokens(count):
    sampled = sample_tokens(torch.arange(count, dtype=torch.float32).reshape(1, count, 1))
    assert min(count, MAX_SAMPLED_TOKENS // 2) <= sampled.shape[1] <= MAX_SAMPLED_TOKENS
    assert sampled[0, -1, 0] >= count - math.ceil(count / MAX_SAMPLED_TOKENS)
