"""The nodes by themselves: schema, presets, errors; a tiny model is patched, sampled and reported on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import folder_paths
import pytest
import torch
from comfy_api.latest import io

import tiny_models
from adacorrection.adacorrection_core import BOUNDS, PRESETS, ConfigError, CorrectionConfig
from adacorrection.nodes import apply
from adacorrection.nodes.apply import CHOICES, CUSTOM, DEFAULTS, TARGET, AdaCorrection, make_config
from adacorrection.nodes.compare import AdaCorrectionCompare
from adacorrection.nodes.demo_nodes import AdaCorrectionDemoDecode, AdaCorrectionDemoPrompt, prompt_names
from adacorrection.nodes.host.session import report_of
from adacorrection.nodes.report import AdaCorrectionReport

NODES = [
    AdaCorrection,
    AdaCorrectionReport,
    AdaCorrectionCompare,
    AdaCorrectionDemoPrompt,
    AdaCorrectionDemoDecode,
]
SHARED = {"start_percent": 0.0, "end_percent": 1.0, "cache_placement": "auto"}
FAMILY = "flux_dev"

Node = type[io.ComfyNode]


@pytest.fixture(autouse=True)
def previews_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The report's previews go to the host's temp folder, which is not ours to write into."""
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))


def widgets(node: Node) -> dict[str, Any]:
    """Every input of a node by name, with those that only some choices of a preset have."""
    return {entry.id: entry for top in node.define_schema().inputs for entry in top.get_all()}


def chosen(choice: str, **values: Any) -> dict[str, Any]:
    """The preset input as the host hands it to the node."""
    return {"preset": choice, **values}


def custom() -> dict[str, Any]:
    names = [entry.id for entry in options()[CUSTOM]]
    return chosen(CUSTOM, **{name: DEFAULTS[name] for name in names})


def options() -> dict[str, list[Any]]:
    return {option.key: option.inputs for option in widgets(AdaCorrection)["preset"].options}


def test_extension_lists_the_nodes(pack: ModuleType) -> None:
    extension = asyncio.run(pack.comfy_entrypoint())
    assert asyncio.run(extension.get_node_list()) == NODES


@pytest.mark.parametrize("node", NODES)
def test_schema_is_valid(node: Node) -> None:
    schema = node.GET_SCHEMA()
    schema.validate()

    assert schema.node_id.startswith("AdaCorrection")
    assert schema.category.startswith("model/patch")
    assert schema.description
    info = node.GET_NODE_INFO_V1()
    assert info["name"] == schema.node_id
    assert info["output_name"] == [output.display_name for output in schema.outputs]


@pytest.mark.parametrize("node", NODES)
def test_everything_has_a_tooltip(node: Node) -> None:
    schema = node.define_schema()
    assert [entry.id for entry in widgets(node).values() if not entry.tooltip] == []
    assert [output.display_name for output in schema.outputs if not output.tooltip] == []


def test_ranges_are_those_of_the_core() -> None:
    numbers = {name: entry for name, entry in widgets(AdaCorrection).items() if name in BOUNDS}

    assert numbers.keys() == BOUNDS.keys()
    for name, entry in numbers.items():
        assert (entry.min, entry.max, entry.step) == (BOUNDS[name].low, BOUNDS[name].high, BOUNDS[name].step)
        assert entry.min <= entry.default <= entry.max


def test_choices_show_their_own_inputs() -> None:
    shown = {choice: [entry.id for entry in inputs] for choice, inputs in options().items()}

    assert list(shown) == ["Quality", "Balanced", "Fast", TARGET, CUSTOM]
    assert shown["Quality"] == shown["Balanced"] == shown["Fast"] == []
    assert shown[TARGET] == ["target_speedup"]
    assert "tolerance" in shown[CUSTOM] and "mode" in shown[CUSTOM]


def test_rarely_used_inputs_are_advanced() -> None:
    declared = AdaCorrection.GET_NODE_INFO_V1()["input"]["required"]
    assert [name for name, (_, look) in declared.items() if look.get("advanced")] == list(SHARED)


def test_every_setting_of_the_config_can_be_reached() -> None:
    settings = DEFAULTS.keys() - {"preset"}
    assert settings <= widgets(AdaCorrection).keys()
    assert apply.TOOLTIPS.keys() == settings | {"preset"}


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_that_of_the_table(name: str) -> None:
    assert make_config(chosen(name.title()), SHARED) == PRESETS[name]


def test_shared_inputs_change_a_preset() -> None:
    config = make_config(chosen("Fast"), {**SHARED, "start_percent": 0.2, "cache_placement": "offload"})

    assert (config.start_percent, config.cache_placement) == (0.2, "offload")
    assert config.target_speedup == PRESETS["fast"].target_speedup


def test_target_sets_the_speed() -> None:
    config = make_config(chosen(TARGET, target_speedup=2.5), SHARED)
    assert config == CorrectionConfig(target_speedup=2.5, preset="target")


