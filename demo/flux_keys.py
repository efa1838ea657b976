"""Names of a Flux's weights: BFL's, which ComfyUI reads, and diffusers'.

The weights are the same numbers under other names, except that
  - BFL keeps query, key and value (in a single block also the MLP's first matrix) in one tensor, by rows;
  - diffusers' last modulation stores (scale, shift) where BFL stores (shift, scale).
diffusers has a converter of its own (loaders/single_file_utils.py), but it writes FLUX.1's width of 3072 into
the split of the single blocks, and it goes one way only.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

# BFL name -> diffusers names, whose tensors stacked by rows are the BFL tensor. "{i}" is the block's index;
# every name stands for its .weight and its .bias, except the RMS norms at the end.
_DOUBLE = "double_blocks.{i}."
_TRANSFORMER = "transformer_blocks.{i}."
_SINGLE = "single_blocks.{i}."
_SINGLE_TRANSFORMER = "single_transformer_blocks.{i}."
_LAYERS: dict[str, tuple[str, ...]] = {
    "img_in": ("x_embedder",),
    "txt_in": ("context_embedder",),
    "time_in.in_layer": ("time_text_embed.timestep_embedder.linear_1",),
    "time_in.out_layer": ("time_text_embed.timestep_embedder.linear_2",),
    "vector_in.in_layer": ("time_text_embed.text_embedder.linear_1",),
    "vector_in.out_layer": ("time_text_embed.text_embedder.linear_2",),
    "guidance_in.in_layer": ("time_text_embed.guidance_embedder.linear_1",),
    "guidance_in.out_layer": ("time_text_embed.guidance_embedder.linear_2",),
    "final_layer.adaLN_modulation.1": ("norm_out.linear",),
    "final_layer.linear": ("proj_out",),
    _DOUBLE + "img_mod.lin": (_TRANSFORMER + "norm1.linear",),
    _DOUBLE + "txt_mod.lin": (_TRANSFORMER + "norm1_context.linear",),
    _DOUBLE + "img_attn.qkv": tuple(_TRANSFORMER + f"attn.to_{part}" for part in "qkv"),
    _DOUBLE + "txt_attn.qkv": tuple(_TRANSFORMER + f"attn.add_{part}_proj" for part in "qkv"),
    _DOUBLE + "img_attn.proj": (_TRANSFORMER + "attn.to_out.0",),
    _DOUBLE + "txt_attn.proj": (_TRANSFORMER + "attn.to_add_out",),
    _DOUBLE + "img_mlp.0": (_TRANSFORMER + "ff.net.0.proj",),
    _DOUBLE + "img_mlp.2": (_TRANSFORMER + "ff.net.2",),
    _DOUBLE + "txt_mlp.0": (_TRANSFORMER + "ff_context.net.0.proj",),
    _DOUBLE + "txt_mlp.2": (_TRANSFORMER + "ff_context.net.2",),
    _SINGLE + "modulation.lin": (_SINGLE_TRANSFORMER + "norm.linear",),
    _SINGLE + "linear1": (
        *(_SINGLE_TRANSFORMER + f"attn.to_{part}" for part in "qkv"),
        _SINGLE_TRANSFORMER + "proj_mlp",
    ),
    _SINGLE + "linear2": (_SINGLE_TRANSFORMER + "proj_out",),
}
_NORMS: dict[str, str] = {
    _DOUBLE + "img_attn.norm.query_norm.scale": _TRANSFORMER + "attn.norm_q.weight",
    _DOUBLE + "img_attn.norm.key_norm.scale": _TRANSFORMER + "attn.norm_k.weight",
    _DOUBLE + "txt_attn.norm.query_norm.scale": _TRANSFORMER + "attn.norm_added_q.weight",
    _DOUBLE + "txt_attn.norm.key_norm.scale": _TRANSFORMER + "attn.norm_added_k.weight",
    _SINGLE + "norm.query_norm.scale": _SINGLE_TRANSFORMER + "attn.norm_q.weight",
    _SINGLE + "norm.key_norm.scale": _SINGLE_TRANSFORMER + "attn.norm_k.weight",
}


def _table() -> dict[str, tuple[str, ...]]:
    """Full BFL key pattern -> diffusers key patterns."""
    table: dict[str, tuple[str, ...]] = {bfl: (name,) for bfl, name in _NORMS.items()}
    for bfl, names in _LAYERS.items():
        for kind in ("weight", "bias"):
            table[f"{bfl}.{kind}"] = tuple(f"{name}.{kind}" for name in names)
    return table


_TABLE = _table()
_FIRST_TO_BFL = {names[0]: bfl for bfl, names in _TABLE.items()}
_REST = {name for names in _TABLE.values() for name in names[1:]}


def bfl_to_diffusers(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """A Flux state dict in BFL's names -> the same in the names of diffusers' FluxTransformer2DModel.

    The dtype is kept; tensors may be views of the given ones.
    """
    converted: dict[str, Tensor] = {}
    for key, tensor in state_dict.items():
        pattern, index = _pattern(key)
        if pattern not in _TABLE:
            raise KeyError(f"{key!r} is no key of a BFL-named Flux; known are e.g. {list(_TABLE)[:3]}.")
        names = [name.format(i=index) for name in _TABLE[pattern]]
        converted.update(zip(names, _parts(pattern, tensor), strict=True))
    return converted


def diffusers_to_bfl(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `bfl_to_diffusers`."""
    converted: dict[str, Tensor] = {}
    for key in state_dict:
        pattern, index = _pattern(key)
        if pattern in _REST:
            continue
        if pattern not in _FIRST_TO_BFL:
            known = list(_FIRST_TO_BFL)[:3]
            raise KeyError(f"{key!r} is no key of a diffusers Flux; known are e.g. {known}.")
        bfl = _FIRST_TO_BFL[pattern]
        parts = [state_dict[name.format(i=index)] for name in _TABLE[bfl]]
        if pattern.startswith("norm_out."):
            parts = list(reversed(parts[0].chunk(2)))
        converted[bfl.format(i=index)] = torch.cat(parts) if len(parts) > 1 else parts[0]
    return converted


def _pattern(key: str) -> tuple[str, str]:
    """ "double_blocks.3.img_mod.lin.bias" -> ("double_blocks.{i}.img_mod.lin.bias", "3")."""
    match = re.match(r"((?:double|single|transformer|single_transformer)_blocks)\.(\d+)\.(.*)", key)
    return (f"{match[1]}.{{i}}.{match[3]}", match[2]) if match else (key, "")


def _parts(pattern: str, tensor: Tensor) -> list[Tensor]:
    """A BFL tensor cut by rows into diffusers' ones."""
    if pattern.startswith("final_layer.adaLN"):
        shift, scale = tensor.chunk(2)
        return [torch.cat([scale, shift])]
    if ".linear1." in pattern:
        # rows are 3 widths of q, k, v and mlp_ratio (4) of the MLP
        width = tensor.shape[0] // 7
        return list(tensor.split([width, width, width, tensor.shape[0] - 3 * width]))
    return list(tensor.chunk(len(_TABLE[pattern])))
