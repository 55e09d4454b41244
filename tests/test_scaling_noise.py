"""Goodput by the noise scale: a model that says so, and is refused where nothing was measured."""

import json

import pytest
import scaling_fake

from scaling.laws import noise_scale, ratios
from scaling.options import FitConfig, ReportConfig
from scaling.record import store
from scaling.record.store import StudyError
from scaling.report.command import report

SCALE = {
    **{"b_noise": 32.0, "low": 20.0, "high": None, "s": 64.0, "g2": 2.0, "steps": 40},
    **{"biased": False, "batch_per_rank": 4, "ranks": 2, "curve": [[2, 32.0, 20.0, None]]},
}


def study(folder, change=lambda row: row, **options):
    """Of 1, 2 and 4 ranks; every row of two or more has SCALE, unless it is changed."""
    scaling_fake.write_study(folder, ranks=(1, 2, 4), **options)
    rows = store.read_rows(folder)
    (folder / "results.jsonl").unlink()
    for row in rows:
        row["noise_scale"] = SCALE if row["ranks"] > 1 else {**SCALE, "biased": True}
        store.append(folder, change(row))
    return store.read(folder)


def test_steps_and_patches_follow_the_published_form():
    """Steps as 1 + B_noise / B, patches as B + B_noise (McCandlish et al., section 2)."""
    for batch in (1, 8, 32, 1000):
        steps = (1 + 32 / batch) / (1 + 32 / 8)
        assert noise_scale.steps_ratio(32.0, batch, 8) == pytest.approx(steps)
        patches = (batch + 32) / (8 + 32)
        assert noise_scale.efficiency(32.0, batch, 8) == pytest.approx(1 / patches)
    assert noise_scale.efficiency(32.0, 32, 1e-9) == pytest.approx(1 / 2)


def test_goodput_is_the_rate_times_the_efficiency_of_the_batch(tmp_path):
    found = study(tmp_path / "study")
    known = noise_scale.of_study(found, "weak")
    assert (known.critical.value, known.critical.repeats, known.biased) == (32, 6, False)
    assert known.batches == {1: 4, 2: 8, 4: 16}
    rates = ratios.throughput(found, "weak")
    for point, rate in zip(noise_scale.goodput(found, known), rates, strict=True):
        share = 36 / (4 * point.ranks + 32)
        assert point.estimate.value == pytest.approx(rate.estimate.value * share)
        assert point.estimate.low <= point.estimate.value <= point.estimate.high
    strong = noise_scale.of_study(found, "strong")
    assert noise_scale.goodput(found, strong)[-1].estimate.value == pytest.approx(
        ratios.throughput(found, "strong")[-1].estimate.value
    ), "a fixed batch loses nothing"


def test_runs_on_other_numbers_of_ranks_are_not_pooled_into_an_interval(tmp_path):
    """One run each on 1, 2 and 4 ranks, whose noise scale drifts with the ranks."""

    def drifting(row):
        scale = {**SCALE, "biased": False, "b_noise": 10.0 * row["ranks"]}
        return {**row, "noise_scale": scale}

    few = noise_scale.of_study(study(tmp_path / "few", drifting, repeats=2), "weak").critical
    assert noise_scale.told(few) == "20.00 (10.00 - 40.00)"
    found = study(tmp_path / "many", drifting)
    many = noise_scale.of_study(found, "weak")
    assert noise_scale.told(many.critical) == "20.00 [10.00, 40.00]"
    assert many.critical.coverage == pytest.approx(1 - 2 / 2**6)
    last = noise_scale.goodput(found, many)[-1].estimate
    assert last.coverage == pytest.approx(1 - 4 / 2**6), "rate and noise scale are of the same runs"


def test_runs_of_one_rank_count_only_where_there_are_no_others_and_are_called_biased(tmp_path):
    def one_rank_alone(row):
        return {**row, "noise_scale": row["noise_scale"] if row["ranks"] == 1 else None}

    known = noise_scale.of_study(study(tmp_path / "study", one_rank_alone), "weak")
    assert known.biased
    assert any("BIASED" in note for note in known.notes)


def test_what_was_not_measured_or_is_lost_in_noise_is_refused_in_one_line(tmp_path):
    plain = store.read(scaling_fake.write_study(tmp_path / "plain"))
    assert noise_scale.lines(plain) == [
        f"gradient noise scale, {mode}: not measured; train with --noise-scale, on two ranks or "
        "more"
        for mode in ("strong", "weak")
    ]

    def lost(row):
        worse = {**SCALE, "b_noise": None} if row["seed"] < 4 else SCALE
        return {**row, "noise_scale": worse}

    known = noise_scale.of_study(study(tmp_path / "lost", lost), "weak")
    assert known.critical is None
    assert "in 12 of 18 runs the gradient is lost in its noise" in known.refusal


def test_the_report_shows_goodput_and_says_loudly_that_it_is_a_model(tmp_path, capsys):
    from scaling.laws.command import fit

    folder = tmp_path / "study"
    study(folder)
    report(ReportConfig((folder,), tmp_path / "out"))
    text = (tmp_path / "out" / "report.md").read_text()
    assert "## Goodput by the gradient noise scale, weak scaling" in text
    table = text.partition("Goodput by the gradient noise scale, weak")[2]
    assert "A MODEL, NOT A MEASUREMENT" in table
    assert "Critical batch, median over runs: 32.00 [32.00, 32.00] patches" in table
    (line,) = [line for line in table.splitlines() if line.startswith("| 4 | 16 |")]
    assert "| 0.500 |" in line
    assert "| 0.750 [0.750, 0.750] |" in line
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count("<figure") == 7
    capsys.readouterr()
    fit(FitConfig(folder))
    assert "critical batch 32.00 [32.00, 32.00] patches; A MODEL" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [{"biased": 1}, {"s": "much"}, {"curve": [1]}, {"b_noise": []}])
def test_a_row_that_holds_something_else_is_refused(tmp_path, wrong):
    with pytest.raises(StudyError, match="something else than a study's 'noise_scale'"):
        study(tmp_path / "study", lambda row: {**row, "noise_scale": {**SCALE, **wrong}})


def test_what_a_training_writes_is_what_a_study_reads():
    """The record of cloudmask.train.noise, put together as summary.py does."""
    from cloudmask.train import noise
    from scaling.record import shapes

    sums = noise.add([], 5.0, -0.5, biased=False)
    told = {"noise_scale": {**noise.estimate(sums), "sums": sums}}
    place = {"batch_per_rank": 4, "ranks": 2}
    curve = noise.curve([{"epoch": 1, **told}])
    row = {"noise_scale": {**noise.estimate(sums), **place, "curve": curve}}
    row |= dict.fromkeys(("point", "mode", "kind", "status"), "failed") | {"ranks": 2, "repeat": 1}
    shapes.check_row(json.loads(json.dumps(row)))
