"""The AdaCorrection node: a model goes in, a model that samples faster comes out."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..adacorrection_core.config import (
    BOUNDS,
    MODES,
    PLACEMENTS,
    PRESETS,
    CorrectionConfig,
    check_choice,
)
from .compat import advanced, make_schema
from .host.session import apply_correction

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

TARGET, CUSTOM = "Target speed-up", "Custom"
PRESET_NAMES = {name.title(): name for name in PRESETS}  # as the artist reads them
CHOICES = (*PRESET_NAMES, TARGET, CUSTOM)
DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(CorrectionConfig)}
DEFAULT_SPEEDUP = 2.0

TOOLTIPS = {
    "preset": (
        "How much faster, and at what price. Quality runs {quality:g} times fewer transformer blocks, "
        "Balanced {balanced:g} times and Fast {fast:g} times; the fewer, the further the picture strays from "
        "the one without this node. Target speed-up takes any number. Custom goes by a tolerance and shows "
        "every knob."
    ).format(**{name: preset.target_speedup for name, preset in PRESETS.items()}),
    "target_speedup": (
        "How many times fewer transformer blocks to run. Sampling gains a little less than that, and text "
        "encoder and VAE gain nothing. The picture pays: the more you ask, the further it strays, and "
        "with few steps all the more."
    ),
    "tolerance": (
        "Risk that a stretch of corrected steps may take before a step is computed in full: how far the "
        "model is expected to turn up to the computed steps on either side, over the length of the stretch. "
        "It ranks settings and is no error in per cent: 0.01 is careful, 0.09 bold. Higher is faster and "
        "strays further. 0 gives exactly what you get without this node."
    ),
    "sensitivity": (
        "How far the forecast is trusted, as a share of what was measured in this run. Costs no time. Low "
        "holds on to the last result, which lags behind; high follows the forecast, which may overshoot."
    ),
    "spatial_weight": (
        "How much more the detailed parts of the picture count in the drift than flat ones. Costs no time. "
        "0 counts all alike; 1 looks after edges and texture most."
    ),
    "probe_blocks": (
        "Transformer blocks that run to see the drift where the noise level alone leaves it in doubt whether "
        "to compute. Each one more sees it better and costs one more block then. 0 never looks."
    ),
    "warmup_steps": (
        "First steps that are always computed. They set the composition: fewer is faster and may change it."
    ),
    "max_consecutive": (
        "Longest stretch of corrected steps in a row. Lower is safer and slower; higher matters only where "
        "the tolerance allows such long stretches."
    ),
    "mode": (
        "accelerated saves time. paper is the published algorithm, layer by layer: it computes every block, "
        "so it saves nothing, and it changes the picture; it is there for study."
    ),
    "start_percent": (
        "Correct no step before this part of the run (0 is the first step). Later is slower and keeps closer "
        "to the composition without this node."
    ),
    "end_percent": (
        "Correct no step after this part of the run (1 is the last step). Earlier is slower and keeps the "
        "finest detail as it would be without this node."
    ),
    "cache_placement": (
        "Where the remembered results wait. device is fast and takes graphics memory; offload keeps them in "
        "RAM, which costs copying; auto takes RAM where they would not fit beside the model."
    ),
}


class AdaCorrection(io.ComfyNode):
    """Patches a diffusion transformer so that it samples with AdaCorrection."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="AdaCorrection",
            display_name="AdaCorrection",
            category="model/patch",
            description=(
                "Samples a diffusion transformer faster, with almost the same picture. It remembers where "
                "the model was going, forecasts the steps between, computes anew where the expected error "
                "asks for it, and then corrects what the forecasts missed. Place it before the sampler."
            ),
            search_aliases=[
                "teacache",
                "first block cache",
                "fbcache",
                "easycache",
                "cache",
                "speed",
                "faster",
            ],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,  # each node shows its own runs: two must not be answered with one model
            inputs=[
                io.Model.Input("model", tooltip="A diffusion transformer; its architecture is detected."),
                preset_input(),
                advanced(number_input("start_percent", DEFAULTS["start_percent"])),
                advanced(number_input("end_percent", DEFAULTS["end_percent"])),
                advanced(choice_input("cache_placement", PLACEMENTS)),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model",
                    tooltip="The same model, sampling faster. Use it for sampler and report.",
                )
            ],
        )

    @classmethod
    def execute(
        cls, model: ModelPatcher, preset: dict[str, Any] | None = None, **shared: Any
    ) -> io.NodeOutput:
        config = make_config(preset or {"preset": ""}, shared)
        node_id = cls.hidden.unique_id if cls.hidden else None
        return io.NodeOutput(apply_correction(model, config, node_id))


def preset_input() -> io.DynamicCombo.Input:
    """The choice of presets; the last two show inputs of their own."""
    custom = ["tolerance", "sensitivity", "spatial_weight", "probe_blocks", "warmup_steps", "max_consecutive"]
    inputs = {
        TARGET: [number_input("target_speedup", DEFAULT_SPEEDUP, display_mode=io.NumberDisplay.slider)],
        CUSTOM: [*(number_input(name, DEFAULTS[name]) for name in custom), choice_input("mode", MODES)],
    }
    options = [io.DynamicCombo.Option(choice, inputs.get(choice, [])) for choice in CHOICES]
    return io.DynamicCombo.Input("preset", options=options, tooltip=TOOLTIPS["preset"])


def number_input(name: str, default: float, **look: Any) -> io.Input:
    """The widget of a number, with the range that the config allows."""
    bound = BOUNDS[name]
    kind = io.Int if isinstance(bound.step, int) else io.Float
    limits = {"min": bound.low, "max": bound.high, "step": bound.step}
    return kind.Input(name, default=default, tooltip=TOOLTIPS[name], **limits, **look)


def choice_input(name: str, choices: tuple[str, ...]) -> io.Input:
    """The widget of a choice."""
    return io.Combo.Input(name, options=list(choices), default=DEFAULTS[name], tooltip=TOOLTIPS[name])


def make_config(preset: dict[str, Any], shared: dict[str, Any]) -> CorrectionConfig:
    """The config that the widgets ask for.

    Args:
        preset: the choice, under "preset", and the values of its own inputs.
        shared: values of the inputs that every choice has.

    Raises:
        ConfigError: a choice that does not exist, or a value out of its range.
    """
    settings = dict(preset)
    choice = settings.pop("preset")
    check_choice("preset", choice, CHOICES)
    if choice in PRESET_NAMES:
        return CorrectionConfig.from_preset(PRESET_NAMES[choice], **shared)
    return CorrectionConfig(**settings, **shared, preset="target" if choice == TARGET else "custom")
