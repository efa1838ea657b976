"""Two pictures, videos or latents as they come from a host, checked and brought into one layout."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from . import side_by_side
from .similarity import Similarity, similarity


class ComparisonError(ValueError):
    """Two things that cannot be compared. The message says what they are and what to do."""


@dataclass(frozen=True)
class Comparison:
    """Two batches of pictures and what their comparison gave.

    Attributes:
        reference, compared: (N, H, W, 3) in [0, 1], for the eye.
        measured: the numbers, from the values as they came.
    """

    reference: Tensor
    compared: Tensor
    measured: Similarity

    @classmethod
    def of(cls, reference: tuple[str, Tensor], compared: tuple[str, Tensor]) -> Comparison:
        """Compare two inputs, each with its kind.

        Args:
            reference, compared: "IMAGE" with (N, H, W, C) in [0, 1], or "LATENT" with (B, C, H, W) or
                (B, C, T, H, W). A latent's range of values is that of the reference.

        Raises:
            ComparisonError: different kinds or shapes, or values that are no numbers.
        """
        check_alike(reference, compared)
        one, other = (pictures_of(*given) for given in (reference, compared))
        if reference[0] == "IMAGE":
            return cls(in_colour(one), in_colour(other), similarity(one, other))
        low, high = float(one.min()), float(one.max())
        measured = similarity(one, other, (high - low) or 1.0)
        shown = [side_by_side.false_colours(latents, low, high) for latents in (one, other)]
        return cls(shown[0], shown[1], measured)

    def draw_difference(self, full_scale: float = 0.0) -> Tensor:
        """Heat maps with their scale, (N, H, W, 3) in [0, 1]; full_scale 0 takes the largest difference."""
        return side_by_side.draw_difference(self.measured, full_scale)

    def draw_side_by_side(self) -> Tensor:
        """Both beside each other with the numbers, (N, H, W, 3) in [0, 1]."""
        return side_by_side.draw_side_by_side(self.reference, self.compared, self.measured)


def check_alike(reference: tuple[str, Tensor], compared: tuple[str, Tensor]) -> None:
    """Raise ComparisonError where the two cannot be compared."""
    if reference[0] != compared[0]:
        raise ComparisonError(
            f"The reference is {reference[0]} and the other {compared[0]}: connect two images or two latents."
        )
    for name, (kind, tensor) in (("reference", reference), ("compared", compared)):
        if not isinstance(tensor, Tensor) or tensor.ndim not in {"IMAGE": (4,), "LATENT": (4, 5)}[kind]:
            raise ComparisonError(
                f"{name} is {described(kind, tensor)}. Pictures, video frames and their latents can be "
                "compared: decode what was sampled and connect the images."
            )
    if reference[1].shape != compared[1].shape:
        raise ComparisonError(
            f"The two differ in shape: the reference is {described(*reference)}, the other "
            f"{described(*compared)}. Give both samplers a latent of the same size and number, or bring one "
            "to the other's size (Upscale Image, Image From Batch)."
        )
    for name, (_, tensor) in (("reference", reference), ("compared", compared)):
        if not tensor.isfinite().all():
            raise ComparisonError(
                f"{name} has NaN or infinity in it, which no measure can take: the run that made it went "
                "wrong. Try another precision (weight_dtype of the loader) or look at it alone."
            )


def described(kind: str, tensor: object) -> str:
    """What was given, in words: "IMAGE, 1 of 1024 x 768 with 3 channels"."""
    if not isinstance(tensor, Tensor):
        return f"{kind} of several parts ({type(tensor).__name__})"
    shape = tuple(tensor.shape)
    if kind == "IMAGE" and len(shape) == 4:
        number, height, width, channels = shape
        return f"IMAGE, {number} of {width} x {height} with {channels} channels"
    if kind == "LATENT" and len(shape) in (4, 5):
        frames = f"{shape[2]} frames of " if len(shape) == 5 else ""
        return f"LATENT, {shape[0]} of {frames}{shape[-1]} x {shape[-2]} with {shape[1]} channels"
    return f"{kind} of shape {shape}"


def pictures_of(kind: str, tensor: Tensor) -> Tensor:
    """(N, H, W, C) in float32 on the CPU; frames of a latent's videos follow one another."""
    values = tensor.detach().float().cpu()
    if kind == "LATENT":
        values = values.movedim(1, -1)
        if values.ndim == 5:
            values = values.flatten(0, 1)
    return values


def in_colour(pictures: Tensor) -> Tensor:
    """(N, H, W, 3) of pictures with one channel or more; transparency is not shown."""
    pictures = pictures.clamp(0, 1)
    return pictures[..., :3] if pictures.shape[-1] >= 3 else pictures[..., :1].expand(*pictures.shape[:3], 3)
