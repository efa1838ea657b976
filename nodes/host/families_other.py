"""The families of models that make music, sounds and shapes: one entry each. Data, no algorithm.

Facts and their places in ComfyUI 0.33 (https://github.com/yzkee/ComfyUI/tree/783545f), below comfy/ldm:
    ACE-Step      ace/model.py 334, ace/ace_step15.py 698
"""

from __future__ import annotations

from ...adacorrection_core.stages import Stage
from .families_picture import FLUX_STAGES
from .family import Family, Tokens

OTHERS: tuple[Family, ...] = (
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
)
