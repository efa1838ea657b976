"""Anchors that wait in RAM: pinned, copied without waiting, and never read before they have arrived."""

from collections.abc import Iterator

import pytest
import torch

from adacorrection_core.anchors import AnchorHistory, CacheSize, make_anchor
from adacorrection_core.kept import keep, to_ram
from adacorrection_core.storage import Storage
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


def test_branches_that_nothing_announced_wait_in_ram():
    """Room for two branches: the third goes to RAM, until one of the others is let go."""
    size = CacheSize(4, 1000, 0, 0)
    storage, histories = Storage(room=2 * size.bytes_held), [AnchorHistory() for _ in range(3)]

    def push(history: AnchorHistory, time: float) -> None:
        there = NUMBERS.to(DEVICE)
        anchor = make_anchor(time, there, there.clone(), None, None, torch.float32)
        history.push(storage.place(anchor, history, histories))

    for time in (1.0, 0.9, 0.8):
        for history in histories[:2]:
            push(history, time)
    assert not storage.has_spilled
    push(histories[2], 0.8)
    assert storage.has_spilled
    assert [history.bytes_on_device for history in histories] == [size.bytes_held, size.bytes_held, 0]
    assert histories[2].newest.velocity.tensor.is_pinned()
    push(histories[1], 0.8)  # in the place of another
    assert histories[1].bytes_on_device == size.bytes_held

    histories.pop(0)
    push(histories[1], 0.7)
    assert histories[1].bytes_on_device == size.anchor_bytes
    assert histories[1].bytes_held == size.bytes_held
