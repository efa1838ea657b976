"""The contact sheet: a column a method, a row a prompt, below each picture what differs from the full run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from demo.measures import PSNR_CAP_DB, Measurement, Picture, Row
from demo.methods import Method

AMPLIFICATION = 10  # a difference of a tenth of the full range is drawn darkest
CELL_PX = 128  # pictures are enlarged by the whole number that comes nearest to this
GAP, MARGIN, CAPTION = 10, 28, 20
GROUP_GAP = 18  # extra space before each group of columns
TOP, BOTTOM, LABELS = 152, 66, 84

PAPER, INK, FAINT, ACCENT = (250, 250, 248), (34, 34, 38), (116, 116, 122), (0, 92, 140)
# Difference colours from none to darkest: paper white, sand, red, nearly black
RAMP = np.array([(255, 255, 255), (253, 204, 120), (214, 62, 58), (52, 8, 44)], dtype=np.float32)


@dataclass(frozen=True)
class Column:
    """One method on the sheet.

    Attributes:
        method, row: what it is and what it came to.
        measurements: one a picture, from the top.
    """

    method: Method
    row: Row
    measurements: list[Measurement]

    @property
    def is_ours(self) -> bool:
        """Whether to draw it in the accent colour."""
        return self.method.name == "AdaCorrection"


def contact_sheet(columns: list[Column], row_labels: list[str], title: str) -> Image.Image:
    """Draws the sheet; the first column is the full run."""
    return _Sheet(columns, row_labels).draw(title)


def difference_map(picture: Picture, reference: Picture) -> NDArray[np.uint8]:
    """(H, W, 3) colours of the largest difference of the three channels, amplified."""
    return _ramp(np.abs(picture - reference).max(axis=-1) * AMPLIFICATION)


def _ramp(level: NDArray[np.float32]) -> NDArray[np.uint8]:
    """0 to 1 -> colours, (..., 3)."""
    stops = np.linspace(0, 1, len(RAMP))
    channels = [np.interp(level, stops, RAMP[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _to_image(pixels: NDArray[np.uint8], zoom: int) -> Image.Image:
    """Enlarged without smoothing, so that what is seen is what was computed."""
    image = Image.fromarray(pixels)
    return image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)


class _Sheet:
    """Sizes and pen of one sheet."""

    def __init__(self, columns: list[Column], row_labels: list[str]) -> None:
        self.columns, self.row_labels = columns, row_labels
        self.references = [m.picture for m in columns[0].measurements]
        height, width = self.references[0].shape[:2]
        self.zoom = max(1, round(CELL_PX / width))
        self.cell_width, self.cell_height = width * self.zoom, height * self.zoom
        self.row_height = 2 * self.cell_height + GAP // 2 + CAPTION + GAP
        self.lefts = self._lefts()
        right = self.lefts[-1] + self.cell_width + MARGIN
        size = (right, TOP + len(row_labels) * self.row_height + BOTTOM)
        self.image = Image.new("RGB", size, PAPER)
        self.pen = ImageDraw.Draw(self.image)

    def _lefts(self) -> list[int]:
        """Left edge of each column; a new group stands a little apart."""
        left, lefts, group = MARGIN + LABELS, [], self.columns[0].method.group
        for column in self.columns:
            left += GROUP_GAP if column.method.group != group else 0
            group = column.method.group
            lefts.append(left)
            left += self.cell_width + GAP
        return lefts

    def draw(self, title: str) -> Image.Image:
        self._text((MARGIN, 20), title, 22)
        self._groups()
        for left, column in zip(self.lefts, self.columns, strict=True):
            self._header(left, column)
            for i in range(len(self.row_labels)):
                self._cell(left, TOP + i * self.row_height, column, i)
        for i, label in enumerate(self.row_labels):
            middle = TOP + i * self.row_height + self.cell_height // 2
            self._text((MARGIN, middle), label, 14, anchor="lm")
            self._text((MARGIN, middle + self.cell_height + GAP // 2), "difference", 13, FAINT, "lm")
        self._scale()
        return self.image

    def _groups(self) -> None:
        """A line over the columns that run at the same compute."""
        for name in dict.fromkeys(column.method.group for column in self.columns[1:]):
            lefts = [
                left
                for left, column in zip(self.lefts, self.columns, strict=True)
                if column.method.group == name
            ]
            right = lefts[-1] + self.cell_width
            self._text(((lefts[0] + right) // 2, 62), _group_title(name, len(lefts)), 14, FAINT, "ma")
            self.pen.line([(lefts[0], 84), (right, 84)], fill=FAINT)

    def _header(self, left: int, column: Column) -> None:
        centre, colour = left + self.cell_width // 2, ACCENT if column.is_ours else INK
        self._text((centre, 92), column.method.name, 15, colour, "ma")
        self._text((centre, 111), column.method.detail, 13, colour, "ma")
        self._text((centre, 129), f"{column.row.block_fraction:.0%} of blocks", 13, FAINT, "ma")

    def _cell(self, left: int, top: int, column: Column, index: int) -> None:
        """A picture, and below it the difference and what it comes to."""
        measurement, reference = column.measurements[index], self.references[index]
        pixels = (measurement.picture * 255).round().astype(np.uint8)
        below = top + self.cell_height + GAP // 2
        self._paste(pixels, left, top)
        if column is self.columns[0]:
            self._text(
                (left + self.cell_width // 2, below + self.cell_height // 2), "reference", 13, FAINT, "mm"
            )
            return
        self._paste(difference_map(measurement.picture, reference), left, below)
        is_identical = measurement.psnr >= PSNR_CAP_DB
        caption = "identical" if is_identical else f"{measurement.psnr:.1f} dB"
        colour = ACCENT if column.is_ours else INK
        self._text((left + self.cell_width // 2, below + self.cell_height + 3), caption, 13, colour, "ma")

    def _paste(self, pixels: NDArray[np.uint8], left: int, top: int) -> None:
        self.image.paste(_to_image(pixels, self.zoom), (left, top))
        corner = (left + self.cell_width, top + self.cell_height)
        self.pen.rectangle([(left - 1, top - 1), corner], outline=(214, 214, 210))

    def _scale(self) -> None:
        """The colours of the differences, with their meaning."""
        left, top, width, height = self.lefts[0], self.image.height - BOTTOM + 12, 240, 14
        bar = _ramp(np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1)))
        self.image.paste(Image.fromarray(bar), (left, top))
        self.pen.rectangle([(left - 1, top - 1), (left + width, top + height)], outline=(214, 214, 210))
        for share in (0.0, 0.5, 1.0):
            words = f"{share / AMPLIFICATION:.0%}" + (" or more" if share == 1 else "")
            self._text((left + round(share * width), top + height + 4), words, 13, FAINT, "ma")
        words = (
            f"Difference from the full run, amplified {AMPLIFICATION} times: "
            "the largest of red, green and blue, in percent of the full range."
        )
        self._text((left + width + 60, top + height // 2), words, 13, FAINT, "lm")

    def _text(
        self,
        at: tuple[int, int],
        words: str,
        size: int,
        colour: tuple[int, int, int] = INK,
        anchor: str = "la",
    ) -> None:
        self.pen.text(at, words, fill=colour, font=ImageFont.load_default(size), anchor=anchor)


def _group_title(name: str, count: int) -> str:
    """What the columns of a group have in common; a single one is said by its own header."""
    return f"at the compute of preset {name}" if count > 1 else "at a budget"
