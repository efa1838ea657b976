"""Workflows that make a picture. Settings are those of the models' makers or of ComfyUI's own templates."""

from __future__ import annotations

from .downloads import (
    AE,
    CLIP_L,
    QWEN_3,
    QWEN_VL,
    SEED,
    T5,
    image_sampler,
    model,
    note_text,
    picture,
    split,
    texts,
    two_clips,
    unet,
)
from .graph import Graph, correction, report


def flux1_dev(graph: Graph) -> None:
    """Guidance is distilled into the model, so that one branch runs."""
    file = model("Comfy-Org/flux1-dev", "flux1-dev.safetensors", "diffusion_models")
    patched = correction(graph, 1, unet(graph, file))
    clip = two_clips(graph, CLIP_L, T5, "flux")
    vae = graph.add("VAELoader", 0, models=(AE,), vae_name=AE.name)
    words = graph.add(
        "CLIPTextEncode",
        1,
        clip=clip,
        text="An otter reading a newspaper on a park bench in autumn, 35mm photograph, morning light",
    )
    guided = graph.add("FluxGuidance", 1, conditioning=words, guidance=3.5)
    negative = graph.add("ConditioningZeroOut", 1, conditioning=words)
    sampled = image_sampler(graph, patched, guided, negative, "EmptySD3LatentImage", 28, 1.0)
    picture(graph, "adacorrection_flux1_dev", sampled, vae)
    report(graph, 4, patched, sampled)
    remark = "More steps leave more to reuse: at 28 the saving is larger than at 20."
    graph.note(0, note_text("Flux.1 dev", [file, CLIP_L, T5, AE], remark))


def flux2_klein(graph: Graph) -> None:
    """The base model; the distilled one takes four steps and leaves nothing to reuse."""
    file = split("flux2-klein", "diffusion_models", "flux-2-klein-base-4b.safetensors")
    vae_file = split("flux2-dev", "vae", "flux2-vae.safetensors")
    patched = correction(graph, 1, unet(graph, file))
    clip = graph.add("CLIPLoader", 0, models=(QWEN_3,), clip_name=QWEN_3.name, type="flux2")
    vae = graph.add("VAELoader", 0, models=(vae_file,), vae_name=vae_file.name)
    positive, negative = texts(graph, clip, "A lighthouse keeper's cat on a stormy pier, oil painting")
    guider = graph.add("CFGGuider", 2, model=patched, positive=positive, negative=negative, cfg=5.0)
    sampled = graph.add(
        "SamplerCustomAdvanced",
        2,
        noise=graph.add("RandomNoise", 2, noise_seed=SEED),
        guider=guider,
        sampler=graph.add("KSamplerSelect", 2, sampler_name="euler"),
        sigmas=graph.add("Flux2Scheduler", 2, steps=20),
        latent_image=graph.add("EmptyFlux2LatentImage", 2),
    )
    picture(graph, "adacorrection_flux2_klein", sampled["output"], vae)
    report(graph, 4, patched, sampled["output"])
    remark = (
        "This is the base model with 20 steps. The distilled one takes 4 steps: no cache can save any there."
    )
    graph.note(0, note_text("Flux.2 Klein 4B base", [file, QWEN_3, vae_file], remark))


def sd3_5(graph: Graph) -> None:
    """One checkpoint with text encoders and VAE."""
    file = model("Comfy-Org/stable-diffusion-3.5-fp8", "sd3.5_large_fp8_scaled.safetensors", "checkpoints")
    loader = graph.add("CheckpointLoaderSimple", 0, models=(file,), ckpt_name=file.name)
    patched = correction(graph, 1, loader["MODEL"])
    positive, negative = texts(
        graph, loader["CLIP"], "A glass greenhouse on a cliff above the sea, ferns inside, golden hour"
    )
    sampled = image_sampler(graph, patched, positive, negative, "EmptySD3LatentImage", 28, 4.0, "sgm_uniform")
    picture(graph, "adacorrection_sd3_5", sampled, loader["VAE"])
    report(graph, 4, patched, sampled)
    graph.note(0, note_text("Stable Diffusion 3.5 Large", [file]))


def qwen_image(graph: Graph) -> None:
    """Text in pictures."""
    file = split("Qwen-Image_ComfyUI", "diffusion_models", "qwen_image_fp8_e4m3fn.safetensors")
    vae_file = split("Qwen-Image_ComfyUI", "vae", "qwen_image_vae.safetensors")
    shifted = graph.add("ModelSamplingAuraFlow", 0, model=unet(graph, file), shift=3.1)
    patched = correction(graph, 1, shifted)
    clip = graph.add("CLIPLoader", 0, models=(QWEN_VL,), clip_name=QWEN_VL.name, type="qwen_image")
    vae = graph.add("VAELoader", 0, models=(vae_file,), vae_name=vae_file.name)
    positive, negative = texts(
        graph, clip, 'A bookshop window at night with a painted sign that says "SECOND CHAPTER", rain outside'
    )
    sampled = image_sampler(
        graph, patched, positive, negative, "EmptySD3LatentImage", 20, 4.0, width=1328, height=1328
    )
    picture(graph, "adacorrection_qwen_image", sampled, vae)
    report(graph, 4, patched, sampled)
    remark = "Do not combine it with a Lightning LoRA: 4 or 8 steps leave nothing to reuse."
    graph.note(0, note_text("Qwen-Image", [file, QWEN_VL, vae_file], remark))


def z_image(graph: Graph) -> None:
    """The base model; Turbo takes eight steps."""
    file = split("z_image", "diffusion_models", "z_image_bf16.safetensors")
    shifted = graph.add("ModelSamplingAuraFlow", 0, model=unet(graph, file), shift=3.0)
    patched = correction(graph, 1, shifted)
    clip = graph.add("CLIPLoader", 0, models=(QWEN_3,), clip_name=QWEN_3.name, type="lumina2")
    vae = graph.add("VAELoader", 0, models=(AE,), vae_name=AE.name)
    positive, negative = texts(
        graph, clip, "A street musician in an underground station, candid photograph, shallow depth of field"
    )
    sampled = image_sampler(graph, patched, positive, negative, "EmptySD3LatentImage", 30, 4.0)
    picture(graph, "adacorrection_z_image", sampled, vae)
    report(graph, 4, patched, sampled)
    remark = "This is the base model with 30 steps. Z-Image Turbo takes 8, which leaves little to reuse."
    graph.note(0, note_text("Z-Image", [file, QWEN_3, AE], remark))
