"""Met, missed, undecided, not comparable: by what was measured; projections never count as such."""

import argparse
import dataclasses
import json

import numpy as np
import pytest
import scaling_fake

from cloudmask.cli import errors
from cloudmask.cli.errors import UsageError
from scaling.__main__ import main as scaling_main
from scaling.check import command, reference
from scaling.check.outcome import MET, MISSED, NOT_COMPARABLE, UNDECIDED, decide, needed, worst
from scaling.check.verdict import check
from scaling.laws import intervals, projection, run_time
from scaling.options import CheckConfig
from scaling.record import store, summaries
from scaling.record.store import Study

WORK = {"training_patches": 15520, "validation_patches": 3880, "patch_size": 256, "channels": 9}


@pytest.fixture
def made(tmp_path):
    """made(ranks=..., **columns): a study whose rows have these columns."""

    def make(ranks=(1, 2, 4, 8), **columns):
        return store.read(scaling_fake.write_study(tmp_path / "study", ranks=ranks, **columns))

    return make


def _full(seconds, **changes):
    """Columns of runs that did the reference's work in so many seconds from the launch."""
    work = {"epochs_run": 30, "validations": 30, "patches_trained": 30 * 15520}
    work |= {"wall_seconds": seconds, "total_seconds": seconds - 20}
    return {**WORK, **work, "device": "NVIDIA A100", **changes}


def _change(study, change, *, where=lambda row: True):
    """The study with change(number of the row among those) in some of its rows."""
    rows, number = [], 0
    for row in study.rows:
        if where(row) and row["kind"] == "ranks":
            row, number = row | change(number), number + 1
        rows.append(row)
    return Study(study.folder, study.header, rows)


@pytest.mark.parametrize(("seconds", "code"), [(3000.0, MET), (3540.0, MET), (3600.0, MISSED)])
def test_time_of_the_same_work_is_met_or_missed(made, seconds, code):
    verdict = check(made(**_full(seconds)), reference.load("cloudmask-dgx2"))
    assert verdict.code == code
    assert "measured on 8 ranks" in verdict.why
    assert any(f"{8 * seconds / 3600:.2f} rank-hours" in line for line in verdict.lines)


def test_the_whole_interval_must_be_on_the_good_side(made):
    """Runs of 3000 to 3600 s: their median is within 3540 s, and another run may not be."""
    dgx2 = reference.load("cloudmask-dgx2")
    seconds = [3000.0, 3100.0, 3200.0, 3300.0, 3400.0, 3600.0]
    study = _change(made(**_full(100.0)), lambda n: {"wall_seconds": seconds[n % 6]})
    verdict = check(study, dgx2)
    assert verdict.code == UNDECIDED
    assert "the interval lies across the figure; about 3 more runs may decide it" in verdict.why


@pytest.mark.parametrize(("repeats", "more"), [(1, "5 more runs"), (5, "1 more run")])
def test_too_few_runs_are_undecided_and_say_how_many_more_it_takes(made, repeats, more):
    for seconds in (100.0, 9000.0):
        verdict = check(made(repeats=repeats, **_full(seconds)), reference.load("cloudmask-dgx2"))
        assert verdict.code == UNDECIDED
        assert verdict.why.endswith(f"it takes {more}")


def test_time_counts_from_the_launch(made):
    """The program's own clock is within the figure, the launcher's is not."""
    verdict = check(made(**_full(3600.0, total_seconds=3500.0)), reference.load("cloudmask-dgx2"))
    assert verdict.code == MISSED
    assert "60.0 min [60.0 min, 60.0 min]" in verdict.why


def test_strong_and_weak_runs_are_never_pooled(made):
    """Strong ones take 5000 s, weak ones 2000 s: no median of both says anything."""
    dgx2 = reference.load("cloudmask-dgx2")
    study = made(**_full(2000.0))
    study = _change(study, lambda n: {"wall_seconds": 5e3}, where=lambda r: r["mode"] == "strong")
    verdict = check(study, dgx2)
    assert verdict.code == MISSED
    assert "strong: 83.3 min" in verdict.why
    assert "weak: 33.3 min" in verdict.why
    assert check(study, dgx2, mode="weak").code == MET
    assert check(study, dgx2, mode="strong").code == MISSED
    study = _change(study, lambda n: {"validations": 1}, where=lambda r: r["mode"] == "weak")
    verdict = check(study, dgx2)
    assert verdict.code == MISSED
    assert verdict.why.startswith("strong: 83.3 min")
    assert verdict.why.endswith("; weak: other work: 1 validations instead of 30")
    with pytest.raises(UsageError, match="--mode strong was not measured; there is weak"):
        check(made(modes=("weak",)), dgx2, mode="strong")


