"""The families of picture models: one entry each. Data, no algorithm.

Facts and their places in ComfyUI 0.33 (https://github.com/yzkee/ComfyUI/tree/783545f), below comfy/ldm:
    Flux          flux/model.py 219-256 and 275-303; blocks write into their input
    Chroma        chroma/model.py 183-262; the head of Radiance (nerf_blocks) runs at every step
    SD3           modules/diffusionmodules/mmdit.py 960-985; the last block returns no text
    AuraFlow      aura/mmdit.py 468-500
    Qwen-Image    qwen_image/model.py 508-558; Mage-Flow and Lens have the same blocks
    Lumina 2      lumina/model.py 858-872, text and image in one sequence
    HiDream       hidream/model.py 788-824; the model joins and cuts off text around every block
    HunyuanDiT    hydit/models.py 361-391; a stack of skip connections, which passed-on inputs keep in order
"""

from __future__ import annotations

from ...adacorrection_core.stages import Stage
from .family import Example, Family, Tokens

# Blocks that more than one family is made of.
FLUX_STAGES = (
    Stage("double_blocks", (0, "img"), (1, "txt"), ("image", "text")),
    Stage("single_blocks", (0, "x"), order="text_first"),
)
QWEN_STAGE = Stage(
    "transformer_blocks", (0, "hidden_states"), (1, "encoder_hidden_states"), ("text", "image")
)

PICTURES: tuple[Family, ...] = (
    Family(
        "Flux",
        ("flux.model.Flux",),
        FLUX_STAGES,
        Tokens(),
        has_references=True,
        example=Example("Flux.1", 3072),
    ),
    Family(
        "Chroma",
        ("chroma.model.Chroma", "chroma_radiance.model.ChromaRadiance"),
        FLUX_STAGES,
        example=Example("Chroma", 3072),
    ),
    Family(
        "SD3",
        ("modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper",),
        (Stage("joint_blocks", (1, "x"), (0, "context"), ("text", "image")),),
        example=Example("SD 3.5 Large", 2432),
    ),
    Family(
        "AuraFlow",
        ("aura.mmdit.MMDiT",),
        (
            Stage("double_layers", (1, "x"), (0, "c"), ("text", "image")),
            Stage("single_layers", (0, "cx"), order="text_first"),
        ),
        Tokens("init_x_linear.out_features"),
        example=Example("AuraFlow", 3072),
    ),
    Family(
        "Qwen-Image",
        ("qwen_image.model.QwenImageTransformer2DModel",),
        (QWEN_STAGE,),
        Tokens("inner_dim"),
        has_references=True,
        example=Example("Qwen-Image", 3072),
    ),
    Family(
        "Mage-Flow",
        ("mage_flow.model.MageFlowTransformer2DModel",),
        (QWEN_STAGE,),
        Tokens("inner_dim"),
        has_references=True,
        example=Example("Mage-Flow", 3072),
    ),
    Family(
        "Lens",
        ("lens.model.LensTransformer2DModel",),
        (QWEN_STAGE,),
        Tokens("inner_dim", 1),
        example=Example("Lens", 1536),
    ),
    Family(
        "JoyImage",
        ("joyimage.model.JoyImageTransformer3DModel",),
        (Stage("double_blocks", (0, "hidden_states"), (1, "encoder_hidden_states"), ("image", "text")),),
        Tokens("img_in.out_channels"),
        example=Example("JoyImage", 3072),
    ),
    Family(
        "Lumina 2, Z-Image",
        ("lumina.model.NextDiT", "lumina.model.NextDiTPixelSpace"),
        (Stage("layers", (0, "x")),),
        Tokens("dim", has_text=True, multiple="pad_tokens_multiple"),
        example=Example("Z-Image", 3840),
    ),
    Family(
        "HiDream",
        ("hidream.model.HiDreamImageTransformer2DModel",),
        (
            Stage("double_stream_blocks", (0, "image_tokens"), (2, "text_tokens"), ("image", "text")),
            Stage("single_stream_blocks", (0, "image_tokens"), order="image_first"),
        ),
        Tokens("inner_dim"),
        example=Example("HiDream-I1", 2560),
    ),
    # The keys and values of its prompt, kept from the first call, are as deep as its blocks.
    Family(
        "HiDream-O1",
        ("hidream_o1.model.HiDreamO1Transformer",),
        (),
        example=Example("HiDream-O1", 4096),
    ),
    Family(
        "HunyuanDiT",
        ("hydit.models.HunYuanDiT",),
        (Stage("blocks", (0, "x")),),
        example=Example("HunyuanDiT", 1408),
    ),
    Family(
        "PixArt",
        ("pixart.pixartms.PixArtMS",),
        (Stage("blocks", (0, "x")),),
        example=Example("PixArt Sigma", 1152),
    ),
    Family(
        "OmniGen2",
        ("omnigen.omnigen2.OmniGen2Transformer2DModel",),
        (Stage("layers", (0, "hidden_states")),),
        Tokens(has_text=True),
        example=Example("OmniGen2", 2520),
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
        example=Example("Boogu", 3360),
    ),
    Family(
        "Krea 2",
        ("krea2.model.SingleStreamDiT",),
        (Stage("blocks", (0, "x")),),
        Tokens("first.out_features", "patch", has_text=True),
        example=Example("Krea 2", 6144),
    ),
    Family(
        "Ernie-Image",
        ("ernie.model.ErnieImageModel",),
        (Stage("layers", (0, "x")),),
        Tokens(has_text=True),
        example=Example("Ernie-Image", 4096),
    ),
    Family(
        "Ideogram 4",
        ("ideogram4.model.Ideogram4Transformer2DModel",),
        (Stage("layers", (0, "x")),),
        Tokens("input_proj.out_features", 1, has_text=True),
        example=Example("Ideogram 4", 4608),
    ),
    Family(
        "PixelDiT",
        ("pixeldit.model.PixDiT_T2I", "pixeldit.pid.PidNet"),
        (Stage("patch_blocks", (0, "x"), (1, "y"), ("image", "text")),),
        example=Example("PixelDiT", 1536),
    ),
)