def test_custom_takes_every_value() -> None:
    values = {"tolerance": 0.02, "probe_blocks": 2, "warmup_steps": 4, "max_consecutive": 3, "mode": "paper"}
    assert make_config({**custom(), **values}, SHARED) == CorrectionConfig(**values)


@pytest.mark.parametrize(
    ("preset", "shared", "words"),
    [
        ({**custom(), "tolerance": 1.5}, {}, "from 0 to 1"),
        ({**custom(), "probe_blocks": 9}, {}, "from 0 to 8"),
        ({**custom(), "mode": "magic"}, {}, "accelerated, paper"),
        (chosen(TARGET, target_speedup=9.0), {}, "from 1 to 4"),
        (chosen("Balanced"), {"start_percent": 0.9, "end_percent": 0.1}, "start must lie before the end"),
        (chosen("Balanced"), {"cache_placement": "disk"}, "auto, device, offload"),
        (chosen("Ludicrous"), {}, "Quality, Balanced, Fast"),
    ],
)
def test_what_is_out_of_range_is_refused(preset: dict[str, Any], shared: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        AdaCorrection.execute(tiny_models.load(FAMILY), preset, **{**SHARED, **shared})


def test_unknown_choice_is_told_from_a_script() -> None:
    """The host drops a choice that does not exist before it calls the node."""
    with pytest.raises(ConfigError, match="Quality, Balanced, Fast"):
        AdaCorrection.execute(tiny_models.load(FAMILY), **SHARED)


@pytest.mark.parametrize("choice", CHOICES)
def test_patches_samples_and_reports(choice: str) -> None:
    model = tiny_models.load(FAMILY)
    own = {entry.id: entry.default for entry in options()[choice]}

    (patched,) = AdaCorrection.execute(model, chosen(choice, **own), **SHARED).result
    latent = tiny_models.sample(patched, FAMILY, steps=8, cfg=3.0)
    summary, hit_rate, seconds, timeline, record = AdaCorrectionReport.execute(patched, {}).result

    report = report_of(patched)
    assert patched is not model
    assert torch.isfinite(latent).all()
    assert summary == report.summary()
    assert ("With 8 steps, " in summary) == (choice != CUSTOM)  # what so few steps cost
    assert json.loads(record)["family"] == report.family
    assert (hit_rate, seconds) == (report.hit_rate, report.seconds)
    assert 0 <= hit_rate < 1 and seconds > 0
    assert timeline.ndim == 4 and timeline.shape[-1] == 3
    assert timeline.min() >= 0 and timeline.max() <= 1


def test_report_shows_text_and_picture() -> None:
    (patched,) = AdaCorrection.execute(tiny_models.load(FAMILY), chosen("Fast"), **SHARED).result
    tiny_models.sample(patched, FAMILY, steps=4)

    shown = AdaCorrectionReport.execute(patched, {}).ui

    assert shown["text"] == (report_of(patched).summary(),)
    assert len(shown["images"]) == 1


def test_report_draws_as_wide_and_as_light_as_asked() -> None:
    output = AdaCorrectionReport.execute(tiny_models.load(FAMILY), {}, width=512, theme="light")
    timeline = output.result[3]

    assert timeline.shape[2] == 512
    assert timeline[0, 0, 0].tolist() == [1.0, 1.0, 1.0]


def test_report_of_a_plain_model_says_what_to_connect() -> None:
    check_that_report_says(tiny_models.load(FAMILY), "Connect the model output of the AdaCorrection node")


def test_report_before_sampling_says_what_to_connect() -> None:
    (patched,) = AdaCorrection.execute(tiny_models.load(FAMILY), chosen("Fast"), **SHARED).result
    check_that_report_says(patched, "Connect the sampler's latent")


def check_that_report_says(model: Any, words: str) -> None:
    """It says so and raises nothing: with AdaCorrection bypassed, the rest of the prompt is to go on."""
    output = AdaCorrectionReport.execute(model, {})
    summary, hit_rate, seconds, timeline, record = output.result

    assert words in summary
    assert json.loads(record) == {}
    assert (hit_rate, seconds) == (0.0, 0.0)
    assert timeline.ndim == 4 and timeline.shape[-1] == 3
    assert timeline.std() > 0
    assert output.ui["text"] == (summary,)
    assert len(output.ui["images"]) == 1


def test_demo_prompt_gives_two_conditionings() -> None:
    (positive, negative) = AdaCorrectionDemoPrompt.execute(prompt_names()[3]).result
    (other, _) = AdaCorrectionDemoPrompt.execute(prompt_names()[4]).result

    for (context, extra), *rest in (positive, negative):
        assert rest == []
        assert context.ndim == 3 and context.shape[0] == 1
        assert extra["pooled_output"].shape == (1, context.shape[-1])
    assert not torch.equal(positive[0][0], other[0][0])
    assert not negative[0][0].any()


def test_demo_decode_gives_pictures() -> None:
    latent = torch.randn(2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    (pictures,) = AdaCorrectionDemoDecode.execute({"samples": latent}).result

    assert pictures.shape == (2, 64, 64, 3)
    assert pictures.min() >= 0 and pictures.max() <= 1 and pictures.std() > 0
