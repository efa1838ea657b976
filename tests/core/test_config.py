"""Settings: presets, ranges, and errors that say what to do."""

import dataclasses
import math

import pytest

from adacorrection_core import BOUNDS, PRESETS, ConfigError, CorrectionConfig


def test_presets_rise_in_speed():
    quality, balanced, fast = (
        CorrectionConfig.from_preset(name) for name in ("quality", "Balanced", " fast ")
    )
    assert 1 < quality.target_speedup < balanced.target_speedup < fast.target_speedup


def test_preset_takes_changes():
    config = CorrectionConfig.from_preset("fast", warmup_steps=5)
    assert config.warmup_steps == 5
    assert config.target_speedup == PRESETS["fast"].target_speedup


def test_unknown_preset_names_the_choices():
    with pytest.raises(ConfigError, match="'turbo'.*quality, balanced, fast"):
        CorrectionConfig.from_preset("turbo")


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("side", ["below", "above"])
def test_out_of_range_is_refused_with_the_range(name, side):
    bound = BOUNDS[name]
    value = bound.low - bound.step if side == "below" else bound.high + bound.step
    with pytest.raises(ConfigError, match=f"{name} is .*from {bound.low:g} to {bound.high:g}"):
        CorrectionConfig(**{name: value})


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.1", True, None])
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(ConfigError, match="tolerance"):
        CorrectionConfig(tolerance=value)


def test_fractional_count_is_refused():
    with pytest.raises(ConfigError, match="whole number"):
        CorrectionConfig(probe_blocks=1.5)


def test_end_before_start_is_refused():
    with pytest.raises(ConfigError, match="start must lie before the end"):
        CorrectionConfig(start_percent=0.8, end_percent=0.2)


@pytest.mark.parametrize(
    ("name", "choices"), [("mode", "accelerated, paper"), ("cache_placement", "auto, device, offload")]
)
def test_unknown_choice_is_refused_with_the_choices(name, choices):
    with pytest.raises(ConfigError, match=f"{name} is 'x'; choose one of: {choices}"):
        CorrectionConfig(**{name: "x"})


def test_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CorrectionConfig().tolerance = 0.5


def test_only_tolerance_zero_is_off():
    assert CorrectionConfig(tolerance=0).is_off
    assert not CorrectionConfig(tolerance=0, target_speedup=2.0).is_off
    assert not CorrectionConfig(tolerance=0, mode="paper").is_off
    assert not CorrectionConfig().is_off


def test_names_tell_settings_apart():
    configs = [
        *PRESETS.values(),
        CorrectionConfig(),
        CorrectionConfig(target_speedup=2),
        CorrectionConfig(mode="paper"),
        CorrectionConfig(warmup_steps=5),
        CorrectionConfig.from_preset("fast", probe_blocks=2),
    ]
    assert configs[0].name == "quality"
    assert len({config.name for config in configs}) == len(configs)
