"""Draws the demo prompts with the stored model: python -m demo.draw [--out demo/model/grid.png]"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from demo.flux import euler_sample, new_noise
from demo.sampler import MODEL_FOLDER, load_model


def draw_prompts(folder: Path, num_steps: int, cfg: float, seed: int, size: int = 64) -> Tensor:
    """(B, 3, size, size) pictures in [0, 1] of the stored prompts, number i from the noise of seed + i."""
    model = load_model(folder)
    noise = new_noise([seed + i for i in range(len(model.prompts))], size // model.code.patch)
    predict = model.network.predict
    return model.code.decode(
        euler_sample(model.transformer, noise, model.conditioning, num_steps, cfg, predict)
    )


def save_grid(pictures: Tensor, path: Path, columns: int = 8, zoom: int = 2) -> None:
    """Writes (B, 3, H, W) pictures side by side as one PNG."""
    batch, _, height, width = pictures.shape
    rows = pictures.reshape(batch // columns, columns, 3, height, width).permute(0, 3, 1, 4, 2)
    pixels = (rows.reshape(batch // columns * height, columns * width, 3) * 255).round().byte().cpu().numpy()
    grid = Image.fromarray(np.ascontiguousarray(pixels))
    grid.resize((grid.width * zoom, grid.height * zoom), Image.Resampling.LANCZOS).save(path, optimize=True)


def main() -> None:
    """Draws the grid that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER, help="weights, prompts and picture code")
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER / "grid.png")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--cfg", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=64, help="side in pixels that the model was trained on")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pictures = draw_prompts(options.model, options.steps, options.cfg, options.seed, options.size)
    save_grid(pictures, options.out)


if __name__ == "__main__":
    main()
