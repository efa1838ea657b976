"""At most one wait for the device a model call, in one named place, also counted on the CPU."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from runs import REPRESENTATIVES, SOME_HITS, TOLERANT, corrected, probe_always_asked, report_of
from torch.utils._python_dispatch import TorchDispatchMode

import comfy_host
import tiny_models
from adacorrection.adacorrection_core.config import CorrectionConfig

TO_HOST = ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__")
WAITING_OPERATIONS = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "unique")
OURS = tuple(str(comfy_host.PACK_ROOT / folder) for folder in ("adacorrection_core", "nodes"))


class Waits(TorchDispatchMode):
    """Counts, by the call of the model and the function of ours, what would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Counter[str]] = [Counter()]

    def note(self) -> None:
        """Count it where the innermost frame outside of torch and this file is ours."""
        frame = sys._getframe(1)
        while frame and (__file__ == frame.f_code.co_filename or "torch" in frame.f_code.co_filename):
            frame = frame.f_back
        if frame and frame.f_code.co_filename.startswith(OURS):
            self.calls[-1][
                frame.f_code.co_qualname if hasattr(frame.f_code, "co_qualname") else frame.f_code.co_name
            ] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in WAITING_OPERATIONS and not self.is_noted:
            self.note()
        return func(*args, **(kwargs or {}))

    is_noted = False

    def counting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """A tensor method that is counted once, whatever it is made of."""

        def method(*args: Any, **kwargs: Any) -> Any:
            self.note()
            self.is_noted = True
            try:
                return original(*args, **kwargs)
            finally:
                self.is_noted = False

        return method

    def new_call(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """APPLY_MODEL wrapper around ours."""
        self.calls.append(Counter())
        result = executor(*args, **kwargs)
        self.calls.append(Counter())
        return result


@contextmanager
def counted_waits() -> Iterator[Waits]:
    waits = Waits()
    methods = {name: waits.counting(getattr(torch.Tensor, name)) for name in TO_HOST}
    with mock.patch.multiple(torch.Tensor, **methods), waits:
        yield waits


def test_one_wait_a_call_and_one_for_the_probe(family: str) -> None:
    cfg = 3.0 if tiny_models.takes_rows(family, 2) else 1.0
    with probe_always_asked():
        assert_waits(family, TOLERANT, cfg, most=1 if family in tiny_models.WHOLE else 2)


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_one_wait_a_split_call_with_offload(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comfy.samplers, "can_concat_cond", lambda one, other: one is other)
    config = CorrectionConfig(target_speedup=2.0, cache_placement="offload")
    assert_waits(family, config, calls=12)


def assert_waits(
    family: str, config: CorrectionConfig, cfg: float = 3.0, calls: int = 6, most: int = 1
) -> None:
    """At most so many in each call of a run of six steps, cond and uncond in one call or in two."""
    model = corrected(family, config)

    with counted_waits() as waits:
        model.wrappers = {**model.wrappers}
        inner = model.wrappers[WrappersMP.APPLY_MODEL]
        model.wrappers[WrappersMP.APPLY_MODEL] = {"waits": [waits.new_call], **inner}
        tiny_models.sample(model, family, steps=6, cfg=cfg)

    assert report_of(model).hit_rate > 0
    during, between = waits.calls[1::2], waits.calls[0::2]
    assert len(during) == calls
    assert max(call.total() for call in during) == most
    assert {name.rpartition(".")[2] for call in during for name in call} == {"read_waiting"}
    assert sum(call.total() for call in between[1:-1]) == 0


def test_the_count_sees_a_wait() -> None:
    """The counter itself: a read in our code is seen, one in the host's is not."""
    from adacorrection.nodes.host.session import make_schedule

    model = corrected("flux_dev")
    sampling = model.get_model_object("model_sampling")
    with counted_waits() as waits:
        make_schedule(torch.linspace(1, 0, 5), sampling, SOME_HITS)
        torch.ones(1).item()

    assert waits.calls[0].total() == 1
