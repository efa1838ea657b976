"""Tiny models of the Wan classes: detection reads sizes off the checkpoint, and the kind off its keys."""

from __future__ import annotations

import json
from typing import Any

import torch

from tiny_family import WIDTH, Family, conditioning, vision

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
VIDEO = (1, 16, 2, 8, 8)
HALF = (1, 16, 2, 4, 4)
CLIP = vision(penultimate_hidden_states=(1, 257, 1280))


def wan(
    arguments: dict[str, Any],
    latent_shape: tuple[int, ...] = VIDEO,
    module: str = "model.WanModel",
    *,
    entry: str = "forward",
    is_whole: bool = False,
    forced: tuple[str, ...] = (),
    kind: dict[str, Any] | None = None,
    **options: Any,
) -> Family:
    """One Wan class; `kind` is what its checkpoint says of itself where the key names do not tell."""
    return Family(
        module=f"comfy.ldm.wan.{module}",
        arguments=WAN | arguments,
        latent_shape=latent_shape,
        conditioning=conditioning((1, 8, 4096), **options),
        blocks=("blocks",),
        forced=forced,
        entry=entry,
        is_whole=is_whole,
        metadata=None if kind is None else {"config": json.dumps({"transformer": kind})},
    )


WANS: dict[str, Family] = {
    "wan21_t2v": wan({}),
    "wan21_i2v": wan(
        {"model_type": "i2v", "in_dim": 36},
        concat_latent_image=VIDEO,
        clip_vision_output=CLIP,
    ),
    # Its control video is 32 channels of the input, its reference picture tokens before the video's.
    "wan21_fun_control": wan(
        {"model_type": "i2v", "in_dim": 48, "in_dim_ref_conv": 16},
        concat_latent_image=(1, 32, 2, 8, 8),
        reference_latents=lambda generator: [torch.randn(1, 16, 1, 8, 8, generator=generator)],
        clip_vision_output=CLIP,
    ),
    "wan22_5b": wan({"in_dim": 48, "out_dim": 48}, (1, 48, 2, 8, 8)),  # told apart by its 48 channels
    # 32 channels of the video to keep or change and 64 of its mask.
    "wan21_vace": wan(
        {"model_type": "vace", "vace_layers": 2, "vace_in_dim": 96}, module="model.VaceWanModel"
    ),
    "wan21_camera": wan(
        {"model_type": "camera", "in_dim": 32},
        module="model.CameraWanModel",
        clip_vision_output=CLIP,
        concat_latent_image=VIDEO,
        camera_conditions=(1, 24, 2, 64, 64),
    ),
    "wan22_s2v": wan(
        {"model_type": "s2v", "audio_inject_layers": [0, 3]},
        module="model.WanModel_S2V",
        forced=("audio_inject_layers",),
        audio_embed=(1, 25, 1024, 8),
    ),
    "wan21_humo": wan(
        {"model_type": "humo", "in_dim": 16},
        module="model.HumoWanModel",
        audio_embed=(1, 2, 8, 5, 1280),
    ),
    "wan22_animate": wan(
        {"model_type": "animate", "in_dim": 36, "num_layers": 5},
        module="model_animate.AnimateWanModel",
        concat_latent_image=VIDEO,
        pose_video_latent=VIDEO,
        clip_vision_output=CLIP,
    ),
    # A reference frame before the video's tokens, and the tokens of a skeleton at half the size behind them.
    "wan21_scail": wan(
        {"model_type": "scail", "in_dim": 20},
        module="model.SCAILWanModel",
        reference_latents=lambda generator: [torch.randn(1, 16, 1, 8, 8, generator=generator)],
        pose_video_latent=HALF,
        clip_vision_output=CLIP,
    ),
    "wan21_scail2": wan(
        {"model_type": "scail2", "in_dim": 20},
        module="model.SCAIL2WanModel",
        reference_latents=lambda generator: [torch.randn(1, 16, 1, 8, 8, generator=generator)],
        pose_video_latent=HALF,
        driving_mask_28ch=(1, 2, 28, 4, 4),
        ref_mask_28ch=(1, 3, 28, 8, 8),
        clip_vision_output=CLIP,
    ),
    "wan22_dancer": wan(
        {"model_type": "wandancer", "in_dim": 36, "audio_inject_layers": [0, 2]},
        module="model_wandancer.WanDancerModel",
        forced=("audio_inject_layers",),
        concat_latent_image=VIDEO,
        clip_vision_output=CLIP,
        audio_embed=(1, 8, 35),
    ),
    "wan21_causal": wan({}, module="ar_model.CausalWanModel", kind={"causal_ar": True}),
    # One frame more than the pose video: the reference picture's.
    "wan_animate2": wan(
        {"model_type": "animate2", "in_dim": 36},
        (1, 16, 3, 8, 8),
        "model_animate2.WanAnimate2Model",
        entry="forward_gen",
        is_whole=True,
        kind={"model_type": "animate2"},
        concat_latent_image=(1, 16, 3, 8, 8),
        clip_vision_output=CLIP,
        pose_video_latent=VIDEO,
    ),
}
