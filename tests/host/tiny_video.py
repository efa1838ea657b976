"""Tiny models of the video families but Wan, and what shares their classes."""

from __future__ import annotations

import json
from typing import Any

import torch

from tiny_family import WIDTH, Family, attended, conditioning, vision

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

SEEDVR2 = {"vid_dim": 64, "heads": 1, "num_layers": 4, "mm_layers": 2}

LTX = {
    "in_channels": 128,
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 4,
    "num_attention_heads": 32,
    "num_layers": 4,
}
LTX_AV = LTX | {
    "audio_in_channels": 128,
    "audio_cross_attention_dim": 64,
    "audio_attention_head_dim": 2,
    "audio_num_attention_heads": 32,
    "caption_channels": 128,
    "num_layers": 3,
    "connector_num_attention_heads": 1,
    "connector_attention_head_dim": 128,
    "audio_connector_num_attention_heads": 1,
    "audio_connector_attention_head_dim": 128,
    "connector_num_layers": 1,
}

MOCHI = {
    "depth": 3,
    "num_heads": 2,
    "hidden_size_x": 64,
    "hidden_size_y": 32,
    "mlp_ratio_x": 192.0,  # a block asserts that the width times this is 12288
    "t5_feat_dim": 64,
    "t5_token_length": 8,
}
COSMOS_PREDICT2 = {
    "num_blocks": 4,
    "num_heads": 1,
    "crossattn_emb_channels": 64,
    "adaln_lora_dim": 16,
    "max_img_h": 240,
    "max_img_w": 240,
    "max_frames": 128,
    "in_channels": 16,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "model_channels": WIDTH,
    "concat_padding_mask": True,
    "pos_emb_cls": "rope3d",
    "pos_emb_learnable": True,
    "pos_emb_interpolation": "crop",
    "use_adaln_lora": True,
    "extra_per_block_abs_pos_emb": False,
    "rope_h_extrapolation_ratio": 4.0,
    "rope_w_extrapolation_ratio": 4.0,
    "rope_t_extrapolation_ratio": 1.0,
    "rope_enable_fps_modulation": False,
}


def hunyuan_video(
    arguments: dict[str, Any],
    latent_shape: tuple[int, ...],
    marker: str | None = None,
    batches_since: tuple[int, ...] = (),
    max_rows: int = 1000,
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
        max_rows=max_rows,
    )


VIDEO: dict[str, Family] = {
    "hunyuan_video": hunyuan_video(HUNYUAN_VIDEO, (1, 16, 2, 8, 8), guidance=6.0),
    # guiding_frame_index replaces the first frame's tokens: the modulation vector becomes (B, 2, D).
    "hunyuan_video_i2v": hunyuan_video(
        HUNYUAN_VIDEO | {"in_channels": 33},
        (1, 16, 2, 8, 8),
        batches_since=(0, 17),
        max_rows=2,  # guidance (B, D) is added to the vector (B, 2, D): right for 1 or 2 rows only
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
    "hunyuan_image21": Family(
        module="comfy.ldm.hunyuan_video.model.HunyuanVideo",
        arguments=HUNYUAN_VIDEO
        | {
            "in_channels": 64,
            "out_channels": 64,
            "vec_in_dim": None,
            "patch_size": [1, 1],
            "axes_dim": [64, 64],
            "guidance_embed": False,
        },
        latent_shape=(1, 64, 8, 8),
        conditioning=conditioning((1, 8, 64)),
        blocks=("double_blocks", "single_blocks"),
        marker="meanflow",
    ),
    "ltxv": Family(
        module="comfy.ldm.lightricks.model.LTXVModel",
        arguments=LTX | {"caption_channels": 4096},
        latent_shape=(1, 128, 3, 4, 4),
        conditioning=conditioning((1, 8, 4096), attention_mask=attended(8), frame_rate=25),
        blocks=("transformer_blocks",),
    ),
    "ltxav": Family(
        module="comfy.ldm.lightricks.av_model.LTXAVModel",
        arguments=LTX_AV,
        latent_shape=[(1, 128, 3, 4, 4), (1, 8, 4, 16)],
        conditioning=conditioning((1, 8, 256), frame_rate=25),
        blocks=("transformer_blocks",),
        metadata={"config": json.dumps({"transformer": LTX_AV})},
    ),
    "mochi": Family(
        module="comfy.ldm.genmo.joint_model.asymm_models_joint.AsymmDiTJoint",
        arguments=MOCHI
        | {
            "patch_size": 2,
            "mlp_ratio_y": 4.0,
            "learn_sigma": False,
            "in_channels": 12,
            "qk_norm": True,
            "qkv_bias": False,
            "out_bias": True,
            "attn_drop": 0.0,
            "patch_embed_bias": True,
            "posenc_preserve_area": True,
            "timestep_mlp_bias": True,
            "attend_to_padding": False,
            "timestep_scale": 1000.0,
            "use_t5": True,
            "rope_theta": 10000.0,
        },
        latent_shape=(1, 12, 2, 8, 8),
        conditioning=conditioning((1, 8, 64), attention_mask=attended(8)),
        blocks=("blocks",),
        forced=tuple(MOCHI),
    ),
    "cosmos_predict2": Family(
        module="comfy.ldm.cosmos.predict2.MiniTrainDIT",
        arguments=COSMOS_PREDICT2,
        latent_shape=(1, 16, 1, 16, 16),
        conditioning=conditioning((1, 8, 64)),
        blocks=("blocks",),
        forced=("num_blocks", "num_heads", "crossattn_emb_channels", "adaln_lora_dim"),
    ),
    "cogvideox": Family(
        module="comfy.ldm.cogvideo.model.CogVideoXTransformer3DModel",
        arguments={
            "num_attention_heads": 1,
            "attention_head_dim": 64,
            "in_channels": 16,
            "out_channels": 16,
            "time_embed_dim": 32,
            "text_embed_dim": 64,
            "num_layers": 4,
            "patch_size": 2,
            "use_rotary_positional_embeddings": True,
        },
        latent_shape=(1, 16, 2, 8, 8),
        conditioning=conditioning((1, 8, 64)),
        blocks=("blocks",),
    ),
    "kandinsky5": Family(
        module="comfy.ldm.kandinsky5.model.Kandinsky5",
        arguments={
            "in_visual_dim": 16,
            "in_text_dim": 3584,
            "in_text_dim2": 768,
            "time_dim": 32,
            "model_dim": 64,
            "ff_dim": 128,
            "visual_embed_dim": 132,
            "patch_size": (1, 2, 2),
            "num_text_blocks": 1,
            "num_visual_blocks": 4,
            "axes_dims": (16, 24, 24),
        },
        latent_shape=(1, 16, 2, 8, 8),
        conditioning=conditioning((1, 8, 3584), pooled_output=(1, 768)),
        blocks=("visual_transformer_blocks",),
        closeness=0.4,
    ),
    # Detection knows it by the 32nd of its blocks, here all that there is of that one. The video to restore
    # is the same for both conditionings.
    "seedvr2": Family(
        module="comfy.ldm.seedvr.model.NaDiT",
        arguments=SEEDVR2 | {"norm_eps": 1e-5, "mlp_type": "swiglu", "vid_out_norm": True},
        latent_shape=(1, 16, 2, 4, 4),
        conditioning=conditioning((1, 8, 5120), condition=lambda _: 0.1 * torch.ones(1, 17, 2, 4, 4)),
        blocks=("blocks",),
        forced=tuple(SEEDVR2),
        is_whole=True,
        beside=lambda: {"blocks.31.mlp.all.proj_in_gate.weight": torch.zeros(1)},
    ),
}