@pytest.mark.parametrize("name", ["precision", "global_batch", "batch_per_rank"])
def test_runs_of_another_batch_or_precision_have_an_outcome_of_their_own(made, name):
    study = made(modes=("weak",), **_full(2000.0))
    study = _change(study, lambda n: {name: "odd" if n % 2 else "even"})
    verdict = check(study, reference.load("cloudmask-dgx2"))
    assert verdict.code == UNDECIDED  # three runs each
    assert "no 95 % interval from 3 runs" in verdict.why
    assert sum("accuracy of these runs" in line for line in verdict.lines) == 2


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        ({"precision": "tf32"}, "float32 precision instead of tf32"),
        ({"work": {"global_batch": 512}}, "32 global batch instead of 512"),
        ({"work": {"batch_per_rank": 16}}, "4 batch per rank instead of 16"),
        ({"work": {"validations": 1}}, "30 validations instead of 1"),
    ],
)
def test_batch_precision_and_validations_are_compared_where_they_are_stated(
    made, tmp_path, stated, says
):
    asked = json.loads((reference.FOLDER / "cloudmask-dgx2.json").read_text())
    changed = asked | stated | {"work": asked["work"] | stated.get("work", {})}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(changed))
    verdict = check(made(**_full(3000.0)), reference.load(str(path)))
    assert verdict.code == NOT_COMPARABLE
    assert says in verdict.why


def test_a_resumed_run_counts_its_earlier_parts_and_can_only_be_missed(made):
    """90,000 s before and 100 s after are at least 90,100 s, and nobody knows how much more."""
    dgx2 = reference.load("cloudmask-dgx2")
    verdict = check(made(**_full(100.0, before_resume_seconds=90_000.0)), dgx2)
    assert verdict.code == MISSED
    assert "25.0 h" in verdict.why
    assert any("a run took at least 200.2 rank-hours, 200.2" in line for line in verdict.lines)
    verdict = check(made(**_full(100.0, before_resume_seconds=900.0)), dgx2)
    assert verdict.code == NOT_COMPARABLE
    assert "it was resumed, and neither the launch of the earlier parts" in verdict.why
    assert "at least 16.7 min" in verdict.why


def test_runs_that_failed_are_told_beside_the_others(made):
    study = made(modes=("weak",), **_full(3000.0))
    gone = study.measured[-1] | {"point": "weak-ranks-n0008-r07", "status": "failed"}
    verdict = check(
        Study(study.folder, study.header, [*study.rows, gone]), reference.load("cloudmask-dgx2")
    )
    assert "1 more run failed; their time is not in this" in verdict.lines
    assert verdict.code == MET
    many = [gone | {"point": f"weak-ranks-n0008-r{n:02d}"} for n in range(7, 13)]
    study = Study(study.folder, study.header, [*study.rows, *many])
    verdict = check(study, reference.load("cloudmask-dgx2"))
    assert verdict.code == UNDECIDED, "six ended well, six failed"
    assert verdict.why.endswith("as many runs failed, or more")


def test_a_run_whose_ranks_changed_is_other_work(made):
    verdict = check(made(**_full(100.0, resets=2)), reference.load("cloudmask-dgx2"))
    assert verdict.code == NOT_COMPARABLE
    assert "its ranks changed 2 times while it ran" in verdict.why


def test_outcomes_are_decided_by_whole_intervals_and_the_worst_one_counts():
    estimate = intervals.Estimate(10.0, 9.0, 12.0, 0.97, 6)
    assert decide(estimate, 9.0, np.inf) == MET
    assert decide(estimate, -np.inf, 8.9) == decide(estimate, 12.1, 20) == MISSED
    assert decide(estimate, 9.5, np.inf) == decide(estimate, -np.inf, 10.5) == UNDECIDED
    assert "about 90 more runs" in needed(estimate, -np.inf, 10.5)  # (2 / 0.5)^2 times the 6
    assert "no number of runs" in needed(estimate, 10.0, np.inf)
    assert worst([MET, UNDECIDED]) == UNDECIDED
    assert worst([UNDECIDED, NOT_COMPARABLE, MET]) == NOT_COMPARABLE
    assert worst([UNDECIDED, NOT_COMPARABLE, MISSED]) == MISSED


