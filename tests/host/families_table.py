"""The table of model families in docs/families.md, from the entries that the pack works by.

$COMFYUI_PATH/.venv/bin/python tests/host/families_table.py    # writes the document anew
"""

from __future__ import annotations

import torch

import comfy_host

DOCUMENT = comfy_host.PACK_ROOT / "docs" / "families.md"
MEGAPIXEL = 1024 * 1024
FRAME = 832 * 480

HEAD = """\
# Model families

What AdaCorrection knows of each family that ComfyUI runs. `tests/host/families_table.py` writes this file
from `nodes/host/families.py`, and a test compares the two.

- *Probe*: the first block of the first list (`probe_blocks` of them), run at every step. At the level *whole
  model* there is none: the latent itself tells the drift, and the velocity is what is forecast. A transformer
  that is not in this table is treated so too. U-Nets are refused.
- *Kept*: the tokens whose residuals are remembered. *image* leaves out the prompt's in a joint sequence.
- *MB*: residuals of three anchors of one branch in bf16, for each megapixel of a picture or for each frame of
  a video's latent at 832 x 480. Statistics of at most 1024 tokens come on top.
- *Tested*: by the contract tests, on small models of the real classes.

| Family | Classes (`comfy.ldm`) | Blocks | Level | Layout | Kept | Model | MB | Tested |
| --- | --- | --- | --- | --- | --- | --- | ---: | --- |
"""


def document() -> str:
    """The whole document."""
    from adacorrection.nodes.host.families import FAMILIES

    return HEAD + "".join(row(family) for family in FAMILIES)


def row(family: object) -> str:
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
        kept if family.has_blocks else "velocity",
        family.example.name if family.example else "-",
        megabytes(family),
        tested(family),
    ]
    return f"| {' | '.join(cells)} |\n"


def megabytes(family: object) -> str:
    """Bytes of the residuals of a published model's branch."""
    from adacorrection.adacorrection_core.anchors import MAX_ANCHORS, CacheSize

    example = family.example
    if example is None:
        return "-"
    tokens = (FRAME if example.is_video else MEGAPIXEL) // example.pixels**2
    residual = CacheSize(1, tokens, example.width, torch.bfloat16.itemsize).residual_bytes
    return f"{MAX_ANCHORS * residual / 1e6:.0f} a {'frame' if example.is_video else 'megapixel'}"


def tested(family: object) -> str:
    """The tiny models that the contract runs on."""
    import tiny_models

    names = [
        name
        for name, tiny in tiny_models.FAMILIES.items()
        if tiny.module.removeprefix("comfy.ldm.") in family.classes
    ]
    return ", ".join(names) or "-"


if __name__ == "__main__":
    comfy_host.boot()
    comfy_host.load_pack()
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(document())
