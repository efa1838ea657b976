"""Thumbnails of the workflows: of the demos what they drew, of the others a map of their nodes, since models
of that size are not run here."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import graph as api
from comfy_server import Run, Server
from PIL import Image, ImageDraw, ImageFont

from comfy_host import load_pack

load_pack()

from adacorrection.adacorrection_core.canvas import DARK, Colour  # noqa: E402

SIZE = 512  # pixels
OVERSAMPLING = 3
BYTES = 60_000
RUNS = 5
NAMES = {
    "adacorrection_flux1_dev": "Flux.1 dev",
    "adacorrection_flux2_klein": "Flux.2 Klein",
    "adacorrection_sd3_5": "Stable Diffusion 3.5",
    "adacorrection_qwen_image": "Qwen-Image",
    "adacorrection_z_image": "Z-Image",
    "adacorrection_hunyuan_video_1_5": "HunyuanVideo 1.5",
    "adacorrection_wan2_2": "Wan 2.2",
    "adacorrection_ltx_video": "LTX-Video",
}
LINKS: dict[str, Colour] = {
    "MODEL": (178, 157, 219),
    "CLIP": (255, 213, 0),
    "VAE": (255, 110, 110),
    "CONDITIONING": (255, 169, 49),
    "LATENT": (255, 156, 249),
    "IMAGE": (100, 181, 246),
}


def of_run(server: Server, workflow: dict[str, Any]) -> Image.Image:
    """Run a demo and put together what its nodes show: pictures on top, the report below.

    Of several runs the fastest one, the least disturbed: the report tells how long it took.
    """
    prompt = api.to_prompt(workflow, server.get("/object_info").json())
    for node in prompt.values():
        if node["class_type"] == "AdaCorrectionReport":
            node["inputs"]["width"] = SIZE
    run = min((run_anew(server, prompt) for _ in range(RUNS)), key=lambda run: run.states[-1]["seconds"])
    kinds = ["AdaCorrectionCompare", "SaveImage", "AdaCorrectionReport"]
    shown = [node for kind in kinds for node in prompt if prompt[node]["class_type"] == kind]
    pictures = [fetched(server, run, node) for node in shown]
    card = Image.new("RGB", (SIZE, SIZE), DARK.background)
    top = 0
    for picture in pictures:
        share = SIZE * 3 // 5
        if picture.width == picture.height:
            picture = picture.resize((share, share), Image.Resampling.LANCZOS)
            card.paste(picture, ((SIZE - share) // 2, top))
        else:
            picture = picture.resize((SIZE, round(picture.height * SIZE / picture.width)))
            card.paste(upper_part(picture, SIZE - top), (0, top))
        top += picture.height
    return card


def run_anew(server: Server, prompt: api.Prompt) -> Run:
    """Run a prompt, also where the server knows its outcome; now and then it does not forget at once."""
    run = Run()
    while not run.states:
        server.post("/free", {"free_memory": True})
        run = server.run(prompt)
        assert run.ending == "execution_success", run.details
    return run


def upper_part(picture: Image.Image, height: int) -> Image.Image:
    """What has room of a picture, cut where nothing is drawn."""
    for bottom in range(min(height, picture.height), 1, -1):
        colours = picture.crop((0, bottom - 1, picture.width, bottom)).getcolors(picture.width) or []
        if len(colours) == 1:
            return picture.crop((0, 0, picture.width, bottom))
    return picture


def fetched(server: Server, run: Run, node: str) -> Image.Image:
    """The first picture that a node shows."""
    place = run.outputs[node]["images"][0]
    return Image.open(io.BytesIO(server.get("/view", params=place).content)).convert("RGB")


def of_map(name: str, workflow: dict[str, Any]) -> Image.Image:
    """A card with the model's name and the workflow's nodes where they stand, ours marked."""
    size = SIZE * OVERSAMPLING
    card = Image.new("RGB", (size, size), DARK.background)
    pen = ImageDraw.Draw(card)
    nodes = [node for node in workflow["nodes"] if node["type"] not in api.NOTES]
    right = max(node["pos"][0] + node["size"][0] for node in nodes)
    bottom = max(node["pos"][1] + node["size"][1] for node in nodes)
    margin, top = size * 0.06, size * 0.38  # the page puts a badge in the upper left corner
    scale = min((size - 2 * margin) / right, (size - margin - top) / bottom)
    left = (size - right * scale) / 2
    top += (size - margin - top - bottom * scale) / 2

    def at(x: float, y: float) -> tuple[float, float]:
        return left + x * scale, top + y * scale

    by_id = {node["id"]: node for node in nodes}
    for _, source, slot, target, target_slot, kind in workflow["links"]:
        start, end = by_id[source], by_id[target]
        x, y = start["pos"][0] + start["size"][0], start["pos"][1] + 40 + 22 * slot
        draw_link(
            pen,
            at(x, y),
            at(end["pos"][0], end["pos"][1] + 40 + 22 * target_slot),
            LINKS.get(kind, DARK.muted),
        )
    for node in nodes:
        x, y = node["pos"]
        is_ours = node["type"].startswith("AdaCorrection")
        pen.rounded_rectangle(
            (*at(x, y), *at(x + node["size"][0], y + node["size"][1])),
            radius=size // 90,
            fill=DARK.computed if is_ours else DARK.grid,
            outline=DARK.background,
            width=OVERSAMPLING,
        )
    title, below = (ImageFont.load_default(size=round(size * share)) for share in (0.085, 0.05))
    pen.text((margin, size * 0.21), NAMES[name], DARK.text, title, "lm")
    pen.text((margin, size * 0.31), "with AdaCorrection", DARK.computed, below, "lm")
    return card.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def draw_link(
    pen: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], colour: Colour
) -> None:
    """A link, curved as the frontend draws it."""
    reach = max(abs(end[0] - start[0]) / 2, 30)
    places = [start, (start[0] + reach, start[1]), (end[0] - reach, end[1]), end]
    points = []
    for i in range(33):
        t = i / 32
        weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
        points.append(
            tuple(sum(w * p[axis] for w, p in zip(weights, places, strict=True)) for axis in (0, 1))
        )
    pen.line(points, colour, 2 * OVERSAMPLING)


def save(card: Image.Image, path: Path) -> None:
    """As a JPEG, as good as the size allows."""
    for quality in range(92, 40, -4):
        buffer = io.BytesIO()
        card.save(buffer, "JPEG", quality=quality, optimize=True)
        if len(buffer.getvalue()) <= BYTES:
            break
    path.write_bytes(buffer.getvalue())