@pytest.mark.parametrize("repeats", [6, 9, 15])
def test_at_the_boundary_met_is_said_in_less_than_one_of_twenty_studies(repeats):
    """Simulated: the true median is exactly the figure; skewed run times. Seeded."""
    rng = np.random.default_rng(13)
    times = np.exp(rng.gumbel(size=(4000, repeats)) * 0.05)
    figure = np.exp(-np.log(np.log(2)) * 0.05)
    said = [decide(intervals.median(row.tolist()), -np.inf, figure) for row in times]
    assert 0.002 < said.count(MET) / len(said) < 0.05
    assert 0.002 < said.count(MISSED) / len(said) < 0.05
    ratio = [
        decide(intervals.ratio(*map(intervals.median, pair)), 1.0, np.inf)
        for pair in zip(times[::2].tolist(), times[1::2].tolist(), strict=True)
    ]
    assert ratio.count(MET) / len(ratio) < 0.05


def test_inferences_that_were_not_run_can_only_be_missed(made):
    a100 = reference.load("cloudmask-a100")
    assert check(made(**_full(1600.0)), a100).code == MISSED
    verdict = check(made(**_full(1400.0)), a100)
    assert verdict.code == NOT_COMPARABLE
    assert "100 inferences" in verdict.why


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"training_patches": 800}, "800 training patches instead of 15520"),
        ({"epochs_run": 12}, "12 epochs instead of 30"),
        ({"validation_patches": None}, "None validation patches instead of 3880"),
        ({"validations": 1}, "1 validations instead of 30"),
        ({"patches_trained": 99}, "99 patches trained instead of 465600"),
    ],
)
def test_other_work_is_projected_and_not_compared(made, changes, says):
    verdict = check(made(**_full(100.0, **changes)), reference.load("cloudmask-dgx2"))
    assert verdict.code == NOT_COMPARABLE
    assert says in verdict.why
    assert verdict.why.startswith("projected only")


@pytest.mark.parametrize("changes", [{"patch_size": 128}, {"parameters": 1000}, {"channels": 3}])
def test_patches_of_another_kind_are_not_even_projected(made, changes):
    verdict = check(made(**_full(100.0, **changes)), reference.load("cloudmask-dgx2"))
    assert verdict.code == NOT_COMPARABLE
    assert "not projected either" in verdict.why
    assert not any("projected for" in line for line in verdict.lines)


def test_quality_that_is_asked_for_must_be_reached(made, tmp_path):
    asked = json.loads((reference.FOLDER / "cloudmask-dgx2.json").read_text())
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(asked | {"quality": {"accuracy": 0.95}}))
    verdict = check(made(**_full(100.0)), reference.load(str(path)))
    assert verdict.code == NOT_COMPARABLE
    assert "other quality" in verdict.why


def test_projection_puts_measured_parts_together():
    """By hand: 8 + 4 + 5 s, and 30 epochs of training, validation and a checkpoint."""
    row = {
        **{"patches_per_second": 10.0, "patches_trained": 160, "total_seconds": 17 + 16 + 6.0},
        **{"startup_seconds": 8.0, "first_epoch_seconds": 12.0, "first_epoch_patches": 80},
        **{"validation_seconds": 4.0, "validations": 2, "validation_patches": 20},
        **{"checkpoints_seconds": 2.0, "epochs_run": 2},
    }
    parts = run_time.parts(row)
    assert (parts.startup, parts.surplus, parts.rest) == (8.0, 4.0, 5.0)
    work = {"training_patches": 15520, "validation_patches": 3880, "epochs": 30}
    at_twice_the_rate = float(parts.total(work, np.array(20.0)))
    wanted = 17 + 30 * (15520 / 20 + 3880 * 0.1 * 10 / 20 + 1)
    assert at_twice_the_rate == pytest.approx(wanted)


