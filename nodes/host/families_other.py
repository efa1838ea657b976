"""The families of models that make music, sounds and shapes: one entry each. Data, no algorithm.

Facts and their places in ComfyUI 0.33 (https://github.com/yzkee/ComfyUI/tree/783545f), below comfy/ldm:
    ACE-Step      ace/model.py 334, ace/ace_step15.py 698
    Stable Audio  audio/dit.py 670-720, memory tokens and the time's before the sound's
    TripoSplat    triposplat/model.py 300-330, one sequence of latent, picture and camera
    MiniMax Music minimax_music/dit.py 185-213, long songs in windows that overlap
    Trellis 2     trellis2/model.py 945-1151, a model a stage, and voxels with or without gaps
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ...adacorrection_core.stages import Stage
from .families_picture import FLUX_STAGES
from .family import Example, Family, Shape, Tokens


def stable_audio_tokens(model: nn.Module, latent_shapes: Sequence[Shape]) -> int:
    """Tokens before the sound's: memory, which older hosts lack, and time where it is a token."""
    return getattr(model.transformer, "num_memory_tokens", 0) + (model.global_cond_type == "prepend")


def camera_token(model: nn.Module, latent_shapes: Sequence[Shape]) -> int:
    """One for each camera of the second latent, (B, N, C)."""
    return sum(camera[1] for camera in latent_shapes[1:2])


OTHERS: tuple[Family, ...] = (
    Family(
        "ACE-Step",
        ("ace.model.ACEStepTransformer2DModel",),
        (Stage("transformer_blocks", (0, "hidden_states")),),
        Tokens("inner_dim"),
        example=Example("ACE-Step", 2560, "minute", (8, 16, 646)),
    ),
    Family(
        "ACE-Step 1.5",
        ("ace.ace_step15.AceStepConditionGenerationModel",),
        (Stage("decoder.layers", (0, "hidden_states")),),
        Tokens("decoder.layers.0.mlp.gate_proj.in_features", ("decoder.patch_size",)),
        example=Example("ACE-Step 1.5", 2048, "minute", (64, 1500)),
    ),
    Family(
        "Stable Audio",
        ("audio.dit.AudioDiffusionTransformer",),
        (Stage("transformer.layers", (0, "x")),),
        Tokens("transformer.dim", ("patch_size",), more=stable_audio_tokens),
        example=Example("Stable Audio Open", 1536, "minute", (64, 1292)),
    ),
    Family(
        "Hunyuan3D 2.0",
        ("hunyuan3d.model.Hunyuan3Dv2",),
        FLUX_STAGES,
        Tokens("latent_in.out_features", 1),
        example=Example("Hunyuan3D 2.0", 1024, "shape", (64, 3072)),
    ),
    # Swaps the halves of a batch, cond and uncond, on the way in and out.
    Family(
        "Hunyuan3D 2.1",
        ("hunyuan3dv2_1.hunyuandit.HunYuanDiTPlain",),
        (),
        example=Example("Hunyuan3D 2.1", 2048, "shape", (64, 4096)),
    ),
    Family(
        "TripoSplat",
        ("triposplat.model.LatentSeqMMFlowModel",),
        (Stage("blocks", (0, "x")),),
        Tokens("model_channels", has_text=True, more=camera_token, is_sequence=True),
        example=Example("TripoSplat", 1024, "shape", (8192, 16)),
    ),
    # Each block runs once for every window of a long song.
    Family(
        "MiniMax Music 3",
        ("minimax_music.dit.MiniMaxMusic3DiT",),
        (),
        example=Example("MiniMax Music 3", 2048, "minute", (128, 5167)),
    ),
    # One of its four transformers runs, as the stage has it; three of them on sparse tensors.
    Family(
        "Trellis 2",
        ("trellis2.model.Trellis2",),
        (),
        example=Example("Trellis 2", 1536, "shape", (32, 16, 16, 16)),
    ),
)
