"""Samplers that a cache serves badly."""

from __future__ import annotations

from typing import Any

from ...adacorrection_core.config import CorrectionConfig
from ...adacorrection_core.sentences import say

# CFG++ steps along uncond and adds the whole difference to cond at each step, whose error counts in full.
# Those that also remember the step before, or look twice, lose more than is saved: see bench/RESULTS.md.
SUFFIX = "_cfg_pp"
FORGETFUL = ("euler_cfg_pp", "euler_ancestral_cfg_pp")


def unfit_sampler(sampler: Any, config: CorrectionConfig) -> str:
    """What to tell the artist where fewer steps of the sampler would do better; empty where not.

    Args:
        sampler: the host's; one of k-diffusion's has its function.
        config: the setting; one that computes every step serves any.
    """
    if config.is_off or config.mode == "paper":
        return ""
    function = getattr(sampler, "sampler_function", None)
    name = getattr(function, "__name__", "").removeprefix("sample_")
    if not name.endswith(SUFFIX) or name in FORGETFUL:
        return ""
    return say("unfitSampler", sampler=name, better=name.removesuffix(SUFFIX))
