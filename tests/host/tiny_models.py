"""Tiny randomly initialised checkpoints of the real model classes; each samples in well under a second.

    model = tiny_models.load("flux_dev")                            # a ComfyUI ModelPatcher
    latent = tiny_models.sample(model, "flux_dev", steps=4, cfg=3.0)
    with tiny_models.count_blocks(model, "flux_dev") as executed:   # {("double_blocks", 0): 4, ...}
        tiny_models.sample(model, "flux_dev")

A family is one entry in FAMILIES, by the tables in tiny_flux_like.py and its like. Its
module is built at a tiny size, its state dict is filled with seeded random numbers, and that goes through
ComfyUI's own loader, detection included. What detection cannot read off the tensors (an older host takes
every Flux to be 3072 wide) is told to it while loading; the rest is stock.

Needs `comfy_host.boot()` first, which conftest.py does.
"""

from __future__ import annotations

import importlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from operator import attrgetter
from types import CodeType, FunctionType
from typing import Any
from unittest import mock

import comfy.model_detection
import comfy.ops
import comfy.sample
import comfy.sd
import comfy.supported_models
import torch
from comfy.model_patcher import ModelPatcher
from comfyui_version import __version__ as comfyui_version
from tiny_sound import SOUND
from tiny_wan import WANS, wan
from torch import Generator, Tensor, nn

import comfy_host
from tiny_family import WIDTH, Conditioning, Family
from tiny_flux_like import FLUX_LIKE, flux
from tiny_image import IMAGE
from tiny_newer import NEWER
from tiny_video import VIDEO

__all__ = ["FAMILIES", "WIDTH", "Conditioning", "Family", "flux", "wan"]

FAMILIES: dict[str, Family] = FLUX_LIKE | WANS | VIDEO | IMAGE | NEWER | SOUND
WHOLE = tuple(name for name, family in FAMILIES.items() if family.is_whole)
VERSION = tuple(int(part) for part in comfyui_version.split(".")[:3])


def available(name: str) -> bool:
    """False when this ComfyUI does not know the family."""
    family = FAMILIES[name]
    try:
        cls = _import(family.module)
    except (ModuleNotFoundError, AttributeError):
        return False
    return family.since <= VERSION and (family.marker is None or family.marker in _parameters(cls))


def takes_rows(name: str, rows: int) -> bool:
    """False when this ComfyUI's own model is not given so many conds and images in one call, or fails."""
    family = FAMILIES[name]
    if name == "flux_kontext" and comfy_host.ON_SECOND_DEVICE and rows > 2:
        return False  # of the 1 GB that ComfyUI takes DirectML for, so many references leave too little
    return rows == 1 or (rows <= family.max_rows and family.batches_since <= VERSION)


