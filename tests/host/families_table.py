"""The table of model families in docs/families.md, from the entries that the pack works by.

$COMFYUI_PATH/.venv/bin/python tests/host/families_table.py    # writes the document anew
"""

from __future__ import annotations

import comfy_host

DOCUMENT = comfy_host.PACK_ROOT / "docs" / "families.md"
MEGAPIXEL = 1024 * 1024
FRAME = 832 * 480
FRAMES = 21

HEAD = """\
# Model families

What AdaCorrection knows of each family that ComfyUI runs. `tests/host/families_table.py` writes this file
from `nodes/host/families*.py`, and a test compares the two.

- *Probe*: the first block of the first list (`probe_blocks` of them), run where the noise level alone leaves
  the decision in doubt. At the level *whole model* there is none, and the noise level decides. A transformer
  that is not in this table is treated so too. U-Nets are refused.
- *Looked at*: the tokens that the probe compares. *image* leaves out the prompt's in a joint sequence.
- *MB*: probes of two anchors of one branch, of at most 1024 tokens in fp32, for a megapixel or for a video at
  832 x 480. Velocity and clean latent of each come on top: 1 MB a megapixel and 16 channels, in fp32.
- *Tested*: by the contract tests, on small models of the real classes.

| Family | Classes (`comfy.ldm`) | Blocks | Level | Layout | Looked at | Model | MB | Tested |
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
        kept if family.has_blocks else "-",
        family.example.name if family.example else "-",
        megabytes(family),
        tested(family),
    ]
    return f"| {' | '.join(cells)} |\n"


def megabytes(family: object) -> str:
    """Megabytes of the probes of a published model's branch."""
    from adacorrection.adacorrection_core.anchors import MAX_ANCHORS, CacheSize

    example = family.example
    if example is None:
        return "-"
    frames = FRAMES * FRAME if example.is_video else MEGAPIXEL
    tokens = frames // example.pixels**2
    return f"{MAX_ANCHORS * CacheSize(1, 0, tokens, example.width).probe_bytes / 1e6:.0f}"


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
