"""Workflows that make a video. Settings are those of the models' makers or of ComfyUI's own templates."""

from __future__ import annotations

from .downloads import SEED, T5, image_sampler, model, note_text, split, texts, two_clips, unet, video
from .graph import Graph, correction, report


def hunyuan_video_1_5(graph: Graph) -> None:
    """Video with guidance: two branches, many tokens."""
    repository = "HunyuanVideo_1.5_repackaged"
    file = split(repository, "diffusion_models", "hunyuanvideo1.5_720p_t2v_fp16.safetensors")
    qwen = split(repository, "text_encoders", "qwen_2.5_vl_7b_fp8_scaled.safetensors")
    byt5 = split(repository, "text_encoders", "byt5_small_glyphxl_fp16.safetensors")
    vae_file = split(repository, "vae", "hunyuanvideo15_vae_fp16.safetensors")
    shifted = graph.add("ModelSamplingSD3", 0, model=unet(graph, file), shift=7.0)
    patched = correction(graph, 1, shifted)
    clip = two_clips(graph, qwen, byt5, "hunyuan_video_15")
    vae = graph.add("VAELoader", 0, models=(vae_file,), vae_name=vae_file.name)
    positive, negative = texts(
        graph, clip, "A red kite rises above a windy dune and circles, the camera follows it from below"
    )
    size = {"width": 1280, "height": 720, "length": 121}
    sampled = image_sampler(graph, patched, positive, negative, "EmptyHunyuanVideo15Latent", 20, 6.0, **size)
    video(graph, "adacorrection_hunyuan_video_1_5", sampled, vae, 24.0)
    report(graph, 4, patched, sampled)
    remark = "The makers use 50 steps; 20 are set here. More steps leave more to reuse."
    graph.note(0, note_text("HunyuanVideo 1.5, text to video", [file, qwen, byt5, vae_file], remark))


def wan2_2(graph: Graph) -> None:
    """Two experts, one after the other, each with its own node, run and report."""
    new, old = "Wan_2.2_ComfyUI_Repackaged", "Wan_2.1_ComfyUI_repackaged"
    high, low = (
        split(new, "diffusion_models", f"wan2.2_t2v_{noise}_noise_14B_fp8_scaled.safetensors")
        for noise in ("high", "low")
    )
    text_file = split(old, "text_encoders", "umt5_xxl_fp8_e4m3fn_scaled.safetensors")
    vae_file = split(new, "vae", "wan_2.1_vae.safetensors")
    experts = []
    for file in (high, low):
        shifted = graph.add("ModelSamplingSD3", 0, model=unet(graph, file), shift=5.0)
        experts.append(correction(graph, 1, shifted))
    clip = graph.add("CLIPLoader", 0, models=(text_file,), clip_name=text_file.name, type="wan")
    vae = graph.add("VAELoader", 0, models=(vae_file,), vae_name=vae_file.name)
    positive, negative = texts(
        graph, clip, "Paper boats drift down a stream between mossy stones, slow tracking shot, soft light"
    )
    both = {"steps": 20, "cfg": 3.5, "sampler_name": "euler", "scheduler": "simple"}
    both |= {"positive": positive, "negative": negative}
    first = graph.add(
        "KSamplerAdvanced",
        2,
        model=experts[0],
        add_noise="enable",
        noise_seed=SEED,
        latent_image=graph.add("EmptyHunyuanLatentVideo", 2, width=640, height=640, length=81),
        end_at_step=10,
        return_with_leftover_noise="enable",
        **both,
    )
    second = graph.add(
        "KSamplerAdvanced",
        2,
        model=experts[1],
        add_noise="disable",
        noise_seed=0,
        latent_image=first,
        start_at_step=10,
        return_with_leftover_noise="disable",
        **both,
    )
    video(graph, "adacorrection_wan2_2", second, vae, 16.0)
    report(graph, 4, experts[0], first)
    report(graph, 5, experts[1], second)
    remark = (
        "Each expert has its own AdaCorrection: the two share nothing, and each run begins with its own "
        "warm-up steps. 10 steps an expert are few: its node says which speed-up stays as near as *Balanced* "
        "does with many; with 15 and more *Balanced* keeps its promise. Do not combine it with the 4-step "
        "LoRAs."
    )
    graph.note(0, note_text("Wan 2.2 14B, text to video", [high, low, text_file, vae_file], remark))


def ltx_video(graph: Graph) -> None:
    """The small, quick video model."""
    file = model("Lightricks/LTX-Video", "ltx-video-2b-v0.9.safetensors", "checkpoints")
    loader = graph.add("CheckpointLoaderSimple", 0, models=(file,), ckpt_name=file.name)
    patched = correction(graph, 1, loader["MODEL"])
    clip = graph.add("CLIPLoader", 0, models=(T5,), clip_name=T5.name, type="ltxv")
    positive, negative = texts(
        graph,
        clip,
        "A narrow canal in the early morning. Mist lies on the water and a wooden boat glides slowly towards "
        "the camera. Reflections of brick houses tremble in its wake; the light is pale and golden.",
        "low quality, worst quality, deformed, distorted, motion artifacts",
    )
    words = graph.add("LTXVConditioning", 2, positive=positive, negative=negative, frame_rate=25.0)
    latent = graph.add("EmptyLTXVLatentVideo", 2)
    sampled = graph.add(
        "SamplerCustom",
        2,
        model=patched,
        add_noise=True,
        noise_seed=SEED,
        cfg=3.0,
        positive=words["positive"],
        negative=words["negative"],
        sampler=graph.add("KSamplerSelect", 2, sampler_name="euler"),
        sigmas=graph.add("LTXVScheduler", 2, steps=30, latent=latent),
        latent_image=latent,
    )
    video(graph, "adacorrection_ltx_video", sampled["output"], loader["VAE"], 24.0)
    report(graph, 4, patched, sampled["output"])
    remark = "LTX-Video wants long, descriptive prompts."
    graph.note(0, note_text("LTX-Video 2B 0.9", [file, T5], remark))
