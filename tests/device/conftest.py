"""One thread: the device computes on the CPU, and a busy machine loses by more. And the core tests' models."""

import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1] / "core"))
torch.set_num_threads(1)
