"""The bench command end to end on one picture, and its arithmetic by hand."""

import json
import math
from pathlib import Path

import pytest

from adacorrection_core.base_rules import StretchRule
from bench import __main__ as command
from bench import methods, results
from bench.journal import Journal, JournalError
from bench.provenance import PACKAGES, code_state
from bench.results import Row, Sample
from demo.sampler import Setting


def row(fraction: float, psnr: float, method: str = "ours") -> Row:
    return Row("demo", method, "", fraction, psnr, 0.0, psnr, 1.0, 2.0, None, 1)


def test_fidelity_is_read_between_the_settings_that_none_beats():
    rows = [row(0.3, 40.0), row(0.5, 60.0), row(0.4, 35.0)]
    assert results.fidelity_at(rows, 0.4) == pytest.approx(50.0)
    assert math.isnan(results.fidelity_at(rows, 0.6))


def test_each_base_rule_stands_above_itself_with_the_correction():
    rows = [row(0.3, 40.0, "A"), row(0.5, 50.0, "A"), row(0.4, 47.0, "A + X"), row(0.6, 57.0, "A + X")]
    rows.append(row(0.5, 99.0, "B"))
    lines = results.paired_table(rows, (0.4, 0.5), " + X").splitlines()
    assert lines[2:] == ["| A | 45.0 | 50.0 |", "| + X | 47.0 | 52.0 |", "| difference | +2.0 | +2.0 |"]
    assert results.paired_table(rows[:2], (0.4,), " + X") == ""


def test_rank_correlation_by_hand():
    assert results.rank_correlation([(1, 10), (2, 20), (3, 30)]) == 1.0
    assert results.rank_correlation([(1, 30), (2, 20), (3, 10)]) == -1.0
    assert results.rank_correlation([(5, 1), (5, 2), (9, 3)]) == pytest.approx(0.75**0.5)  # ranks 1.5, 1.5, 3
    assert math.isnan(results.rank_correlation([(1, 1)]))


def test_rows_are_taken_up_with_the_code_that_made_them_alone(tmp_path: Path):
    path, sample = tmp_path / "b.jsonl", Sample(40.0, 41.0, 0.9, 0.5, 1.0, 2.0, 10, 0.1, 0.1)
    for package in PACKAGES:
        (tmp_path / package).mkdir()
    code = code_state(tmp_path)
    assert code == code_state(tmp_path)
    Journal(path, {"steps": 8}, code, False).add(4, 0, {("ours", "2x"): sample})
    assert Journal(path, {"steps": 8}, code, True).done == {(4, 0): {("ours", "2x"): sample}}

    (tmp_path / "bench" / "methods.py").write_text("TARGETS = ()")
    with pytest.raises(JournalError, match=r"the code \(adacorrection_core, bench, demo\) has changed since"):
        Journal(path, {"steps": 8}, code_state(tmp_path), True)
    with pytest.raises(JournalError, match="with commit unknown, and now it is commit abc"):
        Journal(path, {"steps": 8}, code | {"commit": "abc"}, True)
    path.write_text('{"steps": 8}\n')
    with pytest.raises(JournalError, match="does not say with which code"):
        Journal(path, {"steps": 8}, code, True)


def test_rows_are_means_and_medians():
    samples = [
        Sample(40.0, 41.0, 0.9, 0.5, 1.0, 2.0, 10, 0.1, 0.1),
        Sample(60.0, 61.0, 1.0, 0.7, 1.0, 4.0, 20, 0.2, 0.3),
    ]
    made = results.make_row("demo", "ours", "2x", samples)
    assert (made.latent_psnr, made.psnr, made.speedup, made.bytes_held) == (50.0, 51.0, 3.0, 20)
    assert (made.block_fraction, made.relative_l2) == pytest.approx((0.6, 0.2))
    assert results.table([made]).endswith(
        "| ours | 2x | 0.600 | 50.0 | 14.1 | 2.0e-01 | 51.0 | 0.9500 | 3.00x | 20 |"
    )


