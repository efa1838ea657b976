"""Tiny models that make music, sounds and shapes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tiny_family import WIDTH, Family, conditioning

ACE = {
    "attention_head_dim": 32,
    "inner_dim": 64,
    "num_attention_heads": 2,
    "num_layers": 4,
    "text_embedding_dim": 64,
    "lyric_hidden_size": 64,
    "lyric_encoder_vocab_size": 100,
    "max_position": 1024,
    "max_width": 1024,
    "ssl_encoder_depths": [2],
    "ssl_latent_dims": [32],
    "ssl_names": ["mert"],
}
ACE_15 = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_heads": 1,
    "num_kv_heads": 1,
    "num_dit_layers": 4,
    "text_hidden_dim": 64,
    "num_lyric_layers": 1,
    "num_timbre_layers": 1,
    "num_tokenizer_layers": 1,
    "fsq_dim": 32,
    "encoder_hidden_size": 32,
    "encoder_intermediate_size": 32,
    "encoder_num_heads": 1,
}
STABLE_AUDIO = {"embed_dim": WIDTH, "depth": 4, "num_heads": 2, "project_cond_tokens": True}
TRELLIS = {"model_channels": 64, "cond_channels": 32, "num_blocks": 4, "num_heads": 1, "mlp_ratio": 2.0}
TRIPOSPLAT = {
    "q_token_length": 64,
    "model_channels": 64,
    "cond_channels": 32,
    "num_blocks": 4,
    "num_refiner_blocks": 1,
    "cond2_channels": None,
}


def voxels(count: int) -> Tensor:
    """(count, 4) places of voxels, behind the number of their shape in the batch."""
    places = torch.randperm(32**3, generator=torch.Generator().manual_seed(0))[:count].int()
    return torch.stack([0 * places, places // 1024, places // 32 % 32, places % 32], dim=1)


def seconds(*names: str, **features: str) -> Callable[[], dict[str, Tensor]]:
    """Weights of the embedders of start and length, which are no part of the diffusion model."""

    def make() -> dict[str, Tensor]:
        from comfy.ldm.audio.embedders import NumberConditioner

        weights = NumberConditioner(768, **features).state_dict()
        return {f"conditioner.conditioners.{name}.{key}": weights[key] for name in names for key in weights}

    return make


SOUND: dict[str, Family] = {
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
        defaults={
            "LyricEncoder": {"output_size": 64, "attention_heads": 2, "linear_units": 64, "num_blocks": 1}
        },
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
    "ace_step15": Family(
        module="comfy.ldm.ace.ace_step15.AceStepConditionGenerationModel",
        arguments=ACE_15,
        latent_shape=(1, 64, 24),
        conditioning=conditioning((1, 8, 64), conditioning_lyrics=(1, 6, 64)),
        blocks=("decoder.layers",),
        forced=tuple(ACE_15),
        closeness=0.3,
    ),
    "stable_audio": Family(
        module="comfy.ldm.audio.dit.AudioDiffusionTransformer",
        arguments=STABLE_AUDIO,
        latent_shape=(1, 64, 32),
        conditioning=conditioning((1, 8, 768)),
        blocks=("transformer.layers",),
        forced=tuple(STABLE_AUDIO),
        closeness=1.0,  # ten steps from level 500 to 0.08 are far apart
        beside=seconds("seconds_start", "seconds_total"),
    ),
    # Memory tokens before the sound's, and the mask and sound to keep added in each block.
    "stable_audio3": Family(
        module="comfy.ldm.audio.dit.AudioDiffusionTransformer",
        arguments=STABLE_AUDIO
        | {
            "io_channels": 32,
            "global_cond_dim": 768,
            "global_cond_type": "adaLN",
            "global_cond_shared_embed": True,
            "timestep_features_type": "expo",
            "local_add_cond_dim": 33,
            "num_memory_tokens": 4,
        },
        latent_shape=(1, 32, 32),
        conditioning=conditioning((1, 8, 768)),
        blocks=("transformer.layers",),
        forced=("num_heads",),
        since=(0, 33),
        beside=seconds("seconds_total", fourier_features_type="expo"),
    ),
    # All its sizes are numbers in its code.
    "minimax_music3": Family(
        module="comfy.ldm.minimax_music.dit.MiniMaxMusic3DiT",
        arguments={},
        latent_shape=(1, 128, 32),
        conditioning=conditioning((1, 12, 8 * 4096), conditioning_scale=lambda _: torch.ones(1, 1, 1)),
        blocks=("diffusion_transformer.transformer.layers",),
        is_whole=True,
        constants={
            "MiniMaxMusic3DiT": {2048: 64},
            "DiffusionTransformer": {2304: 320, 2048: 64},
            "ContinuousTransformer": {2304: 320, 2048: 64, 8192: 64, 36: 4},
        },
    ),
    # The stage that gives shape to voxels, of which there are 40.
    "trellis2": Family(
        module="comfy.ldm.trellis2.model.Trellis2",
        arguments=TRELLIS | {"resolution": 64, "init_txt_model": True},
        latent_shape=(1, 32, 40, 1),
        conditioning=conditioning(
            (1, 8, 32),
            embeds=(1, 8, 32),
            trellis2_generation_mode="shape_generation",
            trellis2_coords=lambda _: voxels(40),
            trellis2_coord_counts=lambda _: torch.tensor([40]),
        ),
        blocks=("img2shape.blocks",),
        forced=tuple(TRELLIS),
        is_whole=True,
    ),
    # The latent's tokens, the picture's, and the camera's one in a single sequence.
    "triposplat": Family(
        module="comfy.ldm.triposplat.model.LatentSeqMMFlowModel",
        arguments=TRIPOSPLAT,
        latent_shape=[(1, 64, 16), (1, 1, 5)],
        conditioning=conditioning((1, 8, 32)),
        blocks=("blocks",),
        forced=tuple(TRIPOSPLAT),
    ),
}
