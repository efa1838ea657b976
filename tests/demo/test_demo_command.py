"""The demo command: what it samples, measures, prints and draws."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from demo.__main__ import MODEL_FOLDER, main, parse_options
from demo.compare import Case, Comparison, count_runs, equal_compute_baselines, run_all
from demo.flux import flux_config, pack, simple_sigmas, unpack
from demo.measures import PSNR_CAP_DB, Measurement, Row, psnr, ssim, summarise
from demo.methods import adaptive, fewer_steps, first_block_cache, full
from demo.sampler import DemoModel, Setting, euler, load_model, sample
from demo.sheet import AMPLIFICATION, RAMP, Column, contact_sheet, difference_map
from demo.table import HEADINGS, cells, markdown_table, plain_table

SETTING = Setting(num_steps=6)
ROW = Row("AdaCorrection, fast", "fast", 0.382, 0.5, 2.4, 37.84, 0.98765)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """On a busy machine two threads wait for each other longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> DemoModel:
    return load_model(MODEL_FOLDER)


def random_picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((32, 32, 3), dtype=np.float32) * 0.8 + 0.1


def measurement(picture: np.ndarray, seconds: float = 1.0, full_seconds: float = 2.0) -> Measurement:
    return Measurement(picture, 0.5, seconds, full_seconds, 40.0, 0.9)


