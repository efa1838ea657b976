"""Workflows on models that have to be downloaded. Settings are those that their makers or ComfyUI's own
templates give."""

from __future__ import annotations

from .graph import Graph, Model, Node, Output, correction, report

HUB = "https://huggingface.co"
SEED = 42


def model(repository: str, path: str, directory: str) -> Model:
    """A file on Hugging Face."""
    return Model(path.rpartition("/")[2], f"{HUB}/{repository}/resolve/main/{path}", directory)


def split(repository: str, directory: str, name: str) -> Model:
    """A file in one of Comfy-Org's repositories, which have a folder for each kind."""
    return model(f"Comfy-Org/{repository}", f"split_files/{directory}/{name}", directory)


CLIP_L = model("comfyanonymous/flux_text_encoders", "clip_l.safetensors", "text_encoders")
T5 = model("comfyanonymous/flux_text_encoders", "t5xxl_fp16.safetensors", "text_encoders")
QWEN_3 = split("flux2-klein", "text_encoders", "qwen_3_4b.safetensors")
QWEN_VL = split("Qwen-Image_ComfyUI", "text_encoders", "qwen_2.5_vl_7b_fp8_scaled.safetensors")
AE = split("z_image_turbo", "vae", "ae.safetensors")

TWEAKS = """## What to tweak

- **preset** of AdaCorrection: *Balanced* is a good start, *Quality* stays closer, *Fast* saves more. \
With *Target speed-up* you say how much of the model shall run.
- **Ctrl+B** on AdaCorrection bypasses it: the same seed then gives the picture without it.
- **AdaCorrection Report** says what was computed and what was reused, and if nothing was, why.
- Short of graphics memory: *cache_placement* offload, among AdaCorrection's advanced inputs."""


def note_text(title: str, models: list[Model], remark: str = "", tweaks: str = TWEAKS) -> str:
    """A note that names the files, where they go and what to change."""
    folders = list(dict.fromkeys(model.directory for model in models))
    parts = [f"## {title}"]
    if remark:
        parts.append(remark)
    for folder in folders:
        files = [f"- [{m.name}]({m.url})" for m in models if m.directory == folder]
        parts.append(f"**ComfyUI/models/{folder}**\n\n" + "\n".join(files))
    return "\n\n".join([*parts, tweaks])


def unet(graph: Graph, file: Model, column: float = 0) -> Node:
    """The loader of a diffusion model."""
    return graph.add("UNETLoader", column, models=(file,), unet_name=file.name)


def texts(graph: Graph, clip: Node | Output, positive: str, negative: str = "") -> tuple[Node, Node]:
    """Two prompts."""
    one = graph.add("CLIPTextEncode", 1, text=positive, clip=clip)
    return one, graph.add("CLIPTextEncode", 1, text=negative, clip=clip)


def picture(graph: Graph, name: str, latent: Node | Output, vae: Node | Output) -> None:
    """Decode and save."""
    decoded = graph.add("VAEDecode", 3, samples=latent, vae=vae)
    graph.add("SaveImage", 3, images=decoded, filename_prefix=name)


def video(graph: Graph, name: str, latent: Node | Output, vae: Node | Output, fps: float) -> None:
    """Decode and save as a video."""
    decoded = graph.add("VAEDecode", 3, samples=latent, vae=vae)
    made = graph.add("CreateVideo", 3, images=decoded, fps=fps)
    graph.add("SaveVideo", 3, video=made, filename_prefix=f"video/{name}")


def flux1_dev(graph: Graph) -> None:
    """Guidance is distilled into the model, so that one branch runs."""
    file = model("Comfy-Org/flux1-dev", "flux1-dev.safetensors", "diffusion_models")
    patched = correction(graph, 1, unet(graph, file))
    clip = graph.add(
        "DualCLIPLoader",
        0,
        models=(CLIP_L, T5),
        clip_name1=CLIP_L.name,
        clip_name2=T5.name,
        type="flux",
    )
    vae = graph.add("VAELoader", 0, models=(AE,), vae_name=AE.name)
    words = graph.add(
        "CLIPTextEncode",
        1,
        clip=clip,
        text="An otter reading a newspaper on a park bench in autumn, 35mm photograph, morning light",
    )
    guided = graph.add("FluxGuidance", 1, conditioning=words, guidance=3.5)
    sampled = graph.add(
        "KSampler",
        2,
        model=patched,
        seed=SEED,
        steps=28,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        positive=guided,
        negative=graph.add("ConditioningZeroOut", 1, conditioning=words),
        latent_image=graph.add("EmptySD3LatentImage", 2),
    )
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


def image_sampler(
    graph: Graph,
    patched: Node,
    positive: Node,
    negative: Node,
    latent: str,
    steps: int,
    cfg: float,
    scheduler: str = "simple",
    **size: int,
) -> Node:
    """A KSampler with guidance and its empty latent."""
    return graph.add(
        "KSampler",
        2,
        model=patched,
        seed=SEED,
        steps=steps,
        cfg=cfg,
        sampler_name="euler",
        scheduler=scheduler,
        positive=positive,
        negative=negative,
        latent_image=graph.add(latent, 2, **size),
    )


def hunyuan_video_1_5(graph: Graph) -> None:
    """Video with guidance: two branches, many tokens."""
    repository = "HunyuanVideo_1.5_repackaged"
    file = split(repository, "diffusion_models", "hunyuanvideo1.5_720p_t2v_fp16.safetensors")
    qwen = split(repository, "text_encoders", "qwen_2.5_vl_7b_fp8_scaled.safetensors")
    byt5 = split(repository, "text_encoders", "byt5_small_glyphxl_fp16.safetensors")
    vae_file = split(repository, "vae", "hunyuanvideo15_vae_fp16.safetensors")
    shifted = graph.add("ModelSamplingSD3", 0, model=unet(graph, file), shift=7.0)
    patched = correction(graph, 1, shifted)
    clip = graph.add(
        "DualCLIPLoader",
        0,
        models=(qwen, byt5),
        clip_name1=qwen.name,
        clip_name2=byt5.name,
        type="hunyuan_video_15",
    )
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
