"""The table of model families in docs/families.md, from the entries that the pack works by.

$COMFYUI_PATH/.venv/bin/python tests/host/families_table.py    # writes the document anew

What a branch holds is computed as a run does it, from the sizes of a published model: the latent's from the
host's latent format and the tokens' from the tiny model of the same class.
"""

from __future__ import annotations

import math
from typing import Any

import comfy_host

DOCUMENT = comfy_host.PACK_ROOT / "docs" / "families.md"
PICTURE = (1024, 1024)
VIDEO = (480, 832)
FRAMES = 81
# Classes of the host's models without an entry, and whether anything is sampled with them.
NOT_IN_THE_TABLE = {
    "seedvr.model.NaDiT": True,
    "minimax_music.dit.MiniMaxMusic3DiT": True,
    "trellis2.model.Trellis2": True,
    "rt_detr.rtdetr_v4.RTv4": False,
    "depth_anything_3.model.DepthAnything3Net": False,
    "sam3.detector.SAM3Model": False,
}

HEAD = """\
# Model families

What AdaCorrection knows of each family that ComfyUI runs. `tests/host/families_table.py` writes this file
from `nodes/host/families*.py`, and a test compares the two.

- *Probe*: the first block of the first list (`probe_blocks` of them), run where the noise level alone leaves
  the decision in doubt. At the level *whole model* there is none, and the noise level decides. A transformer
  that is not in this table is treated so too. U-Nets are refused.
- *Looked at*: the tokens that the probe compares. *image* leaves out the prompt's in a joint sequence.
- *MB*: all that a branch holds, in fp32: velocity and clean latent of two anchors, and their probes of at
  most 1024 tokens. A branch is one conditioning; most runs have two. A picture has {side} x {side} pixels, a
  video {frames} frames of {width} x {height}, without its sound. The corrector holds {corrector:g} times the
  latent's part once more for the whole run.
- *Latent*: the latent's part of it, which grows with the size; the probe's does not, from 1024 tokens on.
- *Tested*: by the contract tests, on small models of the real classes: bit for bit the host's own output
  without corrections, fewer blocks and a near picture with a preset, the same again from the same seed, cond
  and uncond in one call and in two, bytes held as expected, and nothing left after a run.

| Family | Classes (`comfy.ldm`) | Blocks | Level | Layout | Looked at | Model | MB | Latent | Tested |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""

TAIL = """
Three more transformers of ComfyUI 0.33 have no entry and are treated as a whole: SeedVR2, which takes one
step, MiniMax Music 3 and Trellis 2. That they are recognised is tested; nothing has been sampled with them,
since their sizes are in their code: 32 blocks, or 2.5 and 3.9 billion numbers. RT-DETR, Depth Anything 3 and
SAM 3 are no samplers.
"""


def document() -> str:
    """The whole document."""
    from adacorrection.adacorrection_core.anchors import CORRECTOR_LATENTS, MAX_ANCHORS
    from adacorrection.nodes.host.families import FAMILIES

    head = HEAD.format(
        side=PICTURE[0],
        height=VIDEO[0],
        width=VIDEO[1],
        frames=FRAMES,
        corrector=CORRECTOR_LATENTS / (2 * MAX_ANCHORS),
    )
    return head + "".join(row(family) for family in FAMILIES) + TAIL


def row(family: Any) -> str:
    """One family."""
    blocks = ", ".join(f"`{stage.blocks}`" for stage in family.stages) or "-"
    layout = family.stages[0].layout.name if family.stages else "latent"
    orders = {stage.order for stage in family.stages}
    kept = "image" if orders != {"all"} or not family.tokens.has_text else "image and text"
    cells = [
        family.name,
        ", ".join(name.rpartition(".")[2] for name in family.classes),
        blocks,
        "blocks" if family.has_blocks else "whole model",
        layout,
        kept if family.has_blocks else "-",
        family.example.name,
        *memory(family),
        ", ".join(tested(family)),
    ]
    return f"| {' | '.join(cells)} |\n"


def memory(family: Any) -> tuple[str, str]:
    """What a branch of a published model holds, and how that grows, in MB."""
    from adacorrection.adacorrection_core.anchors import MAX_ANCHORS

    size, makes = branch_size(family), family.example.makes
    held, latents = size.bytes_held / 1e6, MAX_ANCHORS * size.latent_bytes / 1e6
    growth = {
        "picture": f"{latents:.1f} a picture",
        "video": f"{latents / FRAMES:.2f} a frame",
        "minute": f"{latents:.1f} a minute",
    }
    return f"{held:.0f} a {makes}", growth.get(makes, "-")


def branch_size(family: Any) -> Any:
    """The size of a branch of a published model."""
    from runs import model_of

    from adacorrection.adacorrection_core.anchors import CacheSize

    model, latent = model_of(tested(family)[0]).model.diffusion_model, (1, *latent_of(family))
    if not family.has_blocks:
        return CacheSize(1, math.prod(latent), 0, 0)
    return CacheSize(1, math.prod(latent), family.tokens.count(model, [latent], 0), family.example.width)


def latent_of(family: Any) -> tuple[int, ...]:
    """(C, ...) of the latent of a picture, a video, a minute or a shape."""
    from runs import model_of

    example = family.example
    if example.latent:
        return tuple(example.latent)
    form = model_of(tested(family)[0]).model.latent_format
    pixels = PICTURE if example.makes == "picture" else VIDEO
    sides = [side // form.spacial_downscale_ratio for side in pixels]
    frames = (FRAMES - 1) // form.temporal_downscale_ratio + 1 if example.makes == "video" else 1
    return (form.latent_channels, *([frames] if form.latent_dimensions == 3 else []), *sides)


def tested(family: Any) -> list[str]:
    """The tiny models that the contract runs on."""
    import tiny_models

    return [
        name
        for name, tiny in tiny_models.FAMILIES.items()
        if tiny.module.removeprefix("comfy.ldm.") in family.classes
    ]


if __name__ == "__main__":
    comfy_host.boot()
    comfy_host.load_pack()
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(document())
