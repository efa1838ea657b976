"""The networks that are trained and drawn with here: the demo's Flux, and the bench's SD3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from demo import flux, sd3
from demo.flux_keys import diffusers_to_bfl

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Network:
    """An architecture, and how it is stored.

    Attributes:
        title: what the trained model is.
        file: name of its weights in a model folder.
        new: makes it with fresh weights.
        of: makes it of stored weights, in float32.
        to_stored: names of weights, from diffusers' to those of the file.
        predict: (model, latent, sigma, context, pooled) -> velocity; see `flux.predict`.
    """

    title: str
    file: str
    new: Callable[[], nn.Module]
    of: Callable[[Weights], nn.Module]
    to_stored: Callable[[Weights], Weights]
    predict: flux.Predict

    def load(self, path: Path) -> nn.Module:
        """Reads stored weights, of any dtype, into a float32 network."""
        return self.of({name: tensor.float() for name, tensor in load_file(path).items()}).eval()


NETWORKS = {
    "flux": Network(
        "tinyflux: a small FLUX.1-architecture model that draws emoji",
        "tinyflux.safetensors",
        flux.new_flux,
        flux.flux_of,
        diffusers_to_bfl,
        flux.predict,
    ),
    "sd3": Network(
        "tinysd3: a small SD3-architecture model that draws emoji",
        "tinysd3.safetensors",
        sd3.new_sd3,
        sd3.sd3_of,
        dict,
        sd3.predict,
    ),
}


def stored_network(folder: Path) -> Network | None:
    """The network whose weights a model folder holds; None where it holds none."""
    return next((network for network in NETWORKS.values() if (folder / network.file).is_file()), None)
