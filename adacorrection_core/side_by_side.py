"""A comparison as a picture: both beside each other, and where they differ. Needs Pillow."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .canvas import DARK, Canvas, Theme, nice_step
from .similarity import Similarity

# Dark to light, so that it reads in grey as well; a difference of 0 is nearly the ground.
HEAT = ((10, 10, 22), (34, 52, 112), (112, 80, 158), (216, 104, 96), (246, 178, 66), (255, 250, 205))
LEAST_WIDTH, MOST_WIDTH = 512, 2048  # pixels of a picture made here
GAP = 8  # pixels between pictures


def heat(values: Tensor) -> Tensor:
    """Colours of values in [0, 1]: any shape, to that and 3."""
    colours = torch.tensor(HEAT, dtype=torch.float32, device=values.device) / 255
    place = values.float().clamp(0, 1) * (len(HEAT) - 1)
    below = place.floor().long().clamp(max=len(HEAT) - 2)
    return torch.lerp(colours[below], colours[below + 1], (place - below).unsqueeze(-1))


def draw_difference(measured: Similarity, full_scale: float = 0.0) -> Tensor:
    """The differences as heat maps over their scale.

    Args:
        measured: the comparison.
        full_scale: difference shown as the lightest colour; 0 takes the largest there is.

    Returns:
        (N, H, W, 3) in [0, 1].
    """
    scale = full_scale or float(measured.difference.max()) or measured.data_range
    maps = torch.stack([fitted(heat(one / scale), LEAST_WIDTH) for one in measured.difference])
    legend = scale_bar(maps.shape[2], scale, measured.summary())
    return torch.cat([maps, legend.to(maps).expand(len(maps), -1, -1, -1)], dim=1)


def draw_side_by_side(reference: Tensor, compared: Tensor, measured: Similarity) -> Tensor:
    """Reference left, compared right, each with its name and the numbers below.

    Args:
        reference, compared: (N, H, W, 3) in [0, 1].
        measured: what their comparison gave.

    Returns:
        (N, H, W, 3) in [0, 1].
    """
    each = (MOST_WIDTH - GAP) // 2
    drawn = []
    for i, (one, other) in enumerate(zip(reference, compared, strict=True)):
        left, right = (fitted(picture.float(), LEAST_WIDTH // 2, each) for picture in (one, other))
        ground = left.new_tensor(DARK.background) / 255
        pair = torch.cat([left, ground.expand(len(left), GAP, 3), right], dim=1)
        numbers = f"PSNR {measured.psnr[i]:.1f} dB, SSIM {measured.ssim[i]:.4f}"
        if measured.psnr[i] >= 100:
            numbers = "identical"
        drawn.append(torch.cat([pair, caption(pair.shape[1], numbers).to(pair)]))
    return torch.stack(drawn)


def fitted(picture: Tensor, least: int, most: int = MOST_WIDTH) -> Tensor:
    """(H, W, 3) enlarged by a whole number of times until it is `least` wide, or made `most` wide."""
    width = picture.shape[1]
    if width > most:
        size = (round(picture.shape[0] * most / width), most)
        image = picture.movedim(-1, 0).unsqueeze(0)
        return functional.interpolate(image, size=size, mode="area")[0].movedim(0, -1)
    times = -(-least // width)
    return picture.repeat_interleave(times, 0).repeat_interleave(times, 1)


def false_colours(latents: Tensor, low: float, high: float) -> Tensor:
    """Something to look at where there is no decoder: thirds of the channels as red, green and blue.

    Args:
        latents: (N, H, W, C).
        low, high: values shown as black and white.

    Returns:
        (N, H, W, 3) in [0, 1].
    """
    thirds = latents.float().tensor_split(3, dim=-1) if latents.shape[-1] >= 3 else [latents.float()] * 3
    means = torch.stack([third.mean(-1) for third in thirds], dim=-1)
    return ((means - low) / max(high - low, 1e-12)).clamp(0, 1)


def scale_bar(width: int, scale: float, text: str, theme: Theme = DARK) -> Tensor:
    """What the colours of a heat map stand for, (h, width, 3)."""
    lines = text.splitlines()
    canvas = new_strip(width, 5 + 3 * len(lines), theme)
    em, pieces = canvas.em, 128
    left, right = 1.2 * em, width - 1.2 * em
    colours = (heat(torch.linspace(0, 1, pieces)) * 255).round().int().tolist()
    for i, (red, green, blue) in enumerate(colours):
        start, end = (left + (right - left) * place / pieces for place in (i, i + 1))
        canvas.box((start, end), (canvas.y, canvas.y + em), (red, green, blue))
    every = nice_step(scale / 4)
    for i in range(int(scale / every + 1e-9) + 1):
        x = left + (right - left) * i * every / scale
        anchor = "lm" if i == 0 else "rm" if x > right - em else "mm"
        canvas.text(x, canvas.y + 1.8 * em, f"{i * every:g}", theme.muted, anchor=anchor)
    canvas.y += 3.0 * em
    write(canvas, lines)
    return canvas.to_tensor()


def caption(width: int, text: str, theme: Theme = DARK) -> Tensor:
    """Names of the two pictures above, and the numbers, (h, width, 3)."""
    canvas = new_strip(width, 6, theme)
    middle = canvas.y + 0.4 * canvas.em
    canvas.text(1.2 * canvas.em, middle, "reference", theme.text)
    canvas.text((width + GAP) / 2 + 1.2 * canvas.em, middle, "compared", theme.text)
    canvas.y += 1.4 * canvas.em
    canvas.text((width + GAP) / 2 + 1.2 * canvas.em, canvas.y + 0.4 * canvas.em, text, theme.muted)
    canvas.y += 1.0 * canvas.em
    return canvas.to_tensor()


def new_strip(width: int, height: float, theme: Theme) -> Canvas:
    """A canvas `height` em high at most."""
    canvas = Canvas(width, 1, theme)
    return Canvas(width, round(height * canvas.em), theme)


def write(canvas: Canvas, lines: list[str]) -> None:
    """Lines of text from the canvas's place on."""
    for line in lines:
        for part in canvas.wrap(line, 1.0):
            canvas.text(1.2 * canvas.em, canvas.y + 0.4 * canvas.em, part, canvas.theme.text)
            canvas.y += 1.5 * canvas.em
