"""Tiny models of the newer picture families, and of music, shapes and worlds."""

from __future__ import annotations

from typing import Any

import torch

from tiny_family import WIDTH, Family, attended, conditioning
from tiny_image import OMNIGEN2
from tiny_video import WAN

BOOGU = {name: value for name, value in OMNIGEN2.items() if name not in ("num_layers", "text_feat_dim")}
JOYIMAGE = {"hidden_size": WIDTH, "num_attention_heads": 1, "text_dim": 64}
COSMOS = {
    "num_blocks": 4,
    "num_heads": 1,
    "crossattn_emb_channels": 64,
    "adaln_lora_dim": 16,
    "extra_per_block_abs_pos_emb": True,
    "extra_per_block_abs_pos_emb_type": "learnable",
    "rope_h_extrapolation_ratio": 1.0,
    "rope_w_extrapolation_ratio": 1.0,
    "rope_t_extrapolation_ratio": 2.0,
}
ACE = {
    "attention_head_dim": 32,
    "inner_dim": 64,
    "num_attention_heads": 2,
    "num_layers": 4,
    "text_embedding_dim": 64,
    "lyric_hidden_size": 1024,
    "lyric_encoder_vocab_size": 100,
    "max_position": 1024,
    "max_width": 1024,
    "ssl_encoder_depths": [2],
    "ssl_latent_dims": [32],
    "ssl_names": ["mert"],
}


def wan_like(module: str, arguments: dict[str, Any], is_slow: bool = False, **options: Any) -> Family:
    return Family(
        module=f"comfy.ldm.wan.{module}",
        arguments=WAN | arguments,
        latent_shape=(1, 16, 2, 8, 8),
        conditioning=conditioning((1, 8, 4096), **options),
        blocks=("blocks",),
        is_slow=is_slow,
    )


NEWER: dict[str, Family] = {
    "mage_flow": Family(
        module="comfy.ldm.mage_flow.model.MageFlowTransformer2DModel",
        arguments={"in_channels": 128, "num_layers": 4, "num_attention_heads": 1},
        latent_shape=(1, 128, 8, 8),
        conditioning=conditioning((1, 8, 2560)),
        blocks=("transformer_blocks",),
        forced=("num_attention_heads",),
    ),
    "lens": Family(
        module="comfy.ldm.lens.model.LensTransformer2DModel",
        arguments={
            "in_channels": 128,
            "out_channels": 32,
            "num_layers": 4,
            "num_attention_heads": 2,
            "enc_hidden_dim": 64,
            "multi_layer_encoder_feature": False,
            "selected_layer_index": (0,),
        },
        latent_shape=(1, 128, 8, 8),
        conditioning=conditioning((1, 8, 64), attention_mask=attended(8)),
        blocks=("transformer_blocks",),
    ),
    "joyimage": Family(
        module="comfy.ldm.joyimage.model.JoyImageTransformer3DModel",
        arguments=JOYIMAGE | {"num_layers": 4, "in_channels": 16, "out_channels": 16},
        latent_shape=(1, 16, 1, 16, 16),
        conditioning=conditioning((1, 8, 64)),
        blocks=("double_blocks",),
        forced=tuple(JOYIMAGE),
    ),
    "boogu": Family(
        module="comfy.ldm.boogu.model.BooguTransformer2DModel",
        arguments=BOOGU
        | {"num_layers": 3, "num_double_stream_layers": 2, "instruction_feat_dim": 64, "in_channels": 16},
        latent_shape=(1, 16, 16, 16),
        conditioning=conditioning((1, 8, 64), attention_mask=attended(8)),
        blocks=("double_stream_layers", "single_stream_layers"),
        forced=tuple(BOOGU),
    ),
    "cosmos1": Family(
        module="comfy.ldm.cosmos.model.GeneralDIT",
        arguments=COSMOS
        | {
            "max_img_h": 240,
            "max_img_w": 240,
            "max_frames": 128,
            "in_channels": 16,
            "out_channels": 16,
            "patch_spatial": 2,
            "patch_temporal": 1,
            "model_channels": WIDTH,
            "block_config": "FA-CA-MLP",
            "concat_padding_mask": True,
            "pos_emb_cls": "rope3d",
            "pos_emb_learnable": False,
            "pos_emb_interpolation": "crop",
            "block_x_format": "THWBD",
            "affline_emb_norm": True,
            "use_adaln_lora": True,
        },
        latent_shape=(1, 16, 2, 8, 8),
        conditioning=conditioning((1, 8, 64)),
        blocks=("blocks",),
        forced=tuple(COSMOS),
    ),
    "wan22_s2v": wan_like(
        "model.WanModel_S2V",
        {"model_type": "s2v", "num_layers": 4, "audio_inject_layers": [0, 3]},
        audio_embed=(1, 25, 1024, 8),
    ),
    "wan21_humo": wan_like(
        "model.HumoWanModel",
        {"model_type": "humo", "in_dim": 16},
        is_slow=True,
        audio_embed=(1, 2, 8, 5, 1280),
    ),
    "wan22_animate": wan_like(
        "model_animate.AnimateWanModel",
        {"model_type": "animate", "in_dim": 36, "num_layers": 5},
        is_slow=True,
    ),
    "ace_step": Family(
        module="comfy.ldm.ace.model.ACEStepTransformer2DModel",
        arguments=ACE
        | {
            "in_channels": 8,
            "out_channels": 8,
            "max_height": 16,
            "mlp_ratio": 2.5,
            "patch_size": [16, 1],
            "rope_theta": 1000000.0,
            "speaker_embedding_dim": 512,
        },
        latent_shape=(1, 8, 16, 24),
        conditioning=conditioning(
            (1, 8, 64), conditioning_lyrics=lambda _: torch.ones(1, 6, dtype=torch.long)
        ),
        blocks=("transformer_blocks",),
        forced=tuple(ACE),
        is_slow=True,
    ),
    "hunyuan3d": Family(
        module="comfy.ldm.hunyuan3d.model.Hunyuan3Dv2",
        arguments={
            "in_channels": 64,
            "context_in_dim": 64,
            "hidden_size": 128,
            "num_heads": 16,
            "depth": 2,
            "depth_single_blocks": 3,
        },
        latent_shape=(1, 64, 32),
        conditioning=conditioning((1, 8, 64)),
        blocks=("double_blocks", "single_blocks"),
    ),
    "hunyuan3d21": Family(
        module="comfy.ldm.hunyuan3dv2_1.hunyuandit.HunYuanDiTPlain",
        arguments={
            "in_channels": 64,
            "hidden_size": 128,
            "context_dim": 1024,
            "depth": 5,
            "num_moe_layers": 1,
            "guidance_cond_proj_dim": None,
        },
        latent_shape=(1, 64, 32),
        conditioning=conditioning((1, 8, 1024)),
        blocks=("blocks",),
        forced=("num_moe_layers",),
        since=(0, 33),
        is_whole=True,
    ),
    "minimax_h3": Family(
        module="comfy.ldm.minimax.model.MiniMaxH3Model",
        arguments={
            "hidden_size": 128,
            "num_layers": 4,
            "token_refiner_num_layers": 1,
            "num_attention_heads": 1,
            "attention_head_dim": 128,
            "ffn_hidden_size": 128,
            "text_dim": 64,
            "timestep_input_dim": 64,
            "time_embed_hidden_size": 64,
            "time_embed_dim": 64,
        },
        latent_shape=[(1, 24, 2, 8, 8), (1, 32, 2, 4)],
        conditioning=conditioning((1, 8, 64)),
        blocks=("blocks",),
        max_rows=1,
    ),
}
