"""What keeping anchors in half precision costs where the demo model computes in it, in a real ComfyUI.

    COMFYUI_PYTHON bench/host_precision.py --dtype bfloat16 --sampler euler

Run with the Python of a ComfyUI (CONTRIBUTING.md says how to get one). The model computes in the precision
asked for, as ComfyUI's node ModelComputeDtype has it. Latents of runs that keep their anchors in float32, as
the pack does, and wholly in that precision are held against the full run's with the same seed.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable
from unittest.mock import patch

import host_peers

WEIGHTS = str(host_peers.WEIGHTS)  # it has started ComfyUI, which the other imports need
import comfy.sd  # noqa: E402
import torch  # noqa: E402
from comfy.model_patcher import ModelPatcher  # noqa: E402
from torch import Tensor  # noqa: E402

from adacorrection.adacorrection_core import CorrectionConfig, anchors  # noqa: E402
from adacorrection.adacorrection_core.kept import Kept  # noqa: E402

SETTINGS = {name: CorrectionConfig.from_preset(name) for name in ("quality", "balanced", "fast")} | {
    f"tolerance {tolerance:g}": CorrectionConfig(tolerance=tolerance) for tolerance in (0.015, 0.03, 0.06)
}
VARIANTS: dict[str, tuple[str, object]] = {
    "float32": ("keep", lambda tensor, dtype=None: Kept(tensor)),
    "as it is": ("keep", anchors.keep),
    "all in it": ("HALVES", ()),
}


def mean_psnr(
    model: ModelPatcher, full: dict[int, Tensor], sample: Callable[[ModelPatcher, int], Tensor]
) -> float:
    """Mean over the prompts, decibels; infinite where no step was corrected."""
    found = [host_peers.psnr(sample(model, prompt), latent) for prompt, latent in full.items()]
    different = [value for value in found if value is not None]
    return statistics.fmean(different) if different else math.inf


def main() -> None:
    """Prints one line a setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--prompts", type=int, nargs="+", default=[0, 4, 8, 12], help="by number")
    parser.add_argument("--sampler", default="euler", help="of ComfyUI")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = comfy.sd.load_diffusion_model(WEIGHTS, {"dtype": torch.float32}).clone()
    model.set_model_compute_dtype(getattr(torch, options.dtype))

    def sample(patched: ModelPatcher, prompt: int) -> Tensor:
        return host_peers.sample(patched, prompt, 28, 3.0, options.sampler)[0]

    full = {prompt: sample(model, prompt) for prompt in options.prompts}
    print(f"{options.dtype}, {options.sampler}  " + "  ".join(f"{name:>9}" for name in VARIANTS))
    for name, config in SETTINGS.items():
        patched, found = host_peers.correction(config)(model), []
        for attribute, value in VARIANTS.values():
            with patch.object(anchors, attribute, value):
                found.append(mean_psnr(patched, full, sample))
        print(f"{name:16}  " + "  ".join(f"{value:9.2f}" for value in found), flush=True)


if __name__ == "__main__":
    main()
