"""Trains the demo model: rectified flow on emoji, with float8 weights in the loop.

    python -m demo.train --steps 20000 --batch 256 --device cuda                    # from scratch
    python -m demo.train --minutes 70 --init demo/model/tinyflux.safetensors \\
        --code demo/model/picture_code.safetensors                                  # go on from these weights

The network learns the velocity v = noise - x of the straight path x_sigma = (1 - sigma) x + sigma noise
(Liu et al. 2022, https://arxiv.org/abs/2209.03003). Stored weights are float8_e4m3fn, so the network computes
with rounded weights throughout, and the gradient passes straight through the rounding to float32 masters.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, autocast, nn
from torch.optim import Optimizer

from demo.examples import Batch, Examples
from demo.networks import NETWORKS, Network
from demo.picture_code import PictureCode
from demo.pictures import GROUNDS, PictureSet, load_pictures
from demo.words import DEMO_PROMPTS, encode_prompts, save_conditioning

log = logging.getLogger("demo.train")

STORED_DTYPE = torch.float8_e4m3fn
LICENCE = "Apache-2.0; trained on Noto Emoji (Google, Apache-2.0) and Twemoji (Twitter and others, CC-BY 4.0)"


def flow_loss(network: Network, model: nn.Module, batch: Batch) -> Tensor:
    """The mean squared error of the predicted velocity."""
    sigma = batch.sigma[:, None, None, None]
    noisy = torch.lerp(batch.clean, batch.noise, sigma)
    with autocast(noisy.device.type, torch.bfloat16):
        velocity = network.predict(model, noisy, batch.sigma, batch.context, batch.pooled)
    return nn.functional.mse_loss(velocity.float(), batch.noise - batch.clean)


class RoundedWeights:
    """Float32 masters of a model that computes with float8 values, and their moving average."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.masters = {name: nn.Parameter(p.detach().clone()) for name, p in model.named_parameters()}
        self.average = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def show(self, weights: dict[str, Tensor]) -> None:
        """Puts `weights`, rounded as they will be stored, into the model."""
        for name, parameter in self.model.named_parameters():
            parameter.copy_(weights[name].to(STORED_DTYPE))

    def take_gradients(self) -> None:
        """Hands the model's gradients to the masters: the straight-through estimator."""
        for name, parameter in self.model.named_parameters():
            self.masters[name].grad, parameter.grad = parameter.grad, None

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        masters, average = list(self.masters.values()), list(self.average.values())
        torch._foreach_lerp_(average, masters, 1 - decay)

    def stored(self, network: Network) -> dict[str, Tensor]:
        """The averaged weights as they are written to disk: float8, in the names of the network's file."""
        rounded = {name: tensor.cpu().to(STORED_DTYPE) for name, tensor in self.average.items()}
        return {key: tensor.contiguous() for key, tensor in sorted(network.to_stored(rounded).items())}


