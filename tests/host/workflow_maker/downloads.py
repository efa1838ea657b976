"""What the workflows on models that have to be downloaded share: files, notes, nodes around the sampler."""

from __future__ import annotations

from .graph import Graph, Model, Node, Output

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


def two_clips(graph: Graph, first: Model, second: Model, kind: str) -> Node:
    """The loader of two text encoders."""
    return graph.add(
        "DualCLIPLoader",
        0,
        models=(first, second),
        clip_name1=first.name,
        clip_name2=second.name,
        type=kind,
    )


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
    """A KSampler and its empty latent."""
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
