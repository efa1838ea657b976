"""The training pictures: openly licensed emoji from two npm packages, on plain grounds.

emoji-datasource-google holds Google's Noto Emoji (Apache-2.0), emoji-datasource-twitter holds Twemoji
(CC-BY 4.0), each as 64 x 64 pictures with transparency, next to an emoji.json of names. Packages are
fetched once, by `npm pack`, into a cache folder that is no part of the repository.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from demo.words import Prompt

VERSION = "16.0.0"
VENDORS = {"noto": "google", "twemoji": "twitter"}  # style -> the package's word for it
FACES = {
    *("face-smiling", "face-affection", "face-tongue", "face-hand", "face-neutral-skeptical", "face-sleepy"),
    *("face-unwell", "face-hat", "face-glasses", "face-concerned", "face-negative", "face-costume"),
    *("cat-face", "monkey-face", "heart"),
}
THINGS = {
    *("animal-mammal", "animal-bird", "animal-amphibian", "animal-reptile", "animal-marine", "animal-bug"),
    *("plant-flower", "food-fruit", "food-vegetable", "food-prepared", "food-sweet"),
}
SUBCATEGORIES = {"noto": FACES | THINGS, "twemoji": FACES}
GROUNDS = {
    "white": (255, 255, 255),
    "blue": (135, 193, 245),
    "pink": (250, 180, 205),
    "green": (150, 215, 150),
    "black": (25, 25, 32),
    "purple": (187, 160, 232),
    "yellow": (250, 233, 142),
    "gray": (176, 176, 180),
}


@dataclass(frozen=True)
class PictureSet:
    """Cut-out pictures and what they show.

    rgba: (N, 4, H, W) uint8; subjects: N prompts, whose ground is only a placeholder.
    """

    rgba: Tensor
    subjects: list[Prompt]

    def on_ground(self, indices: Tensor, grounds: Tensor) -> Tensor:
        """Pictures `indices` (B,) on ground colours `grounds` (B,) -> (B, 3, H, W) in [0, 1]."""
        rgba = self.rgba[indices].float() / 255
        palette = torch.tensor(list(GROUNDS.values()), device=rgba.device) / 255
        colour, alpha = palette[grounds][..., None, None], rgba[:, 3:]
        return rgba[:, :3] * alpha + colour * (1 - alpha)

    def find(self, prompt: Prompt) -> int:
        """The index of the picture that `prompt` asks for."""
        names = [(subject.style, subject.short_name) for subject in self.subjects]
        return names.index((prompt.style, prompt.short_name))


def load_pictures(cache: Path, size: int = 64) -> PictureSet:
    """Fetches the packages if need be and reads every picture of SUBCATEGORIES.

    A size other than 64 resamples the 64 px originals: the packages hold no larger ones.
    """
    pictures, subjects = [], []
    for style, vendor in VENDORS.items():
        folder = _fetch(vendor, cache)
        for entry in json.loads((folder / "emoji.json").read_text()):
            if entry["subcategory"] in SUBCATEGORIES[style] and entry[f"has_img_{vendor}"]:
                pictures.append(_read(folder / "img" / vendor / "64" / entry["image"], size))
                subjects.append(_subject(style, entry))
    return PictureSet(torch.stack(pictures), subjects)


def _subject(style: str, entry: dict[str, str]) -> Prompt:
    return Prompt(style, "white", entry["short_name"], entry["subcategory"], entry["name"].lower())


def _fetch(vendor: str, cache: Path) -> Path:
    """The unpacked package of `vendor`, downloaded with npm when it is not in `cache`."""
    package = f"emoji-datasource-{vendor}"
    folder = cache / f"{package}-{VERSION}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        archive = cache / f"{package}-{VERSION}.tgz"
        if not archive.exists():
            subprocess.run(["npm", "pack", "--silent", f"{package}@{VERSION}"], cwd=cache, check=True)
        _unpack(archive, folder)
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    """Unpacks the names and the 64 px pictures of an npm package, whose files all lie under package/."""
    partial = folder.with_suffix(".partial")
    with tarfile.open(archive) as package:
        wanted = [m for m in package if m.name.endswith("emoji.json") or "/64/" in m.name]
        package.extractall(partial, wanted, filter="data")
    (partial / "package").rename(folder)
    partial.rmdir()


def _read(path: Path, size: int) -> Tensor:
    """A picture file -> (4, size, size) uint8."""
    picture = Image.open(path).convert("RGBA")
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
