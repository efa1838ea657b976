"""Two nodes for the demo workflow only: prompts and picture decoder of the small model in demo/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from safetensors import safe_open

from ..demo.picture_code import PictureCode
from .compat import make_schema

if TYPE_CHECKING:
    from torch import Tensor

MODEL_FOLDER = Path(__file__).parents[1] / "demo" / "model"
PROMPTS_FILE = MODEL_FOLDER / "conds.safetensors"
CODE_FILE = MODEL_FOLDER / "picture_code.safetensors"
CATEGORY = "model/patch/AdaCorrection demo"


class AdaCorrectionDemoPrompt(io.ComfyNode):
    """A prompt of the demo model, which has no text encoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="AdaCorrectionDemoPrompt",
            display_name="AdaCorrection Demo Prompt",
            category=CATEGORY,
            description="A prompt that AdaCorrection's small demo model was trained on.",
            is_dev_only=True,
            inputs=[
                io.Combo.Input("prompt", options=prompt_names(), tooltip="What the demo model shall draw.")
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The prompt."),
                io.Conditioning.Output(display_name="negative", tooltip="No prompt, for guidance."),
            ],
        )

    @classmethod
    def execute(cls, prompt: str) -> io.NodeOutput:
        row = prompt_names().index(prompt)
        with safe_open(PROMPTS_FILE, framework="pt") as stored:
            context, pooled = stored.get_tensor("context"), stored.get_tensor("pooled")
            nothing, nothing_pooled = stored.get_tensor("neg_context"), stored.get_tensor("neg_pooled")
        positive = conditioning(context[row : row + 1], pooled[row : row + 1])
        return io.NodeOutput(positive, conditioning(nothing, nothing_pooled))


class AdaCorrectionDemoDecode(io.ComfyNode):
    """Pictures from latents of the demo model, which has a fixed linear code in place of a VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="AdaCorrectionDemoDecode",
            display_name="AdaCorrection Demo Decode",
            category=CATEGORY,
            description="Turns a latent of AdaCorrection's small demo model into a picture.",
            is_dev_only=True,
            inputs=[io.Latent.Input("latent", tooltip="A latent of the demo model, 16 channels.")],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The picture, four pixels a latent cell.")
            ],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any]) -> io.NodeOutput:
        code = PictureCode.load(CODE_FILE)
        pictures = code.decode(code.from_comfy(latent["samples"].cpu()))
        return io.NodeOutput(pictures.movedim(1, -1))


def prompt_names() -> list[str]:
    """The demo model's prompts, in the order of its conditioning file."""
    with safe_open(PROMPTS_FILE, framework="pt") as stored:
        return list(json.loads(stored.metadata()["names"]))


def conditioning(context: Tensor, pooled: Tensor) -> list[list[Any]]:
    """A CONDITIONING of the host.

    Args:
        context: (1, 8, 256) tokens.
        pooled: (1, 256) the whole prompt.
    """
    return [[context, {"pooled_output": pooled}]]
