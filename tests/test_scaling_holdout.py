"""Laws tested on rank counts they were not fitted to."""

import dataclasses
import json

import numpy as np
import pytest
import scaling_fake

from cloudmask.cli.errors import UsageError
from scaling.laws import fits, fitting, holdout, intervals, laws
from scaling.laws.command import fit
from scaling.options import FitConfig, ReportConfig
from scaling.record import store
from scaling.report.command import report

RANKS = (1, 2, 4, 8, 16)
RATES = {
    "weak_gustafson": lambda n: laws.gustafson(n, 8.0, 0.03),
    "weak_usl": lambda n: laws.usl(n, 8.0, 0.01, 0.0005),
}


def study_of(folder, rate, *, noise=0.0, repeats=3, seed=0):
    """A weak study whose rates follow a law, each run with its own noise."""
    found = store.read(
        scaling_fake.write_study(
            folder, ranks=RANKS, modes=("weak",), repeats=repeats, copies=False
        )
    )
    random = np.random.default_rng(seed)
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
    assert "outside the 95 % interval of the median of 3 runs" in holdout.sentence(after)


@pytest.mark.parametrize("off", [0.0, 0.02], ids=["runs alone", "rank counts too"])
@pytest.mark.parametrize("runs", [1, 6])
def test_interval_holds_as_many_further_runs_as_it_says(runs, off):
    """Over many made-up studies, the median of the runs at 16 ranks falls into its interval."""
    random = np.random.default_rng(1)
    ranks = np.repeat((1, 2, 4, 8), 3)
    inside, width = [], []
    for _ in range(200):
        as_wholes = np.repeat(off * random.standard_normal(4), 3)
        noisy = RATES["weak_gustafson"](ranks) * np.exp(as_wholes + random.normal(0, 0.02, 12))
        fit = fitting.fit(laws.GUSTAFSON, ranks.tolist(), noisy.tolist())
        (low,), (high,) = fit.interval([16], runs=runs)
        further = off * random.standard_normal() + random.normal(0, 0.02, runs)
        middle = RATES["weak_gustafson"](16.0) * np.exp(np.median(further))
        inside.append(low <= middle <= high)
        width.append(high / low - 1)
        (single_low,), (single_high,) = fit.interval([16])
        assert low >= single_low
        assert high <= single_high
    assert np.mean(inside) >= 0.93
    assert np.median(width) < 0.3, "and it says something"


def test_median_is_held_against_the_interval_of_a_median(tmp_path):
    """Off by 4 %, which one run may be and a median of nine may not."""
    study = study_of(tmp_path / "study", RATES["weak_gustafson"], noise=0.02, repeats=9, seed=1)
    for row in study.rows:
        if row["ranks"] == 16 and row["kind"] == "ranks":
            row["patches_per_second"] *= 0.96
    one = predictions(study, (16,))["weak_gustafson"]
    assert not one.inside
    assert one.runs_inside >= 5
    runs = [row["patches_per_second"] for row in study.points("weak")[16]]
    assert one.measured == intervals.median(runs).value
    assert "the 95 % interval of the median of 9 runs" in holdout.sentence(one)


def test_rejected_law_is_called_so_where_it_predicts(tmp_path):
    study = study_of(tmp_path / "study", lambda n: laws.usl(n, 8.0, 0.05, 0.02), noise=0.002)
    found = predictions(study, (16,))
    assert found["weak_gustafson"].rejected
    assert not found["weak_usl"].rejected
    assert "ranks, which they reject, predicts" in holdout.sentence(found["weak_gustafson"])


def test_allreduce_is_held_out_too(tmp_path):
    true = (10e-3, 50e-6, 2e9)
    study = study_of(tmp_path / "study", RATES["weak_usl"])
    random = np.random.default_rng(2)
    for row in study.rows:
        for one in row.get("allreduce", ()):
            exact = laws.allreduce(np.array(row["ranks"]), np.array(one["bytes"]), *true)
            one["seconds"] = float(exact * random.lognormal(0, 0.03))
    found = fits.fit_study(holdout.without(study, (16,)))
    small, large = (p for p in holdout.predictions(study, found, (16,)) if p.key == fits.ALLREDUCE)
    assert small.subject.endswith("seconds, 1.02 kB")
    assert large.subject.endswith("seconds, 16.8 MB")
    for one, size in ((small, 4**5), (large, 4**12)):
        assert one.fitted_to == (2, 4, 8)
        wanted = float(laws.allreduce(np.array(16.0), np.array(float(size)), *true))
        assert one.low < wanted < one.high
        assert one.inside
        assert one.runs == 1
        assert holdout.sentence(one).endswith("inside the 95 % interval of a single run")


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
    assert "held out, one allreduce by Horovod, seconds, 1.02 kB, 16 ranks: allreduce of" in told
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