def test_a_method_is_asked_for_whole_or_at_one_setting():
    half = methods.steps_only(Setting(28, 3.0))[3]
    assert (half.name, half.value) == ("Fewer steps", "14")
    assert command.is_asked_for(half, None)
    assert command.is_asked_for(half, ["Fewer steps"])
    assert command.is_asked_for(half, ["AdaCorrection", "Fewer steps=14"])
    assert not command.is_asked_for(half, ["Fewer steps=12"])


def test_the_command(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr(methods, "TOLERANCES", (0.004, 0.1))
    monkeypatch.setattr(methods, "TARGETS", (2.0,))
    monkeypatch.setattr(methods, "SHARES", (0.5,))
    arguments = ["--prompts", "4", "--steps", "10", "--groups", "ours", "steps", "--out", str(tmp_path / "b")]

    assert command.main(arguments) == 0

    printed = capsys.readouterr().out
    assert "| AdaCorrection | 0.004 |" in printed
    written = json.loads((tmp_path / "b.json").read_text())
    assert (tmp_path / "b.png").stat().st_size > 10_000
    found = {(r["method"], r["value"]): r for r in written["rows"]}
    assert found["Fewer steps", "5"]["block_fraction"] == pytest.approx(0.5)
    ours = found["AdaCorrection", "0.1"]
    assert ours["block_fraction"] < found["AdaCorrection", "0.004"]["block_fraction"] <= 1
    assert 20 < ours["latent_psnr"] < 100


def test_solvers_truth_features_and_a_run_that_is_taken_up(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr(methods, "SHARES", (0.5,))
    monkeypatch.setattr(methods, "TARGETS", (1.5,))
    arguments = ["--steps", "8", "--cfg", "1", "--groups", "solvers", "--truth", "12", "--frechet"]
    arguments += [
        "--methods",
        "Fewer steps, dpmpp_2m",
        "uni_pc + AdaCorrection",
        "--out",
        str(tmp_path / "b"),
    ]
    assert command.main([*arguments, "--prompts", "4"]) == 0
    journal = tmp_path / "b.jsonl"
    first = journal.read_text().splitlines()
    journal.write_text("\n".join(first) + '\n{"prompt": 5, "se')  # cut off in the middle of a line

    assert command.main([*arguments, "--prompts", "4", "5", "--resume"]) == 0

    assert journal.read_text().splitlines()[:2] == first
    assert len(journal.read_text().splitlines()) == 3
    rows = {(r["method"], r["value"]): r for r in json.loads((tmp_path / "b.json").read_text())["rows"]}
    assert {row["pictures"] for row in rows.values()} == {2}
    whole, half = rows["Fewer steps, dpmpp_2m", "8"], rows["Fewer steps, dpmpp_2m", "4"]
    assert whole["truth_psnr"] > half["truth_psnr"]
    assert 0.5 < rows["uni_pc + AdaCorrection", "1.5x"]["block_fraction"] < 0.9
    assert "latent PSNR, dB, to the truth, at" in capsys.readouterr().out
    assert command.main([*arguments, "--steps", "9", "--prompts", "4", "--resume"]) == 2
    assert "other conditions" in capsys.readouterr().err


def test_every_base_rule_is_compared():
    assert {make for _, _, make in methods.BASE_RULES} == set(StretchRule.__subclasses__())


@pytest.mark.parametrize("kind", ["rules", "ablation"])
def test_every_rule_can_run(kind):
    model, setting = command.load_model(command.MODEL_FOLDER), command.Setting(8, 1.0)
    for contender in {c.name: c for c in command.contenders([kind], setting)}.values():
        drawn = contender.draw(model, 0, 0, setting)
        assert 0 < drawn.block_fraction <= 1
        assert drawn.latent.isfinite().all()
