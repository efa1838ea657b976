"""What a run will hold at most, from the branches that each of its evaluations will call."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import groupby

from .anchors import CORRECTOR_LATENTS, MAX_ANCHORS, STEP_LATENTS, CacheSize
from .evaluation import STALE_EVALUATIONS

# One evaluation: what the anchors of each branch that it calls will take.
Called = Mapping[Hashable, CacheSize]


def anchors_bytes(evaluations: Sequence[Called]) -> int:
    """Most bytes that the anchors of all branches hold at one time, where every evaluation is computed.

    A branch has as many anchors as it has been called, up to all; it is let go some evaluations after the
    last time.

    Args:
        evaluations: what each will call, in order.
    """
    sizes: dict[Hashable, CacheSize] = {}
    counts: dict[Hashable, int] = {}
    last_seen: dict[Hashable, int] = {}
    most = 0
    for i, called in enumerate(evaluations):
        for key in [key for key, last in last_seen.items() if i - last > STALE_EVALUATIONS]:
            del sizes[key], counts[key], last_seen[key]
        for key, size in called.items():
            sizes[key], last_seen[key] = size, i
            counts[key] = min(counts.get(key, 0) + 1, MAX_ANCHORS)
        most = max(most, sum(counts[key] * size.anchor_bytes for key, size in sizes.items()))
    return most


def settlement_bytes(evaluations: Sequence[Called], latent_numbers: int, is_settling: bool = True) -> int:
    """Bytes that a run holds at most to settle what corrected steps owe, and of where its sampler was.

    What is owed is found within a stretch of evaluations that call the same branches. A short one does not
    come to hold all of it, but at most a latent more for each of its evaluations.

    Args:
        evaluations: as above; none where they are not known.
        latent_numbers: numbers in the sampler's latent, all pictures of a batch together. They are float32.
        is_settling: False where nothing can be settled.
    """
    lengths = (len(list(stretch)) for _, stretch in groupby(evaluations, key=frozenset))
    owed = min(CORRECTOR_LATENTS, max(lengths, default=CORRECTOR_LATENTS)) if is_settling else 0
    return 4 * latent_numbers * (STEP_LATENTS + owed)
