"""The core tests' models, and one thread: the device computes on the CPU, a busy machine loses by more."""

import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1] / "core"))
torch.set_num_threads(1)
