"""What outlives a call is stored in the precision that the model computes in, and nothing is lost by it."""

import pytest
import torch
from test_controller import LOOSE
from toy import ToyModel, call, new_run, smooth_input, watch

from adacorrection_core.anchors import make_anchor
from adacorrection_core.kept import keep
from adacorrection_core.stats import Outcome

HALVES = [torch.float16, torch.bfloat16]
NUMBERS = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
LIKE = torch.zeros(1)


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64, torch.float8_e4m3fn])
def test_a_model_in_full_precision_has_tensors_kept_as_they_are(dtype):
    kept = keep(NUMBERS, dtype)
    assert kept.tensor is NUMBERS is kept.near(LIKE)


@pytest.mark.parametrize("dtype", HALVES)
def test_what_a_model_in_half_precision_returns_comes_back_bit_for_bit(dtype):
    output = NUMBERS.to(dtype)
    for given in (output, output.float()):
        kept = keep(given, dtype)
        assert kept.tensor.dtype == dtype
        assert torch.equal(kept.near(LIKE), output.float())


@pytest.mark.parametrize("largest", [1.0, 65504.0, 65520.0, 1e9, 1e15])
def test_no_number_is_too_large_for_half_precision(largest):
    given = NUMBERS * (largest / NUMBERS.abs().max())
    back = keep(given, torch.float16).near(LIKE)
    assert torch.isfinite(back).all()
    assert (back - given).norm() < 2**-11 * given.norm()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_what_is_not_finite_does_not_come_back_finite(dtype, poison):
    given = NUMBERS.clone()
    given[0, 0] = poison
    assert not torch.isfinite(keep(given, dtype).near(LIKE)).all()


@pytest.mark.parametrize("dtype", HALVES)
def test_zeros_stay_zeros(dtype):
    assert torch.equal(keep(0 * NUMBERS, dtype).near(LIKE), 0 * NUMBERS)


@pytest.mark.parametrize("is_offloaded", [False, True])
@pytest.mark.parametrize("dtype", HALVES)
def test_an_anchor_in_half_precision(dtype, is_offloaded):
    """The clean latent is a sum in float32 and gets the finer grid of the two."""
    weights = torch.ones(4, 1000, 1)
    anchor = make_anchor(0.5, NUMBERS, NUMBERS / 3, NUMBERS / 7, weights, dtype)
    anchor = anchor.in_ram() if is_offloaded else anchor
    assert [kept.tensor.dtype for kept in anchor.kept] == [dtype, torch.float16, dtype, torch.float32]
    assert anchor.bytes_held == (3 * 2 + 4) * NUMBERS.nelement()
    off = anchor.denoised.near(LIKE) - NUMBERS / 3
    assert off.norm() < 2**-11 * (NUMBERS / 3).norm()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_it_waits_in_pinned_memory():
    numbers = NUMBERS.to(torch.cuda.current_device())
    kept = keep(numbers, torch.float16).in_ram()
    torch.cuda.synchronize()
    assert kept.tensor.device.type == "cpu"
    assert kept.tensor.is_pinned()
    assert torch.equal(kept.near(numbers), numbers.half().float())


def run_in(dtype):
    """Outputs, outcomes, and the precisions kept, of a run whose model is given this one."""
    model, run = ToyModel(), new_run(LOOSE)
    watched = watch(model, run)
    outputs = [call(model, watched, s, smooth_input(s).to(dtype)) for s in run.schedule.sigmas[:-1]]
    (branch,) = run.branches.values()
    kept = {kept.tensor.dtype for anchor in branch.history.anchors for kept in anchor.kept}
    return outputs, [record.outcome for record in run.finish().records], kept


@pytest.mark.parametrize("dtype", HALVES)
def test_a_run_in_half_precision_goes_as_one_in_full(dtype):
    outputs, outcomes, kept = run_in(dtype)
    full_outputs, full_outcomes, _ = run_in(torch.float32)
    assert kept == {dtype, torch.float32}
    assert outcomes == full_outcomes
    assert Outcome.CORRECT in outcomes
    for output, full in zip(outputs, full_outputs, strict=True):
        assert output.dtype == dtype
        assert (output.float() - full).norm() < 0.02 * full.norm()
