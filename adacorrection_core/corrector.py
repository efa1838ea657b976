"""The corrector: what corrected steps should have been, seen once the next full pass is in.

A corrected step goes ahead on a forecast, an extrapolation from the full passes before it. The next full
pass shows where the velocity was going, and the same steps can be interpolated, which is several times
nearer to the truth. The difference is a debt of the latent: the sampler stands where the forecasts led it.
It is repaid without another evaluation, in the way of a predictor-corrector method (UniC does so for each
step of a solver, arXiv 2302.04867, section 3.2; here it is the steps that were forecast).

Euler's method moves x / sigma by (1 / sigma_next - 1 / sigma) * denoised, so an error in that quantity
stays as it is from step to step: it is the same as another noise. The model is therefore given
x + sigma * shift, and the sampler's own latent is left alone; at the last step, which is always a full
pass, what it returns is the corrected picture.

The pass that shows a debt was itself given the latent before it was settled. How far its clean latent would
have moved with it, between not at all and all the way, is not known: half is taken (`RESPONSE`), and what
that leaves amiss the passes after it set right. The velocity moves by the rest, and the interpolation is
through the velocity at the settled latent, so that debt and velocity are found together. After the last step
no pass comes. There the model is sure of the picture but for detail of a small variance p, and a Gaussian
posterior moves by (`last_response`)

    d denoised / d x = (1 - t) p / ((1 - t)^2 p + t^2),    x = (1 - t) clean + t noise.

With the deterministic samplers that also remember the steps before (dpmpp_2m, res_multistep, uni_pc, deis,
lms, ipndm) the repayment is approximate: the weights below are those of Euler's steps, and what such a
sampler remembers was handed to it before the debt was known. It moves in nearly the same way all the same.

All of it stays in the precision of the sampler's latent, whatever the model computes in: a debt is a small
difference of large sums, and guidance makes of two velocities in half precision one that is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .risk import turned

KNOTS = 3  # full passes interpolated through: a parabola

RESPONSE = 0.5  # how far the clean latent of a full pass moves with the latent that it was given
FOLLOWS = 1.0 - RESPONSE  # how far its velocity does
# Of a latent of variance 1, as two trained models had it at the last step of 8 to 28 (bench/RESULTS.md,
# "The pass that shows a debt").
DETAIL_VARIANCE = 0.005


@dataclass(frozen=True)
class Knot:
    """A full pass.

    Attributes:
        time: noise level on the flow's scale.
        velocity: (B, ...) guided velocity, (x - denoised) / sigma.
    """

    time: float
    velocity: Tensor


@dataclass
class Corrector:
    """The debt of one run.

    Attributes:
        is_active: False where the sampler does not move as described above, or once it has been seen not to.
        shift: (B, ...) the correction, in units of the noise; None while there is none.
        knots: the last full passes, newest first.
        weights: (time, weight) of each corrected step since the newest of them.
        forecast: sum of weight * velocity over those steps, as they were forecast.
        last: noise level, time and velocity of the evaluation before, where that was corrected.
    """

    is_active: bool = True
    shift: Tensor | None = None
    knots: deque[Knot] = field(default_factory=lambda: deque(maxlen=KNOTS))
    weights: list[tuple[float, float]] = field(default_factory=list)
    forecast: Tensor | None = None
    last: tuple[float, float, Tensor] | None = None

    def expect(self, shape: Sequence[int]) -> None:
        """Before an evaluation: begin as at first where the latent, (B, ...), has not the shape it had."""
        if any(tensor is not None and tensor.shape != shape for tensor in self.tensors):
            self.begin_anew()
            self.shift = None

    def shifted(self, latent: Tensor, sigma: Tensor | float) -> Tensor:
        """The latent that the model is to be given; the sampler's own where nothing is owed.

        Args:
            latent: (B, ...) x.
            sigma: noise level, a number or broadcast against the latent.
        """
        if self.shift is None:
            return latent
        return latent + (self.shift * sigma).to(latent.dtype)

    def corrected(self, sigma: float, time: float, velocity: Tensor) -> None:
        """Take note of a step that went ahead on a forecast.

        Args:
            sigma: noise level.
            time: the same on the flow's scale.
            velocity: (B, ...) guided velocity of the forecast.
        """
        if self.is_active:
            self.add_up(sigma)
            self.last = (sigma, time, velocity)

    def computed(self, sigma: float, time: float, velocity: Tensor) -> Tensor | None:
        """Take in a full pass and settle the debt of the corrected steps before it.

        Args:
            sigma, time, velocity: as above.

        Returns:
            (B, ...) by how much the shift has grown; None where nothing was owed.
        """
        if not self.is_active:
            return None
        forecast = None if self.last is None else self.last[2]
        self.add_up(sigma)
        self.knots.appendleft(Knot(time, velocity))
        if self.forecast is None or len(self.knots) < 2:
            self.forecast, self.weights = None, []
            return None
        coefficients = self.coefficients()
        owed = self.interpolated(coefficients).sub_(self.forecast)
        # At the settled latent the newest velocity, of negative coefficient, is larger by FOLLOWS * owed.
        owed.div_(1.0 - FOLLOWS * coefficients[0])
        if forecast is not None:
            owed.mul_(trust(forecast, velocity))
        owed.nan_to_num_(0.0, 0.0, 0.0)
        self.knots[0] = Knot(time, torch.add(velocity, owed, alpha=FOLLOWS))
        self.forecast, self.weights = None, []
        self.shift = owed if self.shift is None else self.shift + owed
        return owed

    def add_up(self, sigma: float) -> None:
        """Now that the next noise level is known, so is the weight of the step before."""
        if self.last is None:
            return
        before, time, velocity = self.last
        weight = (sigma - before) / sigma
        self.weights.append((time, weight))
        part = velocity.float() * weight
        self.forecast = part if self.forecast is None else self.forecast.add_(part)
        self.last = None

    def coefficients(self) -> list[float]:
        """Of the knots' velocities in the sum of weight * velocity over the corrected steps."""
        points = [(turned(time), weight) for time, weight in self.weights]
        return interpolation(points, [turned(knot.time) for knot in self.knots])

    def interpolated(self, coefficients: Sequence[float]) -> Tensor:
        """(B, ...) that sum, interpolated through the knots."""
        pairs = list(zip(coefficients, self.knots, strict=True))
        total = pairs[0][1].velocity.float() * pairs[0][0]
        for coefficient, knot in pairs[1:]:
            total.add_(knot.velocity, alpha=coefficient)
        return total

    def begin_anew(self) -> None:
        """Forget the past but keep what is settled: the velocity has jumped, with the conditionings."""
        self.forecast = self.last = None
        self.knots.clear()
        self.weights = []

    def stop(self) -> None:
        """Correct nothing from now on: the sampler moves in another way."""
        self.begin_anew()
        self.is_active = False
        self.shift = None

    @property
    def tensors(self) -> list[Tensor | None]:
        """All that is held."""
        last = self.last[2] if self.last else None
        return [self.shift, self.forecast, last, *(knot.velocity for knot in self.knots)]


