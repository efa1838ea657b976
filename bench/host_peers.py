"""ComfyUI's own caches, EasyCache and LazyCache, against AdaCorrection and fewer steps, in a real ComfyUI.

    COMFYUI_PYTHON bench/host_peers.py --prompts 0 2 4 6 8 10 12 14

Run with the Python of ComfyUI 0.33 or later (CONTRIBUTING.md says how to get one; older ones cannot load so
narrow a Flux). The demo model is loaded and sampled as the demo workflow does, euler and simple, and each
picture's latent is held against the full run's with the same seed. Block executions are counted inside the
blocks. All settings of the two nodes but the threshold are at their defaults.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "host"))
import comfy_host

comfy_host.boot()
comfy_host.load_pack()
import comfy.sample  # noqa: E402
import comfy.sd  # noqa: E402
import torch  # noqa: E402
from comfy.model_patcher import ModelPatcher  # noqa: E402
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode  # noqa: E402
from torch import Tensor  # noqa: E402

from adacorrection.adacorrection_core import CorrectionConfig  # noqa: E402
from adacorrection.bench.block_work import counted  # noqa: E402
from adacorrection.nodes.demo_nodes import AdaCorrectionDemoPrompt, prompt_names  # noqa: E402
from adacorrection.nodes.host.session import apply_correction  # noqa: E402

WEIGHTS = comfy_host.PACK_ROOT / "demo" / "model" / "tinyflux.safetensors"
LATENT_SHAPE = (1, 16, 16, 16)  # EmptySD3LatentImage at 128 x 128, as in the demo workflow
NAMES = ("Fewer steps", "EasyCache", "LazyCache", "AdaCorrection")
THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # both nodes' default is 0.2


@dataclass(frozen=True)
class Method:
    """One way of sampling.

    Attributes:
        name, setting: what it is.
        patch: what it does to the model.
        num_steps: steps of the sampler; None for as many as the full run.
    """

    name: str
    setting: str
    patch: Callable[[ModelPatcher], ModelPatcher] = lambda model: model
    num_steps: int | None = None


@dataclass
class Row:
    """What a method came to.

    Attributes:
        block_fraction: block executions over those of the full run, by picture.
        psnr: of the latent against the full run's, in decibels, by picture; None where they are the same.
    """

    name: str
    setting: str
    block_fraction: list[float] = field(default_factory=list)
    psnr: list[float | None] = field(default_factory=list)

    def __str__(self) -> str:
        different = [value for value in self.psnr if value is not None]
        mean, least = (f(different) if different else math.inf for f in (statistics.fmean, min))
        blocks = statistics.fmean(self.block_fraction)
        same = f"  ({len(self.psnr) - len(different)} identical)" if None in self.psnr else ""
        return f"{self.name:14} {self.setting:>10} {blocks:7.3f} {mean:7.1f} {least:7.1f}{same}"


def methods(num_steps: int) -> list[Method]:
    """Fewer steps from three quarters to a quarter, both nodes by threshold, our presets and targets."""
    fewer = [round(num_steps * share) for share in (0.75, 2 / 3, 0.6, 0.5, 0.4, 1 / 3, 0.25)]
    rows = [Method("Fewer steps", str(steps), num_steps=steps) for steps in fewer]
    for name, node in (("EasyCache", EasyCacheNode), ("LazyCache", LazyCacheNode)):
        rows += [Method(name, f"{t:g}", core_cache(node, t)) for t in THRESHOLDS]
    presets = [(preset, CorrectionConfig.from_preset(preset)) for preset in ("quality", "balanced", "fast")]
    targets = [
        (f"{speedup:g}x", CorrectionConfig(target_speedup=speedup)) for speedup in (1.5, 2.0, 2.5, 3.0)
    ]
    return rows + [Method("AdaCorrection", name, correction(config)) for name, config in (*presets, *targets)]


def core_cache(node: type, threshold: float) -> Callable[[ModelPatcher], ModelPatcher]:
    """One of the host's cache nodes, with its defaults for start and end."""
    return lambda model: node.execute(model, threshold, 0.15, 0.95, False)[0]


def correction(config: CorrectionConfig) -> Callable[[ModelPatcher], ModelPatcher]:
    """Our node."""
    return lambda model: apply_correction(model, config)


@torch.inference_mode()
def sample(
    model: ModelPatcher, prompt: int, num_steps: int, cfg: float, sampler: str
) -> tuple[Tensor, float]:
    """Latent of a prompt, its number the seed, and the block executions that it took."""
    flux = model.model.diffusion_model
    latent = torch.zeros(LATENT_SHAPE)
    positive, negative = AdaCorrectionDemoPrompt.execute(prompt_names()[prompt]).result
    noise = comfy.sample.prepare_noise(latent, prompt)
    settings = (num_steps, cfg, sampler, "simple", positive, negative, latent)
    with counted(flux, [*flux.double_blocks, *flux.single_blocks]) as work:
        drawn = comfy.sample.sample(model, noise, *settings, disable_pbar=True, seed=prompt)
    return drawn, work.executions()


def psnr(latent: Tensor, full: Tensor) -> float | None:
    """Decibels over the full run's range; None where both are the same."""
    error = float((latent - full).square().mean().sqrt())
    return 20 * math.log10(float(full.max() - full.min()) / error) if error else None


def compare(
    model: ModelPatcher, prompts: list[int], num_steps: int, cfg: float, sampler: str, names: list[str]
) -> list[Row]:
    """All methods of these names on all prompts."""
    full = {prompt: sample(model, prompt, num_steps, cfg, sampler) for prompt in prompts}
    rows = []
    for method in methods(num_steps):
        if method.name not in names:
            continue
        row = Row(method.name, method.setting)
        for prompt, (reference, executions) in full.items():
            steps = method.num_steps or num_steps
            latent, ours = sample(method.patch(model), prompt, steps, cfg, sampler)
            row.block_fraction.append(ours / executions)
            row.psnr.append(psnr(latent, reference))
        rows.append(row)
        print(row, flush=True)
    return rows


def main() -> None:
    """Prints one line a method and writes JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=str(WEIGHTS), help="file of weights; the prompts are demo's")
    parser.add_argument("--prompts", type=int, nargs="+", default=list(range(0, 16, 2)), help="by number")
    parser.add_argument("--steps", type=int, default=28, help="steps of the full run")
    parser.add_argument("--cfg", type=float, default=3.0, help="guidance scale")
    parser.add_argument("--sampler", default="euler", help="of ComfyUI")
    parser.add_argument("--methods", nargs="+", default=NAMES, choices=NAMES, help="what to compare")
    parser.add_argument("--json", type=Path, help="file for the numbers of each picture")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = comfy.sd.load_diffusion_model(arguments.model)
    print(f"{'method':14} {'setting':>10} {'blocks':>7} {'PSNR':>7} {'least':>7}   (dB, latents that differ)")
    setting = (arguments.steps, arguments.cfg, arguments.sampler)
    rows = compare(model, arguments.prompts, *setting, arguments.methods)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        about = dict(zip(("steps", "cfg", "sampler"), setting, strict=True), prompts=arguments.prompts)
        arguments.json.write_text(json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=1))


if __name__ == "__main__":
    main()
