"""Laws tested on rank counts they were not fitted to."""

import dataclasses
import json

import numpy as np
import pytest
import scaling_fake

from cloudmask.cli.errors import UsageError
from scaling.laws import fits, holdout, laws
from scaling.laws.command import fit
from scaling.options import FitConfig, ReportConfig
from scaling.record import store
from scaling.report.command import report

RANKS = (1, 2, 4, 8, 16)
RATES = {
    "weak_gustafson": lambda n: laws.gustafson(n, 8.0, 0.03),
    "weak_usl": lambda n: laws.usl(n, 8.0, 0.01, 0.0005),
}


def study_of(folder, rate, *, noise=0.0, repeats=3):
    """A weak study whose rates follow a law, each run with its own noise."""
    found = store.read(
        scaling_fake.write_study(
            folder, ranks=RANKS, modes=("weak",), repeats=repeats, copies=False
        )
    )
    random = np.random.default_rng(0)
    for row in found.rows:
        if row["kind"] == "ranks":
            factor = np.exp(noise * random.standard_normal())
            row["patches_per_second"] = float(rate(np.float64(row["ranks"])) * factor)
    return found


def predictions(study, held):
    return {
        one.key: one
        for one in holdout.predictions(study, fits.fit_study(holdout.without(study, held)), held)
    }


@pytest.mark.parametrize("key", RATES)
def test_law_fitted_to_exact_figures_predicts_the_rest_exactly(tmp_path, key):
    one = predictions(study_of(tmp_path / "study", RATES[key]), (16,))[key]
    assert one.fitted_to == (1, 2, 4, 8)
    assert (one.ranks, one.runs) == (16, 3)
    assert one.predicted == pytest.approx(float(RATES[key](np.float64(16))), rel=1e-5)
    assert abs(one.difference) < 1e-5
    assert one.high / one.low - 1 < 1e-4


def test_runs_held_out_are_not_seen_by_the_fit(tmp_path):
    study = study_of(tmp_path / "study", RATES["weak_usl"], noise=0.02)
    before = predictions(study, (16,))["weak_usl"]
    for row in study.rows:
        if row["ranks"] == 16 and row["kind"] == "ranks":
            row["patches_per_second"] *= 0.5
    after = predictions(study, (16,))["weak_usl"]
    assert (after.predicted, after.low, after.high) == (before.predicted, before.low, before.high)
    assert after.measured == before.measured / 2
    assert after.difference == pytest.approx(after.measured / after.predicted - 1)
    assert -0.6 < after.difference < -0.4, "half of what was predicted is a shortfall"
    assert not after.inside
    assert after.runs_inside == 0
    assert "outside the 95 % interval" in holdout.sentence(after)


def test_interval_holds_as_many_further_runs_as_it_says():
    """Over many made-up studies, a run at 16 ranks falls into the interval 95 times of 100."""
    random = np.random.default_rng(1)
    ranks = np.repeat((1, 2, 4, 8), 3)
    inside = []
    for _ in range(400):
        noisy = RATES["weak_gustafson"](ranks) * np.exp(0.02 * random.standard_normal(len(ranks)))
        low, high = laws.fit(laws.GUSTAFSON, ranks.tolist(), noisy.tolist()).interval(16)
        further = RATES["weak_gustafson"](16.0) * np.exp(0.02 * random.standard_normal())
        inside.append(low <= further <= high)
    assert 0.92 <= np.mean(inside) <= 0.98


def test_without_leaves_out_every_row_of_a_rank_count(tmp_path):
    study = study_of(tmp_path / "study", RATES["weak_usl"])
    left = holdout.without(study, (4, 16))
    assert {row["ranks"] for row in left.rows} == {1, 2, 8}
    assert dataclasses.replace(left, rows=study.rows) == study


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("3", r"--hold-out 3 was not measured in .*: 1, 2, 4, 8, 16"),
        ("1,2,4,8,16", "leaves nothing to fit"),
        ("x", "--hold-out x: give whole numbers"),
    ],
)
def test_rank_counts_that_cannot_be_held_out(tmp_path, text, told):
    study = study_of(tmp_path / "study", RATES["weak_usl"])
    with pytest.raises(UsageError, match=told):
        holdout.parse(text, study)
    assert holdout.parse("", study) == ()


def test_fit_and_report_say_what_was_predicted_and_measured(tmp_path, capsys):
    path = study_of(tmp_path / "study", RATES["weak_usl"]).folder
    fit(FitConfig(path, hold_out="16"))
    told = capsys.readouterr().out
    assert "held out, weak scaling, patches/s, 16 ranks: Gustafson of 1, 2, 4, 8 ranks" in told
    record = json.loads((path / "fits.json").read_text())
    assert {one["ranks"] for one in record["held_out"]} == {16}
    weak = [one for one in record["fits"] if one["key"].startswith("weak")]
    assert [one["ranks"] for one in weak] == [[1, 2, 4, 8]] * 2
    report(ReportConfig((path,), tmp_path / "report", hold_out="16"))
    text = (tmp_path / "report" / "report.md").read_text()
    assert "## Rank counts held out" in text
    assert "the laws were fitted without the runs on 16 ranks" in text
    fit(FitConfig(path))
    assert json.loads((path / "fits.json").read_text())["held_out"] == []