def trust(forecast: Tensor, velocity: Tensor) -> Tensor:
    """How much of a debt to repay, at most 1; one number, on the device.

    A forecast that was off by more than the velocity itself has led away from where the steps should have
    gone, and what the pass sees there says less about them: it counts by the inverse square of the error.

    Args:
        forecast, velocity: (B, ...) of the last corrected step, and of the full pass behind it.
    """
    error = torch.linalg.vector_norm(velocity - forecast, dtype=torch.float32)
    share: Tensor = torch.linalg.vector_norm(velocity, dtype=torch.float32) / error
    return share.square().clamp_max(1.0)


def interpolation(points: Sequence[tuple[float, float]], knots: Sequence[float]) -> list[float]:
    """Coefficients of the knots' values in the weighted sum of a curve through them.

    The curve is a line through the two newest knots, and the parabola through three as far as their
    distances are alike: one through two knots side by side and a distant third swings far off in between.

    Args:
        points: (place, weight) of each place where the curve is read, between the two newest knots.
        knots: places of two or three known values, newest first, all different.
    """
    line = lagrange(points, knots[:2])
    if len(knots) < 3:
        return line
    share = min(abs((knots[1] - knots[2]) / (knots[0] - knots[1])), 1.0)
    pairs = zip([*line, 0.0], lagrange(points, knots), strict=True)
    return [straight + share * (bent - straight) for straight, bent in pairs]


def lagrange(points: Sequence[tuple[float, float]], knots: Sequence[float]) -> list[float]:
    """Coefficients of the knots' values in the weighted sum of the polynomial through all of them."""

    def basis(index: int, time: float) -> float:
        product = 1.0
        for other, knot in enumerate(knots):
            if other != index:
                product *= (time - knot) / (knots[index] - knot)
        return product

    return [sum(weight * basis(i, time) for time, weight in points) for i in range(len(knots))]


def last_response(sigma: float, is_flow: bool) -> float:
    """How far the clean latent of the last step moves with the latent that the model is given.

    Args:
        sigma: noise level of that step.
        is_flow: whether the noise level is the flow's own scale; else it is noise over signal.
    """
    signal = 1.0 - sigma if is_flow else 1.0
    return signal * DETAIL_VARIANCE / (signal**2 * DETAIL_VARIANCE + sigma**2)
