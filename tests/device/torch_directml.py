"""What ComfyUI asks of the package torch_directml, answered by the second device (main.py --directml)."""

from __future__ import annotations

import torch

from second_device import DEVICE


def device(index: int | None = None) -> torch.device:
    return DEVICE


def device_name(index: int | None = None) -> str:
    return "the second device of the tests"