def test_schedule_is_comfyui_simple_for_schnell():
    """simple_scheduler of ComfyUI 0.33 on ModelSamplingDiscreteFlow with shift 1 and 1000 times."""
    assert simple_sigmas(4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    table = torch.arange(1, 1001) / 1000
    for num_steps in (6, 11, 28):
        expected = [float(table[-(1 + int(i * (1000 / num_steps)))]) for i in range(num_steps)] + [0.0]
        assert simple_sigmas(num_steps) == pytest.approx(expected, abs=1e-7)


def test_packing_round_trip():
    latent = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    assert pack(latent).shape == (2, 16, 64)
    assert torch.equal(unpack(pack(latent)), latent)


def test_euler_follows_a_constant_velocity_exactly():
    start = torch.zeros(1, 1, 2, 2)
    end = euler(lambda latent, sigma: torch.full_like(latent, 3.0), start, simple_sigmas(7))
    torch.testing.assert_close(end, torch.full_like(start, -3.0))


def test_flux_config_reads_shapes_alone():
    shapes = {
        "img_in.weight": (96, 20),
        "txt_in.weight": (96, 40),
        "vector_in.in_layer.weight": (96, 24),
        "single_blocks.0.norm.query_norm.scale": (32,),
        "single_blocks.1.norm.query_norm.scale": (32,),
        "double_blocks.0.img_mod.lin.weight": (576, 96),
    }
    config = flux_config({name: torch.empty(shape) for name, shape in shapes.items()})
    assert (config["in_channels"], config["joint_attention_dim"], config["pooled_projection_dim"]) == (
        20,
        40,
        24,
    )
    assert (config["num_layers"], config["num_single_layers"]) == (1, 2)
    assert (config["num_attention_heads"], config["attention_head_dim"]) == (3, 32)
    assert config["axes_dims_rope"] == (4, 14, 14)
    assert config["guidance_embeds"] is False


def test_weights_are_float32(model: DemoModel):
    assert {p.dtype for p in model.transformer.parameters()} == {torch.float32}


def test_methods_run_the_blocks_they_say(model: DemoModel):
    results = {m: sample(model, 4, 0, m, SETTING) for m in (full(6), fewer_steps(3), first_block_cache(9.0))}
    in_full, fewer, cached = results.values()
    blocks = len(model.transformer.transformer_blocks) + len(model.transformer.single_transformer_blocks)
    assert (in_full.block_fraction, fewer.block_fraction) == (1.0, 0.5)
    # the first step and the last are computed, the other 4 run the probe alone
    assert cached.block_fraction == pytest.approx((2 * blocks + 4) / (6 * blocks))
    assert cached.report is not None and in_full.report is None
    assert not torch.equal(cached.latent, in_full.latent)


def test_a_cache_that_never_hits_changes_nothing(model: DemoModel):
    """A threshold of 0 computes every step, so the latent is bit for bit the full run's."""
    for cfg in (1.0, 3.0):
        setting = replace(SETTING, cfg=cfg)
        expected = sample(model, 4, 1, full(6), setting)
        result = sample(model, 4, 1, first_block_cache(0.0), setting)
        assert result.block_fraction == 1.0
        assert torch.equal(result.latent, expected.latent)


def test_run_alone_and_after_others_is_the_same(model: DemoModel):
    first = sample(model, 4, 0, adaptive("fast"), SETTING).latent
    sample(model, 8, 1, adaptive("quality"), SETTING)
    assert torch.equal(sample(model, 4, 0, adaptive("fast"), SETTING).latent, first)


def test_identical_pictures_reach_the_cap():
    picture = random_picture(0)
    assert psnr(picture, picture) == PSNR_CAP_DB
    assert ssim(picture, picture) == pytest.approx(1.0)


@pytest.mark.parametrize(("offset", "decibels"), [(0.1, 20.0), (0.01, 40.0)])
def test_known_error_gives_known_psnr(offset: float, decibels: float):
    picture = random_picture(0)
    assert psnr(picture + np.float32(offset), picture) == pytest.approx(decibels, abs=1e-3)


def test_ssim_falls_with_noise():
    picture, noise = random_picture(0), random_picture(1) - 0.5
    slightly, much = (ssim(picture + np.float32(share) * noise, picture) for share in (0.05, 0.5))
    assert 1 > slightly > much > 0


def test_speedup_is_the_median_of_pairs():
    picture = random_picture(0)
    pairs = [(1.0, 2.0), (4.0, 4.0), (1.0, 3.0)]
    row = summarise(full(6), [measurement(picture, *pair) for pair in pairs])
    assert (row.seconds, row.speedup, row.block_fraction) == (1.0, 2.0, 0.5)


def test_baselines_run_at_the_share_of_their_preset(model: DemoModel):
    comparison = Comparison(model, Setting(num_steps=12), [Case(4, 0)])
    comparison.measure([adaptive("fast")])
    [(fewer, cached)] = equal_compute_baselines(comparison, [adaptive("fast")])
    comparison.measure([fewer, cached])
    share = comparison.row(adaptive("fast")).block_fraction
    for method in (fewer, cached):
        assert method.group == "fast"
        assert comparison.row(method).block_fraction == pytest.approx(share, abs=0.1)


def test_progress_counts_every_run(monkeypatch: pytest.MonkeyPatch, model: DemoModel):
    answer = sample(model, 4, 0, full(6), SETTING)
    monkeypatch.setattr("demo.compare.sample", lambda *arguments: answer)
    comparison = Comparison(model, SETTING, [Case(4, 0), Case(5, 0), Case(4, 1)])
    announced: list[int] = []
    monkeypatch.setattr(comparison.bar, "update", lambda: announced.append(1))
    run_all(comparison)
    assert len(announced) == count_runs(3)


def test_table_row():
    assert cells(ROW) == ("AdaCorrection, fast", "0.38", "0.50", "2.40x", "37.8", "0.9877")
    assert cells(replace(ROW, psnr=PSNR_CAP_DB))[4] == "identical"


def test_plain_table_is_aligned():
    lines = plain_table([replace(ROW, label="Full", group=""), ROW]).splitlines()
    assert len(lines) == 5  # headings, line, full, space, fast
    assert len({len(line) for line in lines if line}) == 1


def test_markdown_table_has_a_cell_for_each_heading():
    lines = markdown_table([replace(ROW, label="Full"), ROW]).splitlines()
    assert {line.count("|") for line in lines} == {len(HEADINGS) + 1}
    assert lines[2].startswith("| Full |") and lines[3].startswith("| **AdaCorrection, fast** |")


def test_difference_map_is_white_where_equal_and_darkest_at_the_end_of_the_scale():
    reference = random_picture(0)
    picture = reference.copy()
    picture[0, 0, 1] += 1 / AMPLIFICATION + 0.01
    colours = difference_map(picture, reference)
    assert (colours[1:] == 255).all()
    assert (colours[0, 0] == RAMP[-1]).all()


def test_sheet_shows_every_picture_at_its_place():
    pictures = [random_picture(seed) for seed in range(2)]
    methods = [full(6), fewer_steps(3, "fast"), adaptive("fast")]
    columns = [Column(method, ROW, [measurement(p) for p in pictures]) for method in methods]
    sheet = np.asarray(contact_sheet(columns, ["one", "two"], "Title"))
    zoomed = [(p * 255).round().astype(np.uint8).repeat(4, 0).repeat(4, 1) for p in pictures]
    assert [count_places(sheet, picture) for picture in zoomed] == [len(methods)] * 2


def count_places(sheet: np.ndarray, picture: np.ndarray) -> int:
    """How often a picture stands on a sheet, pixel by pixel."""
    height, width = picture.shape[:2]
    corners = np.argwhere((sheet == picture[0, 0]).all(axis=-1))
    return sum(np.array_equal(sheet[y : y + height, x : x + width], picture) for y, x in corners)


def test_command_end_to_end(model: DemoModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys):
    """The real command on one prompt, 6 steps, with two methods in place of all."""

    def run_two(comparison: Comparison):
        methods = [full(6), adaptive("balanced")]
        comparison.measure(methods[1:])
        return methods

    monkeypatch.setattr("demo.__main__.run_all", run_two)
    out = tmp_path / "new" / "sheet.png"
    assert main(["--prompts", "cat", "--steps", "6", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^Full, 6 steps +1\.00 +\d+\.\d\d +1\.00x +identical +1\.0000$", printed, re.MULTILINE)
    assert re.search(
        r"^AdaCorrection, balanced +[01]\.\d\d +\d+\.\d\d +\d+\.\d\dx +\S+ +[01]\.\d{4}$",
        printed,
        re.MULTILINE,
    )
    with Image.open(out) as sheet:
        assert sheet.size[1] == 152 + (2 * 128 + 35) + 66  # header, one prompt, scale
        assert sheet.size[0] == 28 + 84 + 2 * 128 + 10 + 18 + 28  # margins, labels, two columns apart
    with Image.open(out.with_name("sheet_timeline.png")) as timeline:
        assert timeline.width == 1024


def test_missing_model_says_what_is_missing(tmp_path: Path, capsys):
    assert main(["--model", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert "tinyflux.safetensors" in message and str(tmp_path) in message and "git checkout" in message


def test_unknown_prompt_lists_the_known(capsys):
    assert main(["--prompts", "unicorn"]) == 1
    message = capsys.readouterr().err
    assert "unicorn" in message and "cat" in message


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--steps", "3", "--steps is 3"),
        ("--out", "folder", "--out is folder; it must be a picture's file name"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(option, value, message, capsys):
    with pytest.raises(SystemExit):
        parse_options([option, value])
    assert message in capsys.readouterr().err
