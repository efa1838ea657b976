"""Averages two sets of weights: the model before fine-tuning and after it.

    python -m demo.average START TUNED --share 0.6 --out demo/model/tinyflux.safetensors

Fine-tuning on few pictures draws them well and learns them by heart; a point on the line between the two
weights keeps most of the first and gives back much of what was forgotten (WiSE-FT, arXiv 2109.01903).
The result is rounded to float8_e4m3fn, as the demo model is stored.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

STORED = torch.float8_e4m3fn


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights in float32, and the file's metadata."""
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key).float() for key in file.keys()}, file.metadata() or {}  # noqa: SIM118


def average(start: dict[str, Tensor], tuned: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """(1 - share) * start + share * tuned, rounded.

    Raises:
        ValueError: the two have different keys.
    """
    if start.keys() != tuned.keys():
        raise ValueError(
            f"The weights differ in {len(start.keys() ^ tuned.keys())} keys: not the same network."
        )
    return {key: torch.lerp(start[key], tuned[key], share).to(STORED) for key in tuned}


def main() -> None:
    """Reads two files, writes one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("start", type=Path, help="weights before fine-tuning")
    parser.add_argument("tuned", type=Path, help="weights after it")
    parser.add_argument("--share", type=float, default=0.6, help="share of the tuned weights, 0 to 1")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    arguments = parser.parse_args()
    (start, _), (tuned, metadata) = load(arguments.start), load(arguments.tuned)
    weights = average(start, tuned, arguments.share)
    save_file(weights, arguments.out, {**metadata, "averaged": f"{arguments.share:g} of the tuned weights"})


if __name__ == "__main__":
    main()