def new_optimizers(weights: dict[str, nn.Parameter], muon_lr: float, adam_lr: float) -> list[Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings, modulations, biases and the last layer."""
    matrices, others = [], []
    for name, weight in weights.items():
        is_matrix = weight.ndim == 2 and "transformer_blocks" in name and ".linear." not in name
        (matrices if is_matrix else others).append(weight)
    return [
        torch.optim.Muon(matrices, lr=muon_lr, weight_decay=0.0),
        torch.optim.AdamW(others, lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def lr_factor(progress: float, step: int, warmup_steps: int = 30) -> float:
    """A short warm-up, level until 30 % of the run, then a straight line to zero."""
    return min(1.0, (step + 1) / warmup_steps) * min(1.0, max(0.0, (1 - progress) / 0.7))


class Run:
    """One training run: what it needs to go on, and its folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.examples = Examples(*_pictures_and_code(options), options.focus, options.device)
        self.network = NETWORKS[options.network]
        self.model = self.network.load(options.init) if options.init else self.network.new()
        self.model.to(options.device)
        if options.compile:
            self.model.compile_repeated_blocks()
        self.weights = RoundedWeights(self.model)
        self.optimizers = new_optimizers(self.weights.masters, options.muon_lr, options.adam_lr)
        self.generator = torch.Generator().manual_seed(options.seed)
        self.step, self.samples, self.seconds = 0, _samples_behind(options.init), 0.0
        if options.out.joinpath("checkpoint.pt").exists():
            self._resume()

    def progress(self) -> float:
        """The fraction of the run that is done, by steps or by minutes, whichever is further."""
        minutes = self.seconds / 60
        return max(self.step / (self.options.steps or 1e9), minutes / (self.options.minutes or 1e9))

    def train(self) -> None:
        """Trains to the end of the run, saving now and then."""
        started, saved_at, losses = time.monotonic() - self.seconds, self.seconds, []
        log.info("start: step %d, %s", self.step, self.describe())
        while (progress := self.progress()) < 1:
            losses.append(self._step(lr_factor(progress, self.step)))
            self.seconds = time.monotonic() - started
            if self.step % 20 == 0:
                mean = sum(losses) / len(losses)
                log.info(
                    "step %d, %d samples, %.0f s, loss %.4f", self.step, self.samples, self.seconds, mean
                )
                losses.clear()
            if self.seconds - saved_at > self.options.save_every_s:
                saved_at = self.seconds
                self.save()
        self.save()

    def _step(self, factor: float) -> float:
        batch = self.examples.draw(self.options.batch, self.generator)
        self.weights.show(self.weights.masters)
        loss = self._loss(batch)
        loss.backward()
        self.weights.take_gradients()
        nn.utils.clip_grad_norm_(self.weights.masters.values(), 1.0)
        for optimizer, lr in zip(self.optimizers, (self.options.muon_lr, self.options.adam_lr), strict=True):
            optimizer.param_groups[0]["lr"] = lr * factor
            optimizer.step()
        self.step += 1
        self.samples += self.options.batch
        self.weights.update_average(min(self.options.ema, (1 + self.step) / (10 + self.step)))
        return float(loss.detach())

    def _loss(self, batch: Batch) -> Tensor:
        return flow_loss(self.network, self.model, batch)

    @torch.no_grad()
    def evaluate(self, num_batches: int = 4) -> dict[str, float]:
        """The loss of the stored weights on fixed examples of the demo's pictures and of all pictures."""
        self.weights.show(self.weights.average)
        losses, focus = {}, self.examples.focus
        for name, self.examples.focus in (("demo", 1.0), ("all", 0.0)):
            generator = torch.Generator().manual_seed(1)
            batches = [self.examples.draw(self.options.batch, generator) for _ in range(num_batches)]
            losses[name] = sum(self._loss(batch).item() for batch in batches) / num_batches
        self.examples.focus = focus
        return losses

    def describe(self) -> str:
        """The loss on fixed examples, in words."""
        return ", ".join(f"loss on {name} pictures {value:.4f}" for name, value in self.evaluate().items())

    def save(self) -> None:
        """Writes the checkpoint and the model folder as it would be committed."""
        out = self.options.out
        log.info("save: step %d, %s", self.step, self.describe())
        state = {
            "step": self.step,
            "samples": self.samples,
            "seconds": self.seconds,
            "masters": self.weights.masters,
            "average": self.weights.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "generator": self.generator.get_state(),
        }
        torch.save(state, out / "checkpoint.partial")
        (out / "checkpoint.partial").rename(out / "checkpoint.pt")  # an interrupted save loses nothing
        write_model(out / "model", self.network, self.weights, self.examples.code, self.samples)

    def _resume(self) -> None:
        path, device = self.options.out / "checkpoint.pt", self.options.device
        state = torch.load(path, map_location=device, weights_only=True)
        self.step, self.samples, self.seconds = state["step"], state["samples"], state["seconds"]
        for name, master in self.weights.masters.items():
            master.data.copy_(state["masters"][name])
        self.weights.average = state["average"]
        for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        self.generator.set_state(state["generator"].cpu())


def _samples_behind(init: Path | None) -> int:
    """The number of examples that the weights of `init` have seen, by their own account."""
    if init is None:
        return 0
    with safe_open(init, "pt") as stored:
        return int((stored.metadata() or {}).get("samples", 0))


def _pictures_and_code(options: argparse.Namespace) -> tuple[PictureSet, PictureCode]:
    """The pictures, and the picture code given or, without one, fitted to them on all grounds."""
    pictures = load_pictures(options.cache, options.size)
    if options.code:
        return pictures, PictureCode.load(options.code)
    everything = torch.arange(len(pictures.subjects))
    return pictures, PictureCode.fit(pictures.on_ground(everything, everything % len(GROUNDS)))


def write_model(
    folder: Path, network: Network, weights: RoundedWeights, code: PictureCode, samples: int
) -> None:
    """Writes weights, prompts and picture code as demo/model holds them."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "title": network.title,
        "licence": LICENCE,
        "samples": str(samples),
    }
    save_file(weights.stored(network), folder / network.file, metadata=about)
    save_conditioning(encode_prompts(DEMO_PROMPTS), folder / "conds.safetensors")
    code = PictureCode(code.mean.cpu(), code.basis.cpu(), code.gain.cpu(), code.patch)
    code.save(folder / "picture_code.safetensors", {"licence": LICENCE})


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("train_out"), help="checkpoint and model; resumes from it")
    add("--cache", type=Path, default=Path("~/.cache/adacorrection/emoji").expanduser(), help="downloads")
    add("--network", choices=NETWORKS, default="flux", help="architecture to train")
    add("--init", type=Path, help="weights to start from (names as stored, any dtype)")
    add("--code", type=Path, help="picture code that --init was trained with; fitted anew when left out")
    add("--size", type=int, default=64, help="side of the pictures in pixels, a multiple of 8")
    add("--steps", type=int, help="stop after this many steps")
    add("--minutes", type=float, help="stop after this long")
    add("--batch", type=int, default=32)
    add("--muon-lr", type=float, default=0.015)
    add("--adam-lr", type=float, default=0.0015)
    add("--ema", type=float, default=0.995)
    add("--focus", type=float, default=0.5, help="share of the demo's own pictures among the examples")
    add("--device", default="cpu")
    add("--threads", type=int, default=1)
    add("--compile", action="store_true")
    add("--save-every-s", type=float, default=600)
    add("--seed", type=int, default=0)
    options = parser.parse_args()
    if not options.steps and not options.minutes:
        parser.error("say how long to train: --steps or --minutes")
    return options


def main() -> None:
    """Runs the training that the command line asks for."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = parse_options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    Run(options).train()


if __name__ == "__main__":
    main()
