"""All model families that are known: where their blocks are and what those take and return.

One entry a family, in files by what they make. Data, no algorithm: what an entry says is told in family.py
and in the core's stages.py.
"""

from __future__ import annotations

from .families_other import OTHERS
from .families_picture import PICTURES
from .families_video import VIDEOS
from .family import Family

FAMILIES: tuple[Family, ...] = PICTURES + VIDEOS + OTHERS
