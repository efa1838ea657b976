"""Tiny randomly initialised checkpoints of the real model classes; each samples in well under a second.

    model = tiny_models.load("flux_dev")                            # a ComfyUI ModelPatcher
    latent = tiny_models.sample(model, "flux_dev", steps=4, cfg=3.0)
    with tiny_models.count_blocks(model, "flux_dev") as executed:   # {("double_blocks", 0): 4, ...}
        tiny_models.sample(model, "flux_dev")

A family is one entry in FAMILIES. Its module is built at a tiny size, its state dict is filled with seeded
random numbers, and that goes through ComfyUI's own loader, detection included. What detection cannot read off
the tensors (an older host takes every Flux to be 3072 wide) is told to it while loading; the rest is stock.

Needs `comfy_host.boot()` first, which conftest.py does.
"""

from __future__ import annotations

import importlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

import comfy.model_detection
import comfy.ops
import comfy.sample
import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher
from comfyui_version import __version__ as comfyui_version
from torch import Generator, Tensor, nn

Conditioning = list[list[Any]]  # as ComfyUI's nodes pass it: [[cross_attn, options]]
MakeConditioning = Callable[[Generator], Conditioning]


@dataclass(frozen=True)
class Family:
    """How to build one tiny model and what to feed it.

    module:        import path of the diffusion model's class
    arguments:     its constructor's arguments, tiny
    latent_shape:  (1, C, H, W) or (1, C, T, H, W), without noise
    conditioning:  makes a random conditioning
    blocks:        names of its block lists, in the order in which they run
    forced:        names of arguments that detection is told, because it may not find them in the checkpoint
    marker:        constructor argument, or field of the class's ...Params, that older hosts lack
    batches_since: first ComfyUI version whose own model takes more than one cond or image at once
    """

    module: str
    arguments: dict[str, Any]
    latent_shape: tuple[int, ...]
    conditioning: MakeConditioning
    blocks: tuple[str, ...]
    forced: tuple[str, ...] = ()
    marker: str | None = None
    batches_since: tuple[int, ...] = ()


def conditioning(cross_attn: tuple[int, ...], **options: Any) -> MakeConditioning:
    """An option may be a shape (a random tensor), a function of the generator, or a constant."""

    def make(generator: Generator) -> Conditioning:
        def value(option: Any) -> Any:
            if isinstance(option, tuple):
                return torch.randn(option, generator=generator)
            return option(generator) if callable(option) else option

        tokens = torch.randn(cross_attn, generator=generator)
        return [[tokens, {name: value(option) for name, option in options.items()}]]

    return make


WIDTH = 128  # one attention head; most families fix its size at 128

FLUX = {
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 32,
    "context_in_dim": 64,
    "hidden_size": WIDTH,
    "mlp_ratio": 4.0,
    "num_heads": 1,
    "depth": 3,
    "depth_single_blocks": 4,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}

SD3 = {
    "input_size": None,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "depth": 4,  # the width is 64 * depth
    "adm_in_channels": 32,
    "num_patches": 256,
    "pos_embed_max_size": 16,
    "pos_embed_scaling_factor": None,
    "qk_norm": "rms",
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": 64, "out_features": 256},
    },
}

HUNYUAN_VIDEO = {
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 768,
    "context_in_dim": 64,
    "hidden_size": WIDTH,
    "mlp_ratio": 4.0,
    "num_heads": 1,
    "depth": 2,
    "depth_single_blocks": 3,
    "axes_dim": [16, 56, 56],
    "theta": 256,
    "patch_size": [1, 2, 2],
    "qkv_bias": True,
    "guidance_embed": True,
    "byt5": False,
    "meanflow": False,
    "use_cond_type_embedding": False,
    "vision_in_dim": None,
    "meanflow_sum": False,
}

HUNYUAN_VIDEO_15 = HUNYUAN_VIDEO | {
    "in_channels": 65,
    "out_channels": 32,
    "vec_in_dim": None,
    "patch_size": [1, 1, 1],
    "guidance_embed": False,
    "byt5": True,
    "use_cond_type_embedding": True,
    "vision_in_dim": 1152,
    "meanflow_sum": True,
}

WAN = {
    "model_type": "t2v",
    "patch_size": (1, 2, 2),
    "in_dim": 16,
    "out_dim": 16,
    "dim": WIDTH,
    "ffn_dim": 128,
    "freq_dim": 256,
    "text_dim": 4096,
    "num_heads": 1,
    "num_layers": 4,
}


def flux(arguments: dict[str, Any], **options: Any) -> Family:
    return Family(
        module="comfy.ldm.flux.model.Flux",
        arguments=FLUX | arguments,
        latent_shape=(1, 16, 16, 16),
        conditioning=conditioning((1, 8, 64), pooled_output=(1, 32), **options),
        blocks=("double_blocks", "single_blocks"),
        forced=("hidden_size", "num_heads", "vec_in_dim", "context_in_dim"),
    )


