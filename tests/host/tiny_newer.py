"""Tiny models of the newer picture families, of worlds, and of video with sound."""

from __future__ import annotations

import torch

from tiny_family import WIDTH, Family, attended, conditioning
from tiny_image import OMNIGEN2, Z_IMAGE
from tiny_video import COSMOS_PREDICT2

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


ANIMA_ADAPTER = {"source_dim": 32, "target_dim": 64, "model_dim": 32, "num_layers": 1, "num_heads": 1}
Z_IMAGE_PIXEL = {
    "image_model": "zimage_pixel",
    "patch_size": 8,
    "in_channels": 3,
    "decoder_in_channels": 192,
    "decoder_hidden_size": 32,
    "decoder_num_res_blocks": 1,
    "decoder_max_freqs": 2,
    "time_scale": 1.0,  # a random model of times up to 1000 is too rough for anything
}
IDEOGRAM = {
    "num_attention_heads": 1,
    "attention_head_dim": 128,
    "intermediate_size": 128,
    "adaln_dim": 32,
    "llm_features_dim": 64,
}
PIXELDIT = {
    "num_groups": 1,
    "hidden_size": 64,
    "pixel_attn_hidden_size": 64,
    "pixel_num_groups": 1,
    "patch_depth": 4,
    "pixel_depth": 1,
    "txt_embed_dim": 64,
    "txt_max_length": 16,
}
HIDREAM_O1 = {
    "text_config_overrides": {
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
    },
    "vision_config_overrides": {
        "hidden_size": 32,
        "num_heads": 1,
        "intermediate_size": 32,
        "depth": 1,
    },
}


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
    "anima": Family(
        module="comfy.ldm.anima.model.Anima",
        arguments=COSMOS_PREDICT2,
        latent_shape=(1, 16, 1, 16, 16),
        conditioning=conditioning(
            (1, 8, 32),
            t5xxl_ids=lambda _: torch.arange(6),
            t5xxl_weights=lambda _: torch.ones(6),
        ),
        blocks=("blocks",),
        forced=("num_blocks", "num_heads", "crossattn_emb_channels", "adaln_lora_dim"),
        defaults={"LLMAdapter": ANIMA_ADAPTER},
    ),
    "z_image_pixel": Family(
        module="comfy.ldm.lumina.model.NextDiTPixelSpace",
        arguments=Z_IMAGE | Z_IMAGE_PIXEL | {"cap_feat_dim": 64, "n_layers": 4, "qk_norm": True},
        latent_shape=(1, 3, 64, 64),
        conditioning=conditioning((1, 8, 64)),
        blocks=("layers",),
        forced=(*Z_IMAGE, *Z_IMAGE_PIXEL),
        closeness=0.6,
    ),
    "ideogram4": Family(
        module="comfy.ldm.ideogram4.model.Ideogram4Transformer2DModel",
        arguments=IDEOGRAM | {"in_channels": 128, "num_layers": 4},
        latent_shape=(1, 128, 8, 8),
        conditioning=conditioning((1, 8, 64)),
        blocks=("layers",),
        forced=tuple(IDEOGRAM),
    ),
    # Pixels in place of a latent, and so in the next three.
    "pixeldit": Family(
        module="comfy.ldm.pixeldit.model.PixDiT_T2I",
        arguments=PIXELDIT,
        latent_shape=(1, 3, 64, 64),
        conditioning=conditioning((1, 8, 64)),
        blocks=("patch_blocks",),
        forced=tuple(PIXELDIT),
        prefix="core.",
    ),
    # Decodes a latent to a picture 32 times as wide.
    "pid": Family(
        module="comfy.ldm.pixeldit.pid.PidNet",
        arguments=PIXELDIT | {"lq_hidden_dim": 16, "lq_interval": 2, "lq_num_res_blocks": 1},
        latent_shape=(1, 3, 64, 64),
        conditioning=conditioning(
            (1, 8, 64), lq_latent=(1, 16, 2, 2), degrade_sigma=lambda _: torch.zeros(1)
        ),
        blocks=("patch_blocks",),
        forced=(*PIXELDIT, "lq_interval", "lq_num_res_blocks"),
    ),
    # The number of its time token asks for the whole vocabulary.
    "hidream_o1": Family(
        module="comfy.ldm.hidream_o1.model.HiDreamO1Transformer",
        arguments=HIDREAM_O1,
        latent_shape=(1, 3, 64, 64),
        conditioning=conditioning((1, 8, 64), text_input_ids=lambda _: torch.tensor([[5, 6, 7, 8, 151673]])),
        blocks=("language_model.layers",),
        forced=tuple(HIDREAM_O1),
        is_whole=True,
    ),
}
