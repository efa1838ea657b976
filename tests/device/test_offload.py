"""Anchors that wait in RAM: pinned, copied without waiting, and never read before they have arrived."""

from collections.abc import Iterator

import pytest
import torch

from adacorrection_core.kept import keep, to_ram
from second_device import DEVICE, counted, library

NUMBERS = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def none_pinned() -> Iterator[None]:
    library.limit_pinned(0)
    yield
    library.limit_pinned(1 << 40)


def test_it_waits_in_pinned_memory_and_the_cpu_for_nothing():
    there = NUMBERS.to(DEVICE)
    with counted() as events:
        kept = keep(there, torch.float16).in_ram()
        assert kept.tensor.is_pinned()
        assert torch.isnan(kept.tensor).all(), "still under way"
        there.zero_()  # the device reads before it overwrites
        back = kept.near(there)
    assert events == {"to cpu, not waited for": 1, "from cpu, not waited for": 1}
    assert torch.equal(back.cpu(), NUMBERS.half().float())


@pytest.mark.usefixtures("none_pinned")
def test_without_pinned_memory_it_waits_for_the_copy():
    with counted() as events:
        ram = to_ram(NUMBERS.to(DEVICE))
    assert not ram.is_pinned()
    assert torch.equal(ram, NUMBERS)
    assert "to cpu, not waited for" not in events
    assert events["to cpu"] == 1


def test_a_view_takes_its_own_bytes_only():
    ram = to_ram(NUMBERS.to(DEVICE)[1:3, ::2])
    library.synchronize()
    assert ram.untyped_storage().nbytes() == 2 * 500 * 4
    assert torch.equal(ram, NUMBERS[1:3, ::2])
