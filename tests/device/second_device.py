"""A device beside the CPU, as strict as a GPU, for machines that have none; second_device.cpp says how.

    from second_device import DEVICE, counted
    latent = torch.randn(4, 1000).to(DEVICE)
    with counted() as events:
        latent.sum().item()
    assert events == {"item": 1}

What it cannot show: streams that run side by side, speed, memory that runs out, another GPU's rounding.
"""

from __future__ import annotations

import os
import platform
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.utils.cpp_extension import load

SOURCE = Path(__file__).with_name("second_device.cpp")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adacorrection" / "second_device"
NAME = "second"


def build() -> types.ModuleType:
    """Compiles the device with the system's C++ compiler, half a minute the first time, and loads it."""
    place = CACHE / f"torch-{torch.__version__}-python-{platform.python_version()}"
    place.mkdir(parents=True, exist_ok=True)
    return load("second_device", [str(SOURCE)], extra_cflags=["-O1"], build_directory=str(place))


def _backend() -> types.ModuleType:
    """What PyTorch asks a device's Python module for."""
    module = types.ModuleType(f"torch.{NAME}")
    module.__dict__.update(
        is_available=lambda: True,
        device_count=lambda: 1,
        current_device=lambda: 0,
        _is_in_bad_fork=lambda: False,
        manual_seed_all=lambda seed: None,
        synchronize=lambda device=None: library.synchronize(),
        get_amp_supported_dtype=lambda: [torch.float16, torch.bfloat16],
    )
    return module


torch.utils.rename_privateuse1_backend(NAME)
torch._register_device_module(NAME, _backend())
library = build()
DEVICE = torch.device(NAME, 0)


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """What makes the CPU wait meanwhile, filled in at the end.

    "item" (a number read), "to cpu" and "from cpu" (a copy waited for), the same with ", not waited for",
    and "float64 in aten::..." (which Apple's GPUs cannot do).
    """
    events: dict[str, int] = {}
    library.forget()
    yield events
    events.update(library.counts())
