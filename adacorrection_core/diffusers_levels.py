"""Noise levels of a run in diffusers: as told, as its scheduler has them, or as its calls bring them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

TRAINED_TIMESTEPS = 1000.0
LOWEST_CERTAIN = 0.03  # below this level any step may be the last one, however short the steps are
SAME_LEVEL = 1e-6
SHIFTS = (0.5, 16.0)  # of a schedule that is to be believed
USUAL_SHIFT = 3.0  # Stable Diffusion 3, Flux at a megapixel, Wan at 480p
MOST_STEPS = 50  # of a run, where nothing else tells
# Three levels d apart bend by about 4 d^2 where the shift is usual, and by twice their rounding by chance.
LEAST_BEND = 1.0  # d^2 over the rounding, before they tell a shift
WHOLE, WHOLE_ROUNDING = 1e-3, 5e-4  # of timesteps that some schedulers keep as whole numbers
JUMP = 3.0  # steps of the length before, which no schedule makes at once: another run has begun


def flow_levels(sigmas: Sequence[float]) -> list[float]:
    """Noise levels 0 to 1 of a schedule, which may be given as timesteps, 0 to 1000."""
    unit = TRAINED_TIMESTEPS if max(sigmas) > 1.0 else 1.0
    return [float(sigma) / unit for sigma in sigmas]


def scheduler_levels(scheduler: Any, boundary: float | None = None) -> list[float]:
    """Noise levels of the run that a scheduler has been set up for, falling to 0, one more than steps.

    A run may begin in the middle: with a picture to start from, or as the second of two transformers.

    Args:
        scheduler: of diffusers.
        boundary: level below which another transformer goes on, so that the run ends there.
    """
    begin = getattr(scheduler, "step_index", None) or getattr(scheduler, "begin_index", None) or 0
    scale = float(scheduler.config.num_train_timesteps)
    timesteps = scheduler.timesteps[begin:].tolist()
    levels = [timestep / scale for timestep in timesteps] + [0.0]
    if boundary is None:
        return levels
    return levels[: max(sum(timestep >= boundary * scale for timestep in timesteps), 1) + 1]


@dataclass
class LearntLevels:
    """The levels of a run that nobody has told: those of its calls so far, and what they let expect.

    Flow schedules are evenly spaced in u, where level = s u / (1 + (s - 1) u), with a shift s by the model or
    the size of the picture. Three levels tell s, and the levels to come follow from it. That is an estimate,
    good enough to weigh steps and lay out a budget, but not to tell which step is the last.

    Attributes:
        met: levels of the calls so far, falling.
        steps_left: steps from the last of them on, itself included; None where nobody says.
        rounding: how far a level may be off, as half precision rounds it.
        lowest: below this level any step may be the last one.
    """

    met: list[float] = field(default_factory=list)
    steps_left: int | None = None
    rounding: float = 1e-7
    lowest: float = LOWEST_CERTAIN

    def is_another_run(self, level: float) -> bool:
        """Whether a call can be none of this run: it is back at the start, or far below what comes next."""
        if len(self.met) < 2:
            return bool(self.met) and level > self.met[0] + SAME_LEVEL
        first, last = self.met[0], self.met[-1]
        is_back = level >= first - SAME_LEVEL
        is_over = self.steps_left == 1 and level < last - SAME_LEVEL
        reach = max(before - after for before, after in zip(self.met, self.met[1:], strict=False))
        return is_back or is_over or last - level > JUMP * max(reach, last - self.to_come()[0])

    def meet(self, level: float, steps_left: int | None = None) -> None:
        """Take in the level of a call; one that has been there, or lies above, tells nothing new."""
        self.steps_left = steps_left
        if not self.met or level < self.met[-1] - SAME_LEVEL:
            self.met.append(level)

    @property
    def is_end_known(self) -> bool:
        """Whether it is certain which step is the last."""
        return self.steps_left is not None

    @property
    def sigmas(self) -> list[float]:
        """Levels met, then those to expect, down to 0."""
        return [*self.met, *self.to_come()]

    def to_come(self) -> list[float]:
        """The levels after the last one met, as far as can be told."""
        last, shift = self.met[-1], self.shift()
        place = evened(last, shift)
        if self.steps_left is not None:
            count = max(self.steps_left, 1)
        elif self.may_be_last(place):
            count = 1
        else:
            count = max(round(place / self.spacing(shift)), 2) if len(self.met) > 1 else 2
        return [shifted(place * (1 - i / count), shift) for i in range(1, count)] + [0.0]

    def may_be_last(self, place: float) -> bool:
        """Whether the run may end with the step from the last level met."""
        if len(self.met) < 2:
            return False
        before, last = self.met[-2:]
        return self.is_near_end(before, last) or place < 1.5 * self.spacing(self.shift())

    def is_near_end(self, before: float, level: float) -> bool:
        """Whether two more steps like the one from the level before could end the run."""
        return level <= max(self.lowest, 2 * (before - level))

    def end(self) -> float:
        """The level at and below which each step may be the last, so that all of them have to be computed."""
        if self.is_end_known:
            return 0.0
        pairs = zip(self.sigmas, self.sigmas[1:-1], strict=False)
        return max((level for before, level in pairs if self.is_near_end(before, level)), default=0.0)

    def spacing(self, shift: float) -> float:
        """Mean distance of the levels met, evened out."""
        first, last = evened(self.met[0], shift), evened(self.met[-1], shift)
        return max((first - last) / (len(self.met) - 1), 1e-6)

    def shift(self) -> float:
        """The s at which the levels met are evenly spaced; a likely one while they are too few to tell."""
        half = (len(self.met) - 1) // 2
        high, middle, low = (self.met[i] for i in (-1 - 2 * half, -1 - half, -1))
        if half < 1 or low <= 0 or ((high - low) / 2) ** 2 < LEAST_BEND * self.uncertainty():
            return self.likely_shift()
        a, b, c = (1 / level - 1 for level in (high, middle, low))
        numerator, denominator = a + c - 2 * b, b * (a + c) - 2 * a * c
        if not denominator > 0 or not SHIFTS[0] <= numerator / denominator <= SHIFTS[1]:
            return 1.0
        return numerator / denominator

    def likely_shift(self) -> float:
        """The usual shift, or a higher one where steps are so short that there would be too many of them."""
        last, count = self.met[-1], len(self.met) - 1
        place = self.met[0] - count / MOST_STEPS  # of the last level met; exact for runs from pure noise
        if count < 1 or not (0 < place < 1 and last < 1):
            return USUAL_SHIFT
        return min(max(last * (1 - place) / (place * (1 - last)), USUAL_SHIFT), SHIFTS[1])

    def uncertainty(self) -> float:
        """How far a level may be off what the scheduler meant."""
        timesteps = [TRAINED_TIMESTEPS * level for level in self.met]
        is_whole = all(abs(timestep - round(timestep)) < WHOLE for timestep in timesteps)
        return max(self.rounding, WHOLE_ROUNDING) if is_whole else self.rounding


def evened(level: float, shift: float) -> float:
    """u of a level, 0 to 1."""
    return level / (shift - (shift - 1) * level)


def shifted(place: float, shift: float) -> float:
    """Level of a u, 0 to 1."""
    return shift * place / (1 + (shift - 1) * place)
