"""A picture that is filled from the top: crisp writing, smooth shapes, two sets of colours. Needs Pillow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

Colour = tuple[int, int, int]
Point = tuple[float, float]
Span = tuple[float, float]

OVERSAMPLING = 2  # shapes are drawn this much larger, since Pillow's own lines have jagged edges


@dataclass(frozen=True)
class Theme:
    """Colours of a picture. Orange and blue, which all common kinds of colour vision tell apart."""

    background: Colour
    text: Colour
    muted: Colour
    grid: Colour
    computed: Colour
    weight_0: Colour
    weight_1: Colour
    alarm: Colour


DARK = Theme(
    background=(27, 28, 32),
    text=(234, 234, 238),
    muted=(164, 165, 174),
    grid=(54, 56, 63),
    computed=(230, 159, 0),
    weight_0=(68, 109, 154),
    weight_1=(126, 200, 255),
    alarm=(255, 122, 89),
)
LIGHT = Theme(
    background=(255, 255, 255),
    text=(28, 28, 32),
    muted=(92, 93, 102),
    grid=(224, 225, 230),
    computed=(205, 128, 0),
    weight_0=(92, 148, 206),
    weight_1=(0, 68, 128),
    alarm=(196, 62, 24),
)


def shade(theme: Theme, weight: float) -> Colour:
    """Colour of a correction weight in [0, 1]."""
    red, green, blue = (
        round(low + (high - low) * min(max(weight, 0.0), 1.0))
        for low, high in zip(theme.weight_0, theme.weight_1, strict=True)
    )
    return red, green, blue


def nice_step(at_least: float) -> float:
    """The smallest of 1, 2 or 5 times a power of ten that is not below a number."""
    power = 10.0 ** math.floor(math.log10(max(at_least, 1e-12)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= at_least * (1 - 1e-9))


def em_of(width: int) -> float:
    """Size of the writing in a picture, in pixels; below 11 the font cannot be read."""
    return max(11.0, width / 54)


class Canvas:
    """A picture that is filled from the top; `y` is where the next part begins. Lengths go by `em`.

    Args:
        width: pixels.
        height_limit: pixels there are to draw on; the picture is cut to what was used.
        theme: colours.
    """

    def __init__(self, width: int, height_limit: int, theme: Theme) -> None:
        self.em = em_of(width)
        self.width, self.theme = width, theme
        self.left, self.right = 5.2 * self.em, width - 1.2 * self.em
        self.y = 1.0 * self.em
        size = (width * OVERSAMPLING, height_limit * OVERSAMPLING)
        self.image = Image.new("RGB", size, theme.background)
        self.shapes = ImageDraw.Draw(self.image)
        self.writing: list[tuple[Point, str, Colour, float, str]] = []

    def x(self, step: float, num_steps: int) -> float:
        """Pixel of a place on the axis of steps."""
        return self.left + (self.right - self.left) * step / max(num_steps, 1)

    def box(self, x: Span, y: Span, colour: Colour) -> None:
        """A filled rectangle."""
        self.shapes.rectangle(self.corners(x, y), fill=colour)

    def frame(self, x: Span, y: Span, colour: Colour) -> None:
        """A hollow rectangle."""
        line = max(2, round(self.em * 0.12 * OVERSAMPLING))
        self.shapes.rectangle(self.corners(x, y), outline=colour, width=line)

    def corners(self, x: Span, y: Span) -> list[int]:
        """A box as Pillow takes it, at least one of its pixels in size."""
        left, top, right, bottom = (round(value * OVERSAMPLING) for value in (x[0], y[0], x[1], y[1]))
        return [left, top, max(left, right - 1), max(top, bottom - 1)]

    def line(self, points: list[Point], colour: Colour, thickness: float = 0.12) -> None:
        """A line through points; thickness in em."""
        places = [(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in points]
        self.shapes.line(places, colour, max(1, round(self.em * thickness * OVERSAMPLING)), joint="curve")

    def dot(self, x: float, y: float, colour: Colour) -> None:
        """A round mark with a rim that sets it off from lines below it."""
        radius = self.em * 0.32 * OVERSAMPLING
        for size, fill in ((radius * 1.35, self.theme.background), (radius, colour)):
            left, top = x * OVERSAMPLING - size, y * OVERSAMPLING - size
            self.shapes.ellipse((left, top, left + 2 * size, top + 2 * size), fill)

    def font(self, size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        """Pillow's own font; size in em."""
        return ImageFont.load_default(size=round(self.em * size))

    def text(
        self, x: float, y: float, text: str, colour: Colour, *, size: float = 1.0, anchor: str = "lm"
    ) -> None:
        """Writing at a point. It is set at the end and at full size, which keeps small print crisp."""
        self.writing.append(((x, y), text, colour, size, anchor))

    def text_width(self, text: str, size: float = 1.0) -> float:
        """Pixels that a text takes."""
        return float(self.font(size).getlength(text))

    def wrap(self, text: str, size: float) -> list[str]:
        """The text in lines that fit between the margins."""
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            fits = self.text_width(longer, size) <= self.width - 2.4 * self.em
            lines = [*lines[:-1], longer] if fits or not lines[-1] else [*lines, word]
        return lines

    def to_tensor(self) -> Tensor:
        """(H, W, 3) in [0, 1], cut below what was drawn."""
        height = math.ceil(self.y + 0.6 * self.em)
        used = self.image.crop((0, 0, self.image.width, height * OVERSAMPLING))
        picture = used.reduce(OVERSAMPLING)
        pen = ImageDraw.Draw(picture)
        for place, text, colour, size, anchor in self.writing:
            pen.text(place, text, colour, self.font(size), anchor)
        pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
        return pixels.reshape(picture.height, picture.width, 3).float() / 255


@dataclass(frozen=True)
class Entry:
    """One line of a key: a mark, drawn into a box, and what it means; length of the mark in em."""

    mark: Callable[[Canvas, Span, Span], None]
    text: str
    length: float = 0.9


def draw_key(canvas: Canvas, entries: Iterable[Entry], left: float) -> None:
    """Marks and their meaning from `left` on, in as many rows as it takes."""
    em, place = canvas.em, left
    for entry in entries:
        length = (entry.length + 0.5) * em + canvas.text_width(entry.text)
        if place > left and place + length > canvas.right:
            place, canvas.y = left, canvas.y + 1.6 * em
        entry.mark(canvas, (place, place + entry.length * em), (canvas.y, canvas.y + 1.1 * em))
        canvas.text(place + (entry.length + 0.5) * em, canvas.y + 0.6 * em, entry.text, canvas.theme.text)
        place += length + 1.4 * em
    canvas.y += 1.6 * em
