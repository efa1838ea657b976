"""The second device itself is what the other tests take it for: strict, counted, and late with its copies."""

import pytest
import torch

from second_device import DEVICE, counted, library

NUMBERS = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mix", [torch.add, lambda one, other: torch.cat([one, other])])
def test_tensors_of_two_devices_do_not_meet(mix):
    with pytest.raises(RuntimeError, match="two devices"):
        mix(NUMBERS.to(DEVICE), NUMBERS)


def test_what_waits_is_counted():
    there = NUMBERS.to(DEVICE)
    with counted() as events:
        there.sum().item()
        there.double().sum().cpu()
    assert {name: number for name, number in events.items() if "float64" not in name} == {
        "item": 1,
        "to cpu": 1,
    }
    assert "float64 in aten::sum" in events


@pytest.mark.parametrize("is_pinned", [False, True])
def test_a_copy_that_nobody_waits_for_is_late(is_pinned):
    """Until the device gets to it, the memory holds no number."""
    there, ram = NUMBERS.to(DEVICE), torch.zeros_like(NUMBERS, pin_memory=is_pinned)
    assert ram.is_pinned() == is_pinned
    with counted() as events:
        ram.copy_(there, non_blocking=True)
        assert torch.isnan(ram).all()
        back = ram.to(DEVICE, non_blocking=True)
        there.zero_()
        assert torch.equal(ram, NUMBERS)
    assert events == {"to cpu, not waited for": 1, "from cpu, not waited for": 1}
    assert torch.equal(back.cpu(), NUMBERS)


def test_synchronize_lets_the_device_catch_up():
    pinned = torch.zeros_like(NUMBERS, pin_memory=True)
    pinned.copy_(NUMBERS.to(DEVICE), non_blocking=True)
    library.synchronize()
    assert torch.equal(pinned, NUMBERS)
