"""One thread: the device computes on the CPU, and a busy machine loses by more."""

import torch

torch.set_num_threads(1)