def hunyuan_video(
    arguments: dict[str, Any],
    latent_shape: tuple[int, ...],
    marker: str | None = None,
    batches_since: tuple[int, ...] = (),
    **options: Any,
) -> Family:
    return Family(
        module="comfy.ldm.hunyuan_video.model.HunyuanVideo",
        arguments=arguments,
        latent_shape=latent_shape,
        conditioning=conditioning((1, 8, 64), pooled_output=(1, 768), **options),
        blocks=("double_blocks", "single_blocks"),
        marker=marker,
        batches_since=batches_since,
    )


def wan(arguments: dict[str, Any], latent_shape: tuple[int, ...], **options: Any) -> Family:
    return Family(
        module="comfy.ldm.wan.model.WanModel",
        arguments=WAN | arguments,
        latent_shape=latent_shape,
        conditioning=conditioning((1, 8, 4096), **options),
        blocks=("blocks",),
    )


def vision(**shapes: tuple[int, ...]) -> Callable[[Generator], SimpleNamespace]:
    """What CLIPVisionEncode gives, with these tensors in it."""
    return lambda generator: SimpleNamespace(
        **{name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    )


FAMILIES: dict[str, Family] = {
    "flux_dev": flux({}, guidance=3.5),
    "flux_schnell": flux({"guidance_embed": False}),
    # The reference latents' tokens stand behind the image's own.
    "flux_kontext": flux(
        {},
        guidance=3.5,
        reference_latents=lambda generator: [torch.randn(1, 16, 16, 16, generator=generator)],
    ),
    # 16 latent + 16 image + 64 mask channels (8 x 8 mask pixels each); detection knows it by their number.
    "flux_fill": flux(
        {"in_channels": 96},
        guidance=30.0,
        concat_latent_image=(1, 16, 16, 16),
        concat_mask=lambda generator: torch.rand(1, 1, 128, 128, generator=generator).round(),
    ),
    "sd3": Family(
        module="comfy.ldm.modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper",
        arguments=SD3,
        latent_shape=(1, 16, 16, 16),
        conditioning=conditioning((1, 8, 64), pooled_output=(1, 32)),
        blocks=("joint_blocks",),
    ),
    "hunyuan_video": hunyuan_video(HUNYUAN_VIDEO, (1, 16, 2, 8, 8), guidance=6.0),
    # guiding_frame_index replaces the first frame's tokens: the modulation vector becomes (B, 2, D).
    "hunyuan_video_i2v": hunyuan_video(
        HUNYUAN_VIDEO | {"in_channels": 33},
        (1, 16, 2, 8, 8),
        batches_since=(0, 17),
        guidance=6.0,
        guiding_frame_index=0,
        concat_latent_image=(1, 16, 2, 8, 8),
    ),
    "hunyuan_video15": hunyuan_video(
        HUNYUAN_VIDEO_15,
        (1, 32, 2, 4, 4),
        marker="vision_in_dim",
        conditioning_byt5small=(1, 4, 1472),
        clip_vision_output=vision(last_hidden_state=(1, 5, 1152)),
    ),
    "wan21_t2v": wan({}, (1, 16, 2, 8, 8)),
    "wan21_i2v": wan(
        {"model_type": "i2v", "in_dim": 36},
        (1, 16, 2, 8, 8),
        concat_latent_image=(1, 16, 2, 8, 8),
        clip_vision_output=vision(penultimate_hidden_states=(1, 257, 1280)),
    ),
    "wan22_5b": wan({"in_dim": 48, "out_dim": 48}, (1, 48, 2, 8, 8)),  # told apart by its 48 channels
}


def available(name: str) -> bool:
    """False when this ComfyUI does not know the family."""
    family = FAMILIES[name]
    try:
        cls = _import(family.module)
    except (ModuleNotFoundError, AttributeError):
        return False
    return family.marker is None or family.marker in _parameters(cls)


def takes_batches(name: str) -> bool:
    """False when this ComfyUI's own model fails on two conds or images in one call (cfg above 1, batch 2)."""
    version = tuple(int(part) for part in comfyui_version.split(".")[:3])
    return version >= FAMILIES[name].batches_since


def load(name: str, seed: int = 0, dtype: torch.dtype | None = None) -> ModelPatcher:
    """The tiny model, loaded as UNETLoader loads a checkpoint, with its choice of a dtype for the weights."""
    model_options = {} if dtype is None else {"dtype": dtype}
    with _detection_told(FAMILIES[name]):
        model = comfy.sd.load_diffusion_model_state_dict(state_dict(name, seed), model_options=model_options)
    if model is None:
        raise AssertionError(f"ComfyUI {comfyui_version} did not recognise the tiny {name} checkpoint")
    return model


def sample(
    model: ModelPatcher,
    name: str,
    *,
    steps: int = 4,
    cfg: float = 1.0,
    sampler: str = "euler",
    scheduler: str = "simple",
    seed: int = 0,
    batch: int = 1,
    denoise: float = 1.0,
    latent: Tensor | None = None,
    noise_mask: Tensor | None = None,
    positive: Conditioning | None = None,
    negative: Conditioning | None = None,
    callback: Callable[..., None] | None = None,
) -> Tensor:
    """The sampled latent, as KSampler gives it. Conditionings and latent default to the family's own."""
    latent = empty_latent(name, batch) if latent is None else latent
    default_positive, default_negative = conditionings(name)
    with torch.inference_mode():
        return comfy.sample.sample(
            model,
            comfy.sample.prepare_noise(latent, seed),
            steps,
            cfg,
            sampler,
            scheduler,
            default_positive if positive is None else positive,
            default_negative if negative is None else negative,
            latent,
            denoise=denoise,
            noise_mask=noise_mask,
            callback=callback,
            disable_pbar=True,
            seed=seed,
        )


def conditionings(name: str, seed: int = 1) -> tuple[Conditioning, Conditioning]:
    """A positive and a negative conditioning, always the same ones for the same seed."""
    generator = Generator().manual_seed(seed)
    make = FAMILIES[name].conditioning
    return make(generator), make(generator)


def empty_latent(name: str, batch: int = 1) -> Tensor:
    return torch.zeros(batch, *FAMILIES[name].latent_shape[1:])


def blocks(model: ModelPatcher, name: str) -> dict[tuple[str, int], nn.Module]:
    """The model's transformer blocks by (list name, index), in the order in which they run."""
    lists = {label: getattr(model.model.diffusion_model, label) for label in FAMILIES[name].blocks}
    return {(label, index): block for label, blocks in lists.items() for index, block in enumerate(blocks)}


@contextmanager
def count_blocks(model: ModelPatcher, name: str) -> Iterator[Counter[tuple[str, int]]]:
    """Count how often the body of each block really runs, by (list name, index), while the context is open.

    It counts in the blocks' classes: what stands in for a block's forward without calling it is not counted.
    """
    keys = {block: key for key, block in blocks(model, name).items()}
    executed: Counter[tuple[str, int]] = Counter()

    def counting(original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if self in keys:
                executed[keys[self]] += 1
            return original(self, *args, **kwargs)

        return forward

    with ExitStack() as patches:
        for cls in {type(block) for block in keys}:
            patches.enter_context(mock.patch.object(cls, "forward", counting(cls.forward)))
        yield executed


def state_dict(name: str, seed: int = 0) -> dict[str, Tensor]:
    """A random checkpoint in the key names of the family's files."""
    family = FAMILIES[name]
    module = _import(family.module)(
        dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init, **family.arguments
    )
    generator = Generator().manual_seed(seed)
    # SD3's pos_embed is a buffer too, but an empty one until a checkpoint fills it.
    buffers = {key for key, _ in module.named_buffers() if not key.endswith("pos_embed")}
    return {
        key: tensor.clone() if key in buffers else _random(key, tensor, generator)
        for key, tensor in module.state_dict().items()
    }


def _random(key: str, like: Tensor, generator: Generator) -> Tensor:
    """Random weights of a usual scale, so that activations neither vanish nor grow from block to block."""
    noise = torch.randn(like.shape, generator=generator)
    if key.endswith("pos_embed"):
        return 0.02 * noise
    if like.ndim <= 1:
        is_norm = "norm" in key and key.endswith(("weight", "scale", "gamma"))
        return float(is_norm) + 0.05 * noise
    fan_in = like[0].numel()
    return noise * min(0.5, fan_in**-0.5)


@contextmanager
def _detection_told(family: Family) -> Iterator[None]:
    detect = comfy.model_detection.detect_unet_config

    def detect_and_tell(*args: Any, **kwargs: Any) -> dict[str, Any] | None:
        config = detect(*args, **kwargs)
        return config and config | {name: family.arguments[name] for name in family.forced}

    with mock.patch.object(comfy.model_detection, "detect_unet_config", detect_and_tell):
        yield


def _import(path: str) -> type[nn.Module]:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _parameters(cls: type[nn.Module]) -> set[str]:
    """Names that the constructor takes, its parameter dataclass (FluxParams, HunyuanVideoParams) included."""
    params = getattr(importlib.import_module(cls.__module__), f"{cls.__name__}Params", None)
    return {name for owner in (cls, params) if owner for name in inspect.signature(owner).parameters}
