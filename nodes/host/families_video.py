"""The families of video models, some of which make pictures too: one entry each. Data, no algorithm.

Facts and their places in ComfyUI 0.33 (https://github.com/yzkee/ComfyUI/tree/783545f), below comfy/ldm:
    HunyuanVideo  hunyuan_video/model.py 392-443; joint order is image first up to at least 0.8.0,
                  text first in 0.33, which then says so in transformer_options["img_slice"]
    Wan           wan/model.py 603-628, VACE 826-855, Camera 937, S2V 1414, model_animate.py 532;
                  what they add between and behind the blocks (control, audio, faces) runs at every step
    LTX-Video     lightricks/model.py 1387-1415; LTX-2 av_model.py 933-1018, a tuple of video and audio
    Mochi         genmo/joint_model/asymm_models_joint.py 519-546
    CogVideoX     cogvideo/model.py 488
    Cosmos        cosmos/model.py 524-539, tokens (T, H, W, B, D); predict2.py 918-928, (B, T, H, W, D)
    Kandinsky 5   kandinsky5/model.py 374-384
    MiniMax       minimax/model.py 700, tokens (N, D): one conditioning and one video a call
    SeedVR2       seedvr/model.py 1241-1361, tokens (N, D) of all rows end to end
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from ...adacorrection_core.layouts import BATCH_LAST_GRID, GRID, STREAMS, UNBATCHED
from ...adacorrection_core.stages import Stage
from .families_picture import FLUX_STAGES
from .family import Example, Family, Shape, Tokens


def audio_rows(model: nn.Module, latent_shapes: Sequence[Shape]) -> int:
    """Rows of video width that the tokens of an audio latent (B, C, T, F) fill."""
    return sum(math.ceil(audio[2] * model.audio_inner_dim / model.inner_dim) for audio in latent_shapes[1:2])


def minimax_audio_tokens(model: nn.Module, latent_shapes: Sequence[Shape]) -> int:
    """Two tokens for each moment of an audio latent (B, C, T)."""
    return sum(2 * audio[-1] for audio in latent_shapes[1:2])


VIDEOS: tuple[Family, ...] = (
    Family(
        "HunyuanVideo",
        ("hunyuan_video.model.HunyuanVideo",),
        (FLUX_STAGES[0], Stage("single_blocks", (0, "x"), order="image_first")),
        has_references=True,
        example=Example("HunyuanVideo 1.0", 3072, "video"),
    ),
    Family(
        "Wan",
        (
            "wan.model.WanModel",
            "wan.model.VaceWanModel",
            "wan.model.CameraWanModel",
            "wan.model.WanModel_S2V",
            "wan.model.HumoWanModel",
            "wan.model.SCAILWanModel",
            "wan.model.SCAIL2WanModel",
            "wan.model_animate.AnimateWanModel",
            "wan.model_wandancer.WanDancerModel",
        ),
        (Stage("blocks", (0, "x")),),
        Tokens("dim"),
        has_references=True,
        example=Example("Wan 14B", 5120, "video"),
    ),
    # Its autoregressive sampler counts on every call to fill the caches of keys and values.
    Family(
        "Wan, causal",
        ("wan.ar_model.CausalWanModel",),
        (Stage("blocks", (0, "x")),),
        Tokens("dim"),
        own_state="ar_state",
        example=Example("Wan 2.1 1.3B, causal", 1536, "video"),
    ),
    # Its blocks are called by other names than forward, and share buffers.
    Family(
        "Wan Animate 2",
        ("wan.model_animate2.WanAnimate2Model",),
        (),
        example=Example("Wan Animate 2 14B", 5120, "video"),
    ),
    Family(
        "LTX-Video",
        ("lightricks.model.LTXVModel",),
        (Stage("transformer_blocks", (0, "x")),),
        Tokens("inner_dim", 1),
        example=Example("LTX-Video 2B", 2048, "video"),
    ),
    Family(
        "LTX-2",
        ("lightricks.av_model.LTXAVModel",),
        (Stage("transformer_blocks", (0, "x"), layout=STREAMS),),
        Tokens("inner_dim", 1, more=audio_rows),
        example=Example("LTX-2", 4096, "video"),
    ),
    Family(
        "Mochi",
        ("genmo.joint_model.asymm_models_joint.AsymmDiTJoint",),
        (Stage("blocks", (0, "x"), (2, "y"), ("image", "text")),),
        Tokens("hidden_size_x"),
        example=Example("Mochi 1", 3072, "video"),
    ),
    Family(
        "CogVideoX",
        ("cogvideo.model.CogVideoXTransformer3DModel",),
        (Stage("blocks", (0, "hidden_states"), (1, "encoder_hidden_states"), ("image", "text")),),
        Tokens("dim"),
        example=Example("CogVideoX 5B", 3072, "video"),
    ),
    Family(
        "Cosmos 1",
        ("cosmos.model.GeneralDIT",),
        (Stage("blocks", (0, "x"), layout=BATCH_LAST_GRID),),
        Tokens("model_channels", ("patch_temporal", "patch_spatial", "patch_spatial")),
        example=Example("Cosmos 1 7B", 4096, "video"),
    ),
    Family(
        "Cosmos Predict2, Anima",
        ("cosmos.predict2.MiniTrainDIT", "anima.model.Anima"),
        (Stage("blocks", (0, "x_B_T_H_W_D"), layout=GRID),),
        Tokens("model_channels", ("patch_temporal", "patch_spatial", "patch_spatial")),
        example=Example("Cosmos-Predict2 2B", 2048),
    ),
    Family(
        "Kandinsky 5",
        ("kandinsky5.model.Kandinsky5",),
        (Stage("visual_transformer_blocks", (0, "visual_embed")),),
        Tokens("model_dim"),
        example=Example("Kandinsky 5 Lite", 1792, "video"),
    ),
    Family(
        "MiniMax H3",
        ("minimax.model.MiniMaxH3Model",),
        (Stage("blocks", (0, "x"), layout=UNBATCHED),),
        Tokens(has_text=True, more=minimax_audio_tokens),
        example=Example("MiniMax H3", 5376, "video"),
    ),
    # Swaps the halves of a batch, cond and uncond, on the way in and out.
    Family(
        "SeedVR2",
        ("seedvr.model.NaDiT",),
        (),
        example=Example("SeedVR2 3B", 2560, "video", (16, 21, 60, 104)),
    ),
)