def load(name: str, seed: int = 0, dtype: torch.dtype | None = None) -> ModelPatcher:
    """The tiny model, loaded as UNETLoader loads a checkpoint, with its choice of a dtype for the weights."""
    model_options = {} if dtype is None else {"dtype": dtype}
    metadata = FAMILIES[name].metadata
    described = {} if metadata is None else {"metadata": metadata}
    with sizes_told(FAMILIES[name]), unfilled_is_nan():
        model = comfy.sd.load_diffusion_model_state_dict(
            state_dict(name, seed), model_options=model_options, **described
        )
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
    is_first: bool = True,
) -> Tensor:
    """The sampled latent, as KSampler gives it; several of them end to end, (B, N).

    Conditionings and latent default to the family's own. A first run is one that finds nothing of the run
    before on the model, which HiDream-O1 leaves there (docs/host_issues.md).
    """
    if is_first and hasattr(model.model.diffusion_model, "clear_kv_cache"):
        model.model.diffusion_model.clear_kv_cache()
    latent = empty_latent(name, batch) if latent is None else latent
    default_positive, default_negative = conditionings(name)
    with torch.inference_mode():
        sampled = comfy.sample.sample(
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
    return flat(sampled)


def flat(latent: Any) -> Tensor:
    """A latent as it is; several nested ones end to end, (B, N)."""
    if isinstance(latent, Tensor):
        return latent
    return torch.cat([part.flatten(1) for part in latent.unbind()], dim=1)


def conditionings(name: str, seed: int = 1) -> tuple[Conditioning, Conditioning]:
    """A positive and a negative conditioning, always the same ones for the same seed."""
    generator = Generator().manual_seed(seed)
    make = FAMILIES[name].conditioning
    return make(generator), make(generator)


def empty_latent(name: str, batch: int = 1) -> Tensor:
    """A latent of zeros; nested where the family has several."""
    shape = FAMILIES[name].latent_shape
    if isinstance(shape, tuple):
        return torch.zeros(batch, *shape[1:])
    from comfy.nested_tensor import NestedTensor

    return NestedTensor([torch.zeros(batch, *part[1:]) for part in shape])


def blocks(model: ModelPatcher, name: str) -> dict[tuple[str, int], nn.Module]:
    """The model's transformer blocks by (list name, index), in the order in which they run."""
    lists = {label: attrgetter(label)(model.model.diffusion_model) for label in FAMILIES[name].blocks}
    rows = {
        label: blocks.values() if isinstance(blocks, nn.ModuleDict) else blocks
        for label, blocks in lists.items()
    }
    return {(label, index): block for label, row in rows.items() for index, block in enumerate(row)}


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
            entry = FAMILIES[name].entry
            patches.enter_context(mock.patch.object(cls, entry, counting(getattr(cls, entry))))
        yield executed


def state_dict(name: str, seed: int = 0) -> dict[str, Tensor]:
    """A random checkpoint in the key names of the family's files, with no number out of unfilled memory."""
    family = FAMILIES[name]
    cls = _import(family.module)
    arguments = {key: value for key, value in family.arguments.items() if _takes(cls, key)}
    with sizes_told(family), unfilled_is_nan(), torch.random.fork_rng([]):
        torch.manual_seed(seed)  # PixArt draws one of its buffers
        module = cls(dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init, **arguments)
        tensors = module.state_dict(prefix=family.prefix) | family.beside()
    # Buffers hold what their module computes, but some are empty until a checkpoint fills them.
    buffers = {family.prefix + key for key, _ in module.named_buffers()}
    generator = Generator().manual_seed(seed)
    return {
        key: tensor.clone()
        if not tensor.numel() or (key in buffers and not is_unfilled(tensor))
        else _random(key, tensor, generator)
        for key, tensor in tensors.items()
    }


@contextmanager
def unfilled_is_nan() -> Iterator[None]:
    """Meanwhile new memory holds NaN, or the largest integer, in place of what happened to lie there."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)  # which fills what is new, unless told not to
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def is_unfilled(tensor: Tensor) -> bool:
    """Whether some of a tensor is as `unfilled_is_nan` has left it."""
    if tensor.is_floating_point():
        return bool(tensor.isnan().any())
    return tensor.dtype != torch.bool and bool((tensor == torch.iinfo(tensor.dtype).max).any())


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
def sizes_told(family: Family) -> Iterator[None]:
    """Tell detection, the host's settings and parts without arguments how small the model is."""
    detect, module = comfy.model_detection.detect_unet_config, _import(family.module).__module__
    forced = {name: family.arguments[name] for name in family.forced}

    def detect_and_tell(*args: Any, **kwargs: Any) -> dict[str, Any] | None:
        config = detect(*args, **kwargs)
        return config and config | forced

    with ExitStack() as patches:
        patch = mock.patch.object(comfy.model_detection, "detect_unet_config", detect_and_tell)
        patches.enter_context(patch)
        for config in comfy.supported_models.models:
            told = {name: forced[name] for name in config.unet_extra_config.keys() & forced.keys()}
            patches.enter_context(mock.patch.dict(config.unet_extra_config, told))
        for part, sizes in family.defaults.items():
            function = getattr(importlib.import_module(module), part).__init__
            names = inspect.getfullargspec(function).args[-len(function.__defaults__) :]
            values = dict(zip(names, function.__defaults__, strict=True)) | sizes
            patches.enter_context(mock.patch.object(function, "__defaults__", tuple(values.values())))
        for part, numbers in family.constants.items():
            cls = getattr(importlib.import_module(module), part)
            init = cls.__init__
            rest = (init.__globals__, init.__name__, init.__defaults__, init.__closure__)
            told = FunctionType(with_numbers(init.__code__, numbers), *rest)
            patches.enter_context(mock.patch.object(cls, "__init__", told))
        yield


def with_numbers(code: CodeType, numbers: dict[int, int]) -> CodeType:
    """A function's code with other numbers in it, and in what is defined inside of it."""

    def other(constant: object) -> object:
        if isinstance(constant, CodeType):
            return with_numbers(constant, numbers)
        return numbers.get(constant, constant) if type(constant) is int else constant

    return code.replace(co_consts=tuple(map(other, code.co_consts)))


def _import(path: str) -> type[nn.Module]:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _takes(cls: type[nn.Module], key: str) -> bool:
    """Whether a constructor takes an argument; those of an older host lack some."""
    own = inspect.signature(cls.__init__).parameters.values()
    has_params = hasattr(importlib.import_module(cls.__module__), f"{cls.__name__}Params")
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in own)
    return key in _parameters(cls) or (takes_any and not has_params)


def _parameters(cls: type[nn.Module]) -> set[str]:
    """Names that the constructor takes, its parameter dataclass (FluxParams, HunyuanVideoParams) included."""
    params = getattr(importlib.import_module(cls.__module__), f"{cls.__name__}Params", None)
    return {name for owner in (cls, params) if owner for name in inspect.signature(owner).parameters}
