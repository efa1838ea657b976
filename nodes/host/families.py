"""One entry a model family: where its blocks are and what they take and return. Data, no algorithm.

Facts and their places in ComfyUI 0.33 (https://github.com/yzkee/ComfyUI/tree/783545f), below comfy/ldm:
    Flux          flux/model.py 219-256 and 275-303; blocks write into their input
    Chroma        chroma/model.py 183-262; the head of Radiance (nerf_blocks) runs at every step
    SD3           modules/diffusionmodules/mmdit.py 960-985; the last block returns no text
    AuraFlow      aura/mmdit.py 468-500
    HunyuanVideo  hunyuan_video/model.py 392-443; joint order is image first up to at least 0.8.0,
                  text first in 0.33, which then says so in transformer_options["img_slice"]
    Wan           wan/model.py 603-628, VACE 826-855, Camera 937, S2V 1414, model_animate.py 532;
                  what they add between and behind the blocks (control, audio, faces) runs at every step
    LTX-Video     lightricks/model.py 1387-1415; LTX-2 av_model.py 933-1018, a tuple of video and audio
    Qwen-Image    qwen_image/model.py 508-558; Mage-Flow and Lens have the same blocks
    Lumina 2      lumina/model.py 858-872, text and image in one sequence
    HiDream       hidream/model.py 788-824; the model joins and cuts off text around every block
    Mochi         genmo/joint_model/asymm_models_joint.py 519-546
    CogVideoX     cogvideo/model.py 488
    Cosmos        cosmos/model.py 524-539, tokens (T, H, W, B, D); predict2.py 918-928, (B, T, H, W, D)
    Kandinsky 5   kandinsky5/model.py 374-384
    HunyuanDiT    hydit/models.py 361-391; a stack of skip connections, which passed-on inputs keep in order
    ACE-Step      ace/model.py 334, ace/ace_step15.py 698
    MiniMax       minimax/model.py 700, tokens (N, D): one conditioning and one video a call
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from ...adacorrection_core.layouts import BATCH_LAST_GRID, GRID, STREAMS, UNBATCHED
from ...adacorrection_core.stages import Stage
from .family import Example, Family, Shape, Tokens


def audio_rows(model: nn.Module, latent_shapes: Sequence[Shape]) -> int:
    """Rows of video width that the tokens of an audio latent (B, C, T, F) fill."""
    return sum(math.ceil(audio[2] * model.audio_inner_dim / model.inner_dim) for audio in latent_shapes[1:2])


def minimax_audio_tokens(model: nn.Module, latent_shapes: Sequence[Shape]) -> int:
    """Two tokens for each moment of an audio latent (B, C, T)."""
    return sum(2 * audio[-1] for audio in latent_shapes[1:2])


# Blocks that more than one family is made of.
FLUX_STAGES = (
    Stage("double_blocks", (0, "img"), (1, "txt"), ("image", "text")),
    Stage("single_blocks", (0, "x"), order="text_first"),
)
QWEN_STAGE = Stage(
    "transformer_blocks", (0, "hidden_states"), (1, "encoder_hidden_states"), ("text", "image")
)

FAMILIES: tuple[Family, ...] = (
    Family(
        "Flux",
        ("flux.model.Flux",),
        FLUX_STAGES,
        Tokens(),
        has_references=True,
        example=Example("Flux.1", 3072, 16),
    ),
    Family(
        "Chroma",
        ("chroma.model.Chroma", "chroma_radiance.model.ChromaRadiance"),
        FLUX_STAGES,
        example=Example("Chroma", 3072, 16),
    ),
    Family(
        "SD3",
        ("modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper",),
        (Stage("joint_blocks", (1, "x"), (0, "context"), ("text", "image")),),
        example=Example("SD 3.5 Large", 2432, 16),
    ),
    Family(
        "AuraFlow",
        ("aura.mmdit.MMDiT",),
        (
            Stage("double_layers", (1, "x"), (0, "c"), ("text", "image")),
            Stage("single_layers", (0, "cx"), order="text_first"),
        ),
        Tokens("init_x_linear.out_features"),
        example=Example("AuraFlow", 3072, 16),
    ),
    Family(
        "HunyuanVideo",
        ("hunyuan_video.model.HunyuanVideo",),
        (FLUX_STAGES[0], Stage("single_blocks", (0, "x"), order="image_first")),
        example=Example("HunyuanVideo 1.0", 3072, 16, True),
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
        example=Example("Wan 14B", 5120, 16, True),
    ),
    # Its autoregressive sampler counts on every call to fill the caches of keys and values.
    Family(
        "Wan, causal",
        ("wan.ar_model.CausalWanModel",),
        (Stage("blocks", (0, "x")),),
        Tokens("dim"),
        own_state="ar_state",
    ),
    # Its blocks are called by other names than forward, and share buffers.
    Family("Wan Animate 2", ("wan.model_animate2.WanAnimate2Model",), ()),
    Family(
        "LTX-Video",
        ("lightricks.model.LTXVModel",),
        (Stage("transformer_blocks", (0, "x")),),
        Tokens("inner_dim", 1),
        example=Example("LTX-Video 2B", 2048, 32, True),
    ),
    Family(
        "LTX-2",
        ("lightricks.av_model.LTXAVModel",),
        (Stage("transformer_blocks", (0, "x"), layout=STREAMS),),
        Tokens("inner_dim", 1, more=audio_rows),
        example=Example("LTX-2", 4096, 32, True),
    ),
    Family(
        "Qwen-Image",
        ("qwen_image.model.QwenImageTransformer2DModel",),
        (QWEN_STAGE,),
        Tokens("inner_dim"),
        has_references=True,
        example=Example("Qwen-Image", 3072, 16),
    ),
    Family(
        "Mage-Flow",
        ("mage_flow.model.MageFlowTransformer2DModel",),
        (QWEN_STAGE,),
        Tokens("inner_dim"),
        has_references=True,
        example=Example("Mage-Flow", 3072, 16),
    ),
    Family(
        "Lens",
        ("lens.model.LensTransformer2DModel",),
        (QWEN_STAGE,),
        Tokens("inner_dim", 1),
        example=Example("Lens", 1536, 16),
    ),
    Family(
        "JoyImage",
        ("joyimage.model.JoyImageTransformer3DModel",),
        (Stage("double_blocks", (0, "hidden_states"), (1, "encoder_hidden_states"), ("image", "text")),),
        Tokens("img_in.out_channels"),
        example=Example("JoyImage", 3072, 16),
    ),
    Family(
        "Lumina 2, Z-Image",
        ("lumina.model.NextDiT", "lumina.model.NextDiTPixelSpace"),
        (Stage("layers", (0, "x")),),
        Tokens("dim", has_text=True, multiple="pad_tokens_multiple"),
        example=Example("Z-Image", 3840, 16),
    ),
    Family(
        "HiDream",
        ("hidream.model.HiDreamImageTransformer2DModel",),
        (
            Stage("double_stream_blocks", (0, "image_tokens"), (2, "text_tokens"), ("image", "text")),
            Stage("single_stream_blocks", (0, "image_tokens"), order="image_first"),
        ),
        Tokens("inner_dim"),
        example=Example("HiDream-I1", 2560, 16),
    ),
    # The keys and values of its prompt, kept from the first call, are as deep as its blocks.
    Family("HiDream-O1", ("hidream_o1.model.HiDreamO1Transformer",), ()),
    Family(
        "Mochi",
        ("genmo.joint_model.asymm_models_joint.AsymmDiTJoint",),
        (Stage("blocks", (0, "x"), (2, "y"), ("image", "text")),),
        Tokens("hidden_size_x"),
        example=Example("Mochi 1", 3072, 16, True),
    ),
    Family(
        "CogVideoX",
        ("cogvideo.model.CogVideoXTransformer3DModel",),
        (Stage("blocks", (0, "hidden_states"), (1, "encoder_hidden_states"), ("image", "text")),),
        Tokens("dim"),
        example=Example("CogVideoX 5B", 3072, 16, True),
    ),
    Family(
        "Cosmos 1",
        ("cosmos.model.GeneralDIT",),
        (Stage("blocks", (0, "x"), layout=BATCH_LAST_GRID),),
        Tokens("model_channels", ("patch_temporal", "patch_spatial", "patch_spatial")),
        example=Example("Cosmos 1 7B", 4096, 16, True),
    ),
    Family(
        "Cosmos Predict2, Anima",
        ("cosmos.predict2.MiniTrainDIT", "anima.model.Anima"),
        (Stage("blocks", (0, "x_B_T_H_W_D"), layout=GRID),),
        Tokens("model_channels", ("patch_temporal", "patch_spatial", "patch_spatial")),
        example=Example("Cosmos-Predict2 2B", 2048, 16),
    ),
    Family(
        "Kandinsky 5",
        ("kandinsky5.model.Kandinsky5",),
        (Stage("visual_transformer_blocks", (0, "visual_embed")),),
        Tokens("model_dim"),
        example=Example("Kandinsky 5 Lite", 1792, 16, True),
    ),
    Family(
        "HunyuanDiT",
        ("hydit.models.HunYuanDiT",),
        (Stage("blocks", (0, "x")),),
        example=Example("HunyuanDiT", 1408, 16),
    ),
    Family(
        "PixArt",
        ("pixart.pixartms.PixArtMS",),
        (Stage("blocks", (0, "x")),),
        example=Example("PixArt Sigma", 1152, 16),
    ),
    Family(
        "OmniGen2",
        ("omnigen.omnigen2.OmniGen2Transformer2DModel",),
        (Stage("layers", (0, "hidden_states")),),
        Tokens(has_text=True),
        example=Example("OmniGen2", 2520, 16),
    ),
    Family(
        "Boogu",
        ("boogu.model.BooguTransformer2DModel",),
        (
            Stage(
                "double_stream_layers",
                (0, "img_hidden_states"),
                (1, "instruct_hidden_states"),
                ("image", "text"),
            ),
            Stage("single_stream_layers", (0, "hidden_states"), order="text_first"),
        ),
        example=Example("Boogu", 3360, 16),
    ),
    Family(
        "Krea 2",
        ("krea2.model.SingleStreamDiT",),
        (Stage("blocks", (0, "x")),),
        Tokens("first.out_features", "patch", has_text=True),
        example=Example("Krea 2", 6144, 16),
    ),
    Family(
        "Ernie-Image",
        ("ernie.model.ErnieImageModel",),
        (Stage("layers", (0, "x")),),
        Tokens(has_text=True),
        example=Example("Ernie-Image", 4096, 16),
    ),
    Family(
        "Ideogram 4",
        ("ideogram4.model.Ideogram4Transformer2DModel",),
        (Stage("layers", (0, "x")),),
        Tokens("input_proj.out_features", 1, has_text=True),
    ),
    Family(
        "PixelDiT",
        ("pixeldit.model.PixDiT_T2I", "pixeldit.pid.PidNet"),
        (Stage("patch_blocks", (0, "x"), (1, "y"), ("image", "text")),),
        example=Example("PixelDiT", 1536, 16),
    ),
    Family(
        "ACE-Step",
        ("ace.model.ACEStepTransformer2DModel",),
        (Stage("transformer_blocks", (0, "hidden_states")),),
        Tokens("inner_dim"),
    ),
    Family(
        "ACE-Step 1.5",
        ("ace.ace_step15.AceStepConditionGenerationModel",),
        (Stage("decoder.layers", (0, "hidden_states")),),
        Tokens("decoder.layers.0.mlp.gate_proj.in_features", ("decoder.patch_size",)),
    ),
    Family(
        "Stable Audio",
        ("audio.dit.AudioDiffusionTransformer",),
        (Stage("transformer.layers", (0, "x")),),
        Tokens("transformer.dim", ("patch_size",)),
    ),
    Family(
        "Hunyuan3D 2.0", ("hunyuan3d.model.Hunyuan3Dv2",), FLUX_STAGES, Tokens("latent_in.out_features", 1)
    ),
    # Swaps the halves of a batch, cond and uncond, on the way in and out.
    Family("Hunyuan3D 2.1", ("hunyuan3dv2_1.hunyuandit.HunYuanDiTPlain",), ()),
    Family(
        "TripoSplat",
        ("triposplat.model.LatentSeqMMFlowModel",),
        (Stage("blocks", (0, "x")),),
        Tokens("model_channels", 1),
    ),
    Family(
        "MiniMax H3",
        ("minimax.model.MiniMaxH3Model",),
        (Stage("blocks", (0, "x"), layout=UNBATCHED),),
        Tokens(has_text=True, more=minimax_audio_tokens),
        example=Example("MiniMax H3", 5376, 32, True),
    ),
)
