"""Tiny models of the picture families with blocks of their own."""

from __future__ import annotations

from typing import Any

import torch

from tiny_family import WIDTH, Family, attended, conditioning

QWEN = {"num_attention_heads": 1, "joint_attention_dim": 64}

LUMINA2 = {
    "dim": 96,
    "n_heads": 1,
    "n_kv_heads": 1,
    "axes_dims": [32, 32, 32],
    "rope_theta": 10000.0,
    "ffn_dim_multiplier": 4.0,
    "multiple_of": 32,
}
Z_IMAGE = {
    "dim": 256,
    "n_heads": 2,
    "n_kv_heads": 2,
    "axes_dims": [32, 48, 48],
    "rope_theta": 256.0,
    "ffn_dim_multiplier": 8.0 / 3.0,
    "multiple_of": 32,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}

HIDREAM = {
    "num_layers": 2,
    "num_single_layers": 3,
    "num_attention_heads": 1,
    "caption_channels": [64, 64],
    "text_emb_dim": 32,
    "num_routed_experts": 2,
    "num_activated_experts": 1,
    "llama_layers": [0, 1, 2, 2, 2],
}
HUNYUAN_DIT = {
    "hidden_size": 64,
    "num_heads": 2,
    "text_states_dim": 64,
    "text_states_dim_t5": 64,
    "text_len": 8,
    "text_len_t5": 16,
    "attn_precision": torch.float32,
}
PIXART = {"num_heads": 2, "hidden_size": 64, "depth": 4, "micro_condition": False}
OMNIGEN2 = {
    "hidden_size": 120,
    "num_layers": 3,
    "num_refiner_layers": 1,
    "num_attention_heads": 1,
    "num_kv_heads": 1,
    "multiple_of": 32,
    "text_feat_dim": 64,
}
ERNIE = {
    "hidden_size": WIDTH,
    "num_attention_heads": 1,
    "num_layers": 4,
    "ffn_hidden_size": 128,
    "text_in_dim": 64,
}


def qwen_image(**options: Any) -> Family:
    return Family(
        module="comfy.ldm.qwen_image.model.QwenImageTransformer2DModel",
        arguments=QWEN
        | {
            "patch_size": 2,
            "in_channels": 64,
            "out_channels": 16,
            "num_layers": 4,
            "attention_head_dim": 128,
            "pooled_projection_dim": 768,
            "axes_dims_rope": (16, 56, 56),
        },
        latent_shape=(1, 16, 1, 16, 16),
        conditioning=conditioning((1, 8, 64), **options),
        blocks=("transformer_blocks",),
        forced=tuple(QWEN),
    )


def lumina(arguments: dict[str, Any], marker: str | None = None, **options: Any) -> Family:
    return Family(
        module="comfy.ldm.lumina.model.NextDiT",
        arguments=arguments
        | {
            "patch_size": 2,
            "in_channels": 16,
            "cap_feat_dim": 64,
            "n_layers": 4,
            "qk_norm": True,
            "axes_lens": [300, 512, 512],
        },
        latent_shape=(1, 16, 16, 16),
        conditioning=conditioning((1, 8, 64), **options),
        blocks=("layers",),
        forced=tuple(arguments),
        marker=marker,
        closeness=0.4,
    )


IMAGE: dict[str, Family] = {
    "qwen_image": qwen_image(),
    # The reference latents' tokens stand behind the image's own.
    "qwen_image_edit": qwen_image(
        reference_latents=lambda generator: [torch.randn(1, 16, 1, 16, 16, generator=generator)]
    ),
    "lumina2": lumina(LUMINA2, attention_mask=attended(8)),
    "z_image": lumina(Z_IMAGE, marker="z_image_modulation"),
    "hidream": Family(
        module="comfy.ldm.hidream.model.HiDreamImageTransformer2DModel",
        arguments=HIDREAM
        | {
            "patch_size": 2,
            "in_channels": 16,
            "out_channels": 16,
            "attention_head_dim": 128,
            "axes_dims_rope": [64, 32, 32],
            "max_resolution": [128, 128],
        },
        latent_shape=(1, 16, 16, 16),
        conditioning=conditioning((1, 8, 64), pooled_output=(1, 32), conditioning_llama3=(1, 3, 8, 64)),
        blocks=("double_stream_blocks", "single_stream_blocks"),
        forced=tuple(HIDREAM),
    ),
    "hunyuan_dit": Family(
        module="comfy.ldm.hydit.models.HunYuanDiT",
        arguments=HUNYUAN_DIT | {"depth": 6, "size_cond": False, "use_style_cond": False},
        latent_shape=(1, 4, 16, 16),
        conditioning=conditioning(
            (1, 8, 64),
            attention_mask=attended(8),
            conditioning_mt5xl=(1, 16, 64),
            attention_mask_mt5xl=attended(16),
        ),
        blocks=("blocks",),
        forced=tuple(HUNYUAN_DIT),
        closeness=0.3,
    ),
    # A side of the latent must be longer than 32.
    "pixart_sigma": Family(
        module="comfy.ldm.pixart.pixartms.PixArtMS",
        arguments=PIXART
        | {
            "patch_size": 2,
            "in_channels": 4,
            "input_size": 64,
            "pe_interpolation": 1,
            "model_max_length": 16,
        },
        latent_shape=(1, 4, 40, 40),
        conditioning=conditioning((1, 16, 4096)),
        blocks=("blocks",),
        forced=tuple(PIXART),
        closeness=0.3,
    ),
    "omnigen2": Family(
        module="comfy.ldm.omnigen.omnigen2.OmniGen2Transformer2DModel",
        arguments=OMNIGEN2
        | {
            "patch_size": 2,
            "in_channels": 16,
            "ffn_dim_multiplier": None,
            "norm_eps": 1e-5,
            "axes_dim_rope": [40, 40, 40],
            "axes_lens": [1024, 1664, 1664],
            "timestep_scale": 1000.0,
        },
        latent_shape=(1, 16, 16, 16),
        conditioning=conditioning((1, 8, 64), attention_mask=attended(8)),
        blocks=("layers",),
        forced=tuple(OMNIGEN2),
    ),
    # 20 heads of text fusion are the architecture's own.
    "krea2": Family(
        module="comfy.ldm.krea2.model.SingleStreamDiT",
        arguments={
            "features": WIDTH,
            "tdim": 256,
            "txtdim": 640,
            "heads": 1,
            "kvheads": 1,
            "multiplier": 4,
            "layers": 4,
            "patch": 2,
            "channels": 16,
            "txtlayers": 2,
            "txtheads": 20,
            "txtkvheads": 20,
        },
        latent_shape=(1, 16, 1, 16, 16),
        conditioning=conditioning((1, 8, 1280)),
        blocks=("blocks",),
        closeness=0.6,
    ),
    "ernie_image": Family(
        module="comfy.ldm.ernie.model.ErnieImageModel",
        arguments=ERNIE | {"in_channels": 128, "out_channels": 128},
        latent_shape=(1, 128, 8, 8),
        conditioning=conditioning((1, 8, 64)),
        blocks=("layers",),
        forced=tuple(ERNIE),
    ),
}
