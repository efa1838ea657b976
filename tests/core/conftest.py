"""How many cases the property tests try: HYPOTHESIS_PROFILE=nightly for many, the default for a few."""

import os

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)  # tiny tensors gain nothing from more, and a busy machine loses

# A case takes milliseconds; what a busy machine makes of them is no failure.
SHARED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=500, derandomize=True, database=None, **SHARED)
settings.register_profile("nightly", max_examples=10_000, print_blob=True, **SHARED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