def test_projection_holds_the_true_time_and_says_how_many_devices(made):
    study = made(ranks=(1, 2, 3, 4, 8))
    dgx2 = reference.load("cloudmask-dgx2")
    found = projection.project(study, dgx2.work)
    low, middle, high = found.at(4)
    assert low < middle < high
    # scaling_fake's law, its constants, and its 4 s for two validations of 20 patches on 8 ranks:
    # each rank has 3 at most, which take a step of 4. Its launch takes 2.6 s more.
    rate, largest = 5.0 * 4 / (0.05 * 4 + 0.95), 5.0 * 8 / (0.05 * 8 + 0.95)
    validation = 4 * 972 * 4.0 / (2 * 8 * 4) * largest / rate
    wanted = 8 + 4 + 2.6 + 30 * (15520 / rate + validation + 0.5)
    assert low < wanted < high
    assert middle == pytest.approx(wanted, rel=0.03)
    lines = " ".join(check(study, dgx2).lines)
    assert "32 such devices: " in lines
    assert "of parts measured on 8 ranks: start-up 8.0 s, first epoch's surplus" in lines
    assert "validation 16.00 patches/s, a checkpoint 0.50 s" in lines
    assert "projected" in lines
    assert "weak scaling (measured on 1, 2, 3, 4, 8 ranks)" in lines


def test_validation_that_was_not_measured_is_said_to_be_assumed(made):
    dgx2 = reference.load("cloudmask-dgx2")
    assert "validation was not measured" not in " ".join(check(made(), dgx2).lines)
    lines = check(made(validations=0), dgx2).lines
    assert "validation was not measured" in " ".join(lines)


def test_number_of_devices_is_the_first_that_meets_the_figure():
    seconds = np.array([[90.0, 45, 30, 20], [100, 50, 33, 25], [110, 55, 40, 30]])
    parts = run_time.Parts(8.0, 4.0, 5.0, 1.0, 0.1, 10.0)
    found = projection.Projection("USL", (1, 2), np.arange(1.0, 5.0), seconds, 6, parts, 2)
    assert found.reached(50) == (2, 3)
    assert found.reached(24) == (None, None)


def test_one_rank_count_projects_only_to_itself(made):
    verdict = check(made(ranks=(1,)), reference.load("cloudmask-dgx2"))
    lines = " ".join(verdict.lines)
    assert "1 such devices" in lines
    assert "32 such devices" not in lines
    assert "is open" in lines


def test_speedups_are_compared_where_both_measured(made):
    pearl = reference.load("pearl-horovod")
    assert check(made(), pearl).code == NOT_COMPARABLE  # CPU against GPUs
    slower = check(made(device="NVIDIA A100"), pearl)
    assert slower.code == UNDECIDED
    assert [line.split(":")[0] for line in slower.lines] == ["2 ranks", "4 ranks", "8 ranks"]
    generous = dataclasses.replace(
        pearl, figures=tuple(dataclasses.replace(one, lower=-0.15) for one in pearl.figures)
    )
    assert check(made(device="NVIDIA A100"), generous).code == MET
    unet = reference.load("nvidia-unet-v100")
    other = check(made(device="NVIDIA A100"), unet)
    assert other.code == NOT_COMPARABLE
    assert other.why == "other work: 4 batch per rank instead of 8"
    assert check(made(device="NVIDIA A100", batch_per_rank=8), unet).code == MISSED
    mixed = _change(
        made(device="NVIDIA A100"), lambda n: {"precision": "tf32" if n % 2 else "float32"}
    )
    assert "differ in precision (float32 / tf32)" in check(mixed, pearl).why
    none = check(made(ranks=(1, 3)), pearl)
    assert none.code == NOT_COMPARABLE
    assert "2, 4, 8, 16 devices over 1, this measured 1, 3" in none.why


def test_all_references_load_and_name_their_weak_points():
    assert set(reference.names()) == {
        *("cloudmask-dgx2", "cloudmask-a100", "seaice-dgxa100", "pearl-horovod"),
        *("nvidia-unet-v100", "nvidia-unet-a100"),
    }
    for name in reference.names():
        found = reference.load(name)
        assert found.name == name
        assert found.weak_points
        assert found.source


