"""Tiny models with double and single stream blocks, or the joint blocks of SD3: pictures."""

from __future__ import annotations

from typing import Any

import torch

from tiny_family import WIDTH, Family, conditioning

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

CHROMA = {
    name: FLUX[name] for name in ("mlp_ratio", "num_heads", "axes_dim", "theta", "patch_size", "qkv_bias")
} | {
    "in_channels": 64,
    "out_channels": 64,
    "context_in_dim": 64,
    "hidden_size": WIDTH,
    "depth": 2,
    "depth_single_blocks": 3,
    "in_dim": 64,
    "out_dim": WIDTH,
    "hidden_dim": 64,
    "n_layers": 2,
    "vec_in_dim": None,
    "txt_ids_dims": [],
}
RADIANCE = {
    "nerf_hidden_size": 16,
    "nerf_mlp_ratio": 2,
    "nerf_depth": 1,
    "nerf_max_freqs": 4,
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

AURA = {
    "in_channels": 4,
    "out_channels": 4,
    "dim": 64,
    "n_heads": 2,
    "n_layers": 5,
    "n_double_layers": 2,
    "global_conddim": 64,
    "cond_seq_dim": 2048,
    "max_seq": 256,
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


FLUX_LIKE: dict[str, Family] = {
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
    # Its text is padded to 512 tokens.
    "flux2": Family(
        module="comfy.ldm.flux.model.Flux",
        arguments=FLUX
        | {
            "in_channels": 128,
            "out_channels": 128,
            "vec_in_dim": None,
            "mlp_ratio": 3.0,
            "depth": 2,
            "depth_single_blocks": 3,
            "axes_dim": [32, 32, 32, 32],
            "theta": 2000,
            "patch_size": 1,
            "qkv_bias": False,
            "txt_ids_dims": [3],
            "global_modulation": True,
            "mlp_silu_act": True,
            "ops_bias": False,
            "default_ref_method": "index",
            "ref_index_scale": 10.0,
        },
        latent_shape=(1, 128, 8, 8),
        conditioning=conditioning((1, 8, 64), guidance=3.5, pooled_output=(1, 32)),
        blocks=("double_blocks", "single_blocks"),
        forced=("hidden_size", "num_heads", "context_in_dim"),
        marker="global_modulation",
    ),
    "chroma": Family(
        module="comfy.ldm.chroma.model.Chroma",
        arguments=CHROMA,
        latent_shape=(1, 16, 16, 16),
        conditioning=conditioning((1, 8, 64), guidance=0.0, pooled_output=(1, 32)),
        blocks=("double_blocks", "single_blocks"),
        forced=("hidden_size", "num_heads", "context_in_dim", "out_dim", "hidden_dim", "n_layers"),
        closeness=0.4,
    ),
    # Pixels in place of a latent.
    "chroma_radiance": Family(
        module="comfy.ldm.chroma_radiance.model.ChromaRadiance",
        arguments=CHROMA
        | RADIANCE
        | {
            "in_channels": 3,
            "out_channels": 3,
            "patch_size": 16,
            "nerf_tile_size": 512,
            "nerf_final_head_type": "linear",
            "nerf_embedder_dtype": torch.float32,
            "use_x0": False,
            "use_sequential_txt_ids": False,
        },
        latent_shape=(1, 3, 64, 64),
        conditioning=conditioning((1, 8, 64), guidance=0.0, pooled_output=(1, 32)),
        blocks=("double_blocks", "single_blocks"),
        forced=("hidden_size", "num_heads", "context_in_dim", "out_dim", "hidden_dim", "n_layers", *RADIANCE),
        closeness=0.4,
    ),
    "sd3": Family(
        module="comfy.ldm.modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper",
        arguments=SD3,
        latent_shape=(1, 16, 16, 16),
        conditioning=conditioning((1, 8, 64), pooled_output=(1, 32)),
        blocks=("joint_blocks",),
    ),
    # Stable Diffusion 3.5 Medium: the first blocks attend to the image a second time.
    "sd35": Family(
        module="comfy.ldm.modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper",
        arguments=SD3 | {"x_block_self_attn_layers": [0, 1]},
        latent_shape=(1, 16, 16, 16),
        conditioning=conditioning((1, 8, 64), pooled_output=(1, 32)),
        blocks=("joint_blocks",),
    ),
    "aura": Family(
        module="comfy.ldm.aura.mmdit.MMDiT",
        arguments=AURA,
        latent_shape=(1, 4, 16, 16),
        conditioning=conditioning((1, 8, 2048)),
        blocks=("double_layers", "single_layers"),
        forced=("dim", "n_heads", "global_conddim"),
    ),
}
