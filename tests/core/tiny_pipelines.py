"""diffusers' own pipelines with tiny random transformers, words given and latents taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxInpaintPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    HunyuanVideoPipeline,
    LTXPipeline,
    QwenImagePipeline,
    StableDiffusion3Pipeline,
    UniPCMultistepScheduler,
    WanPipeline,
)

from bench.tiny_transformers import TEXT_TOKENS, make, pooled, text

STEPS = 12
WORDS = {"prompt_embeds": text(1, 24), "negative_prompt_embeds": 0.5 * text(1, 24)}
POOLED = {"pooled_prompt_embeds": pooled(1), "negative_pooled_prompt_embeds": pooled(1)}
IS_WORD = torch.ones(1, TEXT_TOKENS)
MASKS = {"prompt_attention_mask": IS_WORD, "negative_prompt_attention_mask": IS_WORD}


@dataclass
class Drawing:
    """A pipeline and the arguments that it is called with."""

    pipe: Any
    arguments: dict[str, Any]

    def __call__(self, steps: int = STEPS) -> torch.Tensor:
        return self.pipe(
            **self.arguments,
            num_inference_steps=steps,
            output_type="latent",
            return_dict=False,
            generator=torch.Generator().manual_seed(0),
        )[0]


def pipeline(pipeline_class: type, transformer: str, scheduler: Any, missing: str, **given: Any) -> Any:
    """A pipeline without text encoders, and without a VAE unless it is among what is given."""
    absent = dict.fromkeys(["vae", *missing.split()]) | given
    pipe = pipeline_class(scheduler=scheduler, transformer=make(transformer), **absent)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def flux() -> Drawing:
    """Two calls a step in contexts of their own; timesteps from 1, shifted by the picture's size."""
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    missing = "text_encoder tokenizer text_encoder_2 tokenizer_2"
    pipe = pipeline(FluxPipeline, "FluxTransformer2DModel", scheduler, missing)
    return Drawing(pipe, {**WORDS, **POOLED, "true_cfg_scale": 2.0, "height": 64, "width": 64})


def sd3() -> Drawing:
    """One call a step for both; timesteps from 1000; no cache_context and no CacheMixin."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    missing = "text_encoder tokenizer text_encoder_2 tokenizer_2 text_encoder_3 tokenizer_3"
    pipe = pipeline(StableDiffusion3Pipeline, "SD3Transformer2DModel", scheduler, missing)
    return Drawing(pipe, {**WORDS, **POOLED, "guidance_scale": 3.0, "height": 64, "width": 64})


def wan() -> Drawing:
    """Two calls a step; a scheduler of second order with whole numbers for timesteps."""
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    pipe = pipeline(WanPipeline, "WanTransformer3DModel", scheduler, "text_encoder tokenizer")
    return Drawing(pipe, {**WORDS, "guidance_scale": 3.0, "height": 32, "width": 32, "num_frames": 5})


def hunyuan_video() -> Drawing:
    """Two calls a step in contexts of their own; timesteps from 1000."""
    missing = "text_encoder tokenizer text_encoder_2 tokenizer_2"
    scheduler = FlowMatchEulerDiscreteScheduler(shift=7.0)
    pipe = pipeline(HunyuanVideoPipeline, "HunyuanVideoTransformer3DModel", scheduler, missing)
    size = {"height": 32, "width": 32, "num_frames": 5}
    return Drawing(pipe, {**WORDS, **POOLED, **MASKS, **size, "true_cfg_scale": 3.0})


def qwen_image() -> Drawing:
    """Two calls a step; timesteps from 1; the sum of both is brought to the size of one of them."""
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipe = pipeline(QwenImagePipeline, "QwenImageTransformer2DModel", scheduler, "text_encoder tokenizer")
    masks = {"prompt_embeds_mask": IS_WORD.long(), "negative_prompt_embeds_mask": IS_WORD.long()}
    return Drawing(pipe, {**WORDS, **masks, "true_cfg_scale": 3.0, "height": 64, "width": 64})


def ltx_video() -> Drawing:
    """One call a step for both, in a context; a schedule that is stretched to end at a level of 0.1."""
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.1)
    pipe = pipeline(LTXPipeline, "LTXVideoTransformer3DModel", scheduler, "text_encoder tokenizer")
    size = {"height": 128, "width": 128, "num_frames": 9}
    return Drawing(pipe, {**WORDS, **MASKS, **size, "guidance_scale": 3.0})


def kontext() -> Drawing:
    """The tokens of a reference picture follow those of the latent."""
    missing = "text_encoder tokenizer text_encoder_2 tokenizer_2"
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipe = pipeline(FluxKontextPipeline, "FluxTransformer2DModel", scheduler, missing, vae=tiny_vae())
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    words = {name: value for name, value in (WORDS | POOLED).items() if not name.startswith("negative")}
    size = {"height": 32, "width": 32, "_auto_resize": False, "max_area": 32 * 32}
    return Drawing(pipe, {**words, **size, "image": picture})


def inpaint() -> Drawing:
    """The known part of the picture is put back after each step."""
    missing = "text_encoder tokenizer text_encoder_2 tokenizer_2"
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipe = pipeline(FluxInpaintPipeline, "FluxTransformer2DModel", scheduler, missing, vae=tiny_vae())
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    mask = torch.ones(1, 1, 32, 32)
    mask[..., :16] = 0
    words = {name: value for name, value in (WORDS | POOLED).items() if not name.startswith("negative")}
    parts = {"image": picture, "mask_image": mask, "strength": 1.0, "height": 32, "width": 32}
    return Drawing(pipe, {**words, **parts})


def tiny_vae() -> AutoencoderKL:
    """Random, of 4 channels at half the size."""
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        shift_factor=0.0,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