def _stated(**changes):
    """The text of a reference file whose figure or work has these."""
    figure = {"value": 60, "upper": 0}
    work = {"training_patches": 80, "validation_patches": 20, "epochs": 2}
    for name, value in changes.items():
        (work if name in work else figure)[name] = value
    told = {"name": "x", "title": "t", "quantity": "time to solution", "devices": 1}
    return json.dumps({**told, "figures": [figure], "work": work})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no reference"),
        ("{}", "has no 'quantity'"),
        ('{"quantity": "beauty"}', "none of time to solution, speed-up"),
        ('{"quantity": "speed-up", "figures": [{"value": 2}]}', "needs its ranks"),
        ('{"quantity": "time to solution", "figures": [{"value": 2}]}', "lacks epochs"),
        (_stated(upper="5%"), "upper must be a number, not '5%'"),
        (_stated(value=float("nan")), "value must be a number, not nan"),
        (_stated(value=-60), "value must be above 0, not -60"),
        (_stated(lower=0.1), "lower is a fraction of 0 or less"),
        (_stated(ranks="2"), "ranks must be a number of 1 or more, not '2'"),
        (_stated(epochs=0), "epochs must be a number of 1 or more, not 0"),
        (_stated(epochs=2.5), "epochs must be a whole number, not 2.5"),
        (_stated(training_patches=-1), "training_patches must be a number of 1 or more, not -1"),
    ],
)
def test_broken_reference_files_are_refused(tmp_path, text, says):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(UsageError, match=says):
        reference.load(str(tmp_path / "r.json"))
    with pytest.raises(UsageError, match="no reference 'nothing'; there are: cloudmask-a100"):
        reference.load("nothing")


def test_check_prints_verdict_and_weak_points(made, capsys):
    study = made(**_full(3000.0))
    assert command.check(CheckConfig(study.folder)) == MET
    told = capsys.readouterr().out
    assert "verdict: met: " in told
    assert "epochs are not stated" in told
    with pytest.raises(UsageError, match=r"--ranks 3 was not measured; there are 1, 2, 4, 8"):
        command.check(CheckConfig(study.folder, ranks=3))


def test_what_goes_wrong_in_a_check_is_never_said_to_be_missed(made, monkeypatch, capsys):
    def fails(*_, **__):
        raise np.linalg.LinAlgError("Matrix is not positive definite")

    monkeypatch.setattr(command.verdict, "check", fails)
    words = ["check", str(made().folder)]
    assert errors.run(scaling_main, words, program="scaling") == NOT_COMPARABLE
    assert capsys.readouterr().err.endswith("Matrix is not positive definite\n")


def test_one_run_can_be_checked_and_other_folders_cannot(tmp_path, capsys):
    options = argparse.Namespace(global_batch=8, batch=None, seed=0, salt="", steps=9)
    summary = scaling_fake.summary(options, 0, 2) | {"version": summaries.VERSION}
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "summary.json"
    path.write_text(json.dumps(summary))
    assert isinstance(command.open_path(path.parent, mixed=False), Study)
    assert command.check(CheckConfig(path.parent)) == NOT_COMPARABLE
    assert "2 epochs instead of 30" in capsys.readouterr().out
    summary["history"] = [{"epoch": n, "valid": {"accuracy": 0.9}} for n in range(30)]
    summary |= {"training_patches": 15520, "validation_patches": 3880, "epochs_run": 30}
    summary |= {"patches_trained": 30 * 15520}
    path.write_text(json.dumps(summary))
    assert command.check(CheckConfig(path.parent)) == UNDECIDED
    told = capsys.readouterr().out
    assert "this clock starts inside rank 0, the launch is not in it" in told
    assert "no 95 % interval from 1 run; it takes 5 more runs" in told
    summary["seconds"]["before_resume"] = 90_000.0
    path.write_text(json.dumps(summary))
    assert command.check(CheckConfig(path.parent)) == NOT_COMPARABLE
    assert "at least 25.0 h" in capsys.readouterr().out
    path.write_text(json.dumps(summary | {"version": 2}))
    with pytest.raises(UsageError, match="version 2"):
        command.check(CheckConfig(path.parent))
    with pytest.raises(UsageError, match="neither a study"):
        command.check(CheckConfig(tmp_path))
