"""The table of model families in docs/families.md, from the entries that the pack works by.

$COMFYUI_PATH/.venv/bin/python tests/host/families_table.py    # writes the document anew

What a branch holds is computed as a run does it, from the sizes of a published model: the latent's from the
host's latent format and the tokens' from the tiny model of the same class.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

import comfy_host

DOCUMENT = comfy_host.PACK_ROOT / "docs" / "families.md"
PICTURE = (1024, 1024)
VIDEO = (480, 832)
FRAMES = 81
# Classes of the host's models without an entry: nothing is sampled with them.
NOT_IN_THE_TABLE = {
    "rt_detr.rtdetr_v4.RTv4",
    "depth_anything_3.model.DepthAnything3Net",
    "sam3.detector.SAM3Model",
}

HEAD = """\
# Model families

What AdaCorrection knows of each family that ComfyUI runs. `tests/host/families_table.py` writes this file
from `nodes/host/families*.py`, and a test compares the two.

- *Level*: with a target, which all presets but Custom have, the noise level decides when a pass is due, and
  no block is looked at. With a tolerance the probe does where that leaves it in doubt: the first block of
  the first list (`probe_blocks` of them). At the level *whole model* there is none. A transformer that is not
  in this table is treated so too. U-Nets are refused.
- *Probe*: the tokens that it compares. *image* leaves out the prompt's in a joint sequence.
- *Target*, *tolerance*: MB that a branch holds in a model that computes in half precision, as most do; about
  twice as many in one that computes in float32. A branch is one conditioning; most runs have two. With a
  target it is velocity and clean latent of two full passes, which grows with the size; with a tolerance their
  probes as well, of at most 1024 tokens. A picture is a megapixel ({side} x {side}), a video {frames} frames
  of {width} x {height}, without its sound.
- The corrector holds {settlement:g} times what a branch does with a target once more for the whole run, and
  always in float32.
- *Tested*: by the contract tests, on small models of the real classes: bit for bit the host's own output
  without corrections, fewer blocks and a near picture with a preset, the same again from the same seed, cond
  and uncond in one call and in two, bytes held as expected, and nothing left after a run.

| Family | Classes (`comfy.ldm`) | Blocks | Level | Layout | Probe | Model | Target | Tolerance | Tested |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""

TAIL = """
RT-DETR, Depth Anything 3 and SAM 3, the other transformers of ComfyUI 0.33, are no samplers.
"""


def document() -> str:
    """The whole document."""
    from adacorrection.nodes.host.families import FAMILIES

    head = HEAD.format(
        side=PICTURE[0],
        height=VIDEO[0],
        width=VIDEO[1],
        frames=FRAMES,
        settlement=settlement_share(FAMILIES[0]),
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
    """What a branch of a published model holds with a target and with a tolerance, in MB."""
    makes = family.example.makes
    target, tolerance = (size.bytes_held / 1e6 for size in branch_sizes(family))
    growth = f", {target / FRAMES:.2f} a frame" if makes == "video" else ""
    return f"{target:.1f} a {makes}{growth}", f"{tolerance:.1f} a {makes}"


def settlement_share(family: Any) -> float:
    """What the corrector holds at most over what a branch does with a target."""
    from adacorrection.adacorrection_core.expected import settlement_bytes

    target, _ = branch_sizes(family)
    return settlement_bytes([], target.latent_numbers) / target.bytes_held


def branch_sizes(family: Any) -> tuple[Any, Any]:
    """The size of a branch of a published model, with a target and with a tolerance."""
    from runs import model_of

    from adacorrection.adacorrection_core.anchors import CacheSize

    model, latent = model_of(tested(family)[0]).model.diffusion_model, (1, *latent_of(family))
    target = CacheSize(1, math.prod(latent), 0, 0, dtype=torch.bfloat16)
    if not family.has_blocks:
        return target, target
    tokens = family.tokens.count(model, [latent], 0)
    return target, replace(target, num_tokens=tokens, width=family.example.width)


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
