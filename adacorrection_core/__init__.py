"""AdaCorrection: training-free, adaptive cache correction for diffusion transformers.

A plain package: torch and the standard library. It imports nothing of ComfyUI or diffusers at module
level. The method: D. Liu, Y. Yu, B. Lengerich, Y. N. Wu, "AdaCorrection", arXiv 2602.13357.
"""

from .config import BOUNDS, PRESETS, ConfigError, CorrectionConfig
from .stats import Outcome, Reason, RunReport, StepRecord

__all__ = [
    "BOUNDS",
    "PRESETS",
    "ConfigError",
    "CorrectionConfig",
    "Outcome",
    "Reason",
    "RunReport",
    "StepRecord",
]
