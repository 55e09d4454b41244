"""Time to a target as a distribution: against textbook values, with runs that never got there."""

import json

import pytest
import scaling_fake

from cloudmask.cli.errors import UsageError
from scaling.laws import time_to_target
from scaling.laws.seeds import seeds
from scaling.laws.time_to_target import times
from scaling.options import ReportConfig, SeedsConfig
from scaling.record import store
from scaling.record.store import StudyError
from scaling.report.command import report

# Weeks in remission under 6-mercaptopurine (Freireich et al., Blood 21, 1963); + : still in it.
REMISSION = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"


def test_median_and_interval_are_those_of_the_textbook():
    """Median 23; 95 % by the complementary log-log band: from 13, and no upper end."""
    weeks = REMISSION.split()
    found = times([float(week.rstrip("+")) for week in weeks], ["+" not in week for week in weeks])
    assert (found.median, found.low, found.high) == (23, 13, None)
    left = dict(zip(found.at, found.left, strict=True))
    assert left[6] == pytest.approx(0.857, abs=1e-3)
    assert left[10] == pytest.approx(0.753, abs=1e-3)
    assert left[23] == pytest.approx(0.448, abs=1e-3)
    assert str(found) == "23 [13, not reached]"


def test_runs_that_all_arrived_have_the_interval_of_every_median_here():
    found = times([5, 7, 6, 9, 8, 7], [True] * 6)
    assert (found.median, found.low, found.high, found.is_interval) == (7, 5, 9, True)
    assert str(times([5, 7, 6], [True] * 3)) == "6 (5 - 7)"
    assert str(times([2] * 6, [True] * 6)) == "2 [2, 2]"


@pytest.mark.parametrize("runs", [1, 2, 5])
def test_where_nobody_or_too_few_arrived_there_is_no_median(runs):
    assert str(times([9.0] * runs, [False] * runs)) == "not reached"
    few = times([3.0, 9.0, 9.0, 9.0, 9.0], [True, False, False, False, False])
    assert (few.median, few.high, few.reached, few.runs) == (None, None, 1, 5)
    with pytest.raises(ValueError, match="no runs"):
        times([], [])


def test_a_run_that_never_arrived_makes_the_time_longer_not_shorter():
    arrived = times([5, 6, 7], [True] * 3)
    censored = times([5, 6, 7, 9, 9], [True] * 3 + [False] * 2)
    assert arrived.median < censored.median == 7
    assert (censored.low, censored.high) == (5, None)


@pytest.mark.parametrize("arrived", [1, 2, 3, 4])
def test_fewer_than_six_runs_give_no_interval_whether_they_arrived_or_not(arrived):
    reached = [True] * arrived + [False]
    few = times([float(4 + n) for n in range(len(reached))], reached)
    assert not few.is_interval
    assert (few.low, few.high) == (4, None)
    assert "(4 - not reached)" in str(few)
    assert times([4.0] * 5 + [9.0], [True] * 5 + [False]).is_interval


def write(folder, change, **options):
    scaling_fake.write_study(folder, **options)
    rows = store.read_rows(folder)
    (folder / "results.jsonl").unlink()
    for row in rows:
        store.append(folder, change(row))
    return store.read(folder)


def change(row):
    """On two ranks, two of six runs never arrive, the others one epoch after the other."""
    if row["ranks"] == 2 and row["kind"] == "ranks":
        row["epochs_run"] = 9
        row["target"] = {"accuracy": 0.9, "epoch": 3 + row["seed"], "seconds": 40.0 + row["seed"]}
        row["total_seconds"], row["wall_seconds"] = 80.0, 85.0
        if row["seed"] > 3:
            row["target"] = None
    return row


def test_a_study_tells_how_many_arrived_and_when(tmp_path):
    study = write(tmp_path / "study", change)
    found = time_to_target.of_study(study, "weak")
    assert str(found[1]) == "6 of 6 reached 0.9"
    assert str(found[1].epochs) == "2 [2, 2]"
    assert str(found[2]) == "4 of 6 reached 0.9"
    assert str(found[2].epochs) == "5 [3, not reached]"
    assert found[2].seconds.median == 42 + 5, "from the launch"
    report(ReportConfig((tmp_path / "study",), tmp_path / "out"))
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| 2 | 8 | 4 of 6 reached 0.9 | 5 [3, not reached] |" in text
    assert "| ranks | reached | statistical efficiency | total efficiency |" in text
    assert "Runs that have not reached the target" in text


def test_a_study_without_a_target_says_nothing_of_one(tmp_path):
    study = write(tmp_path / "study", lambda row: row | {"target_wanted": None, "target": None})
    assert time_to_target.of_study(study, "weak") == {}
    report(ReportConfig((tmp_path / "study",), tmp_path / "out"))
    assert "as a distribution" not in (tmp_path / "out" / "report.md").read_text()


def run(folder, seed, *, epoch=None, ranks=2, target=0.9, **changes):
    """A run folder as a training leaves it, that reached its target in an epoch, or not in 9."""
    options = type("Options", (), {"global_batch": None, "batch": 4, "seed": seed, "salt": ""})
    options.steps = 41
    told = scaling_fake.summary(options, 0, ranks)
    told |= {"epochs_run": 9 if epoch is None else epoch, "target": None, **changes}
    told["config"]["target_accuracy"], told["seconds"]["total"] = target, 100.0
    if epoch is not None:
        told["target"] = {"accuracy": target, "epoch": epoch, "seconds": 10.0 * epoch}
    folder.mkdir(parents=True)
    (folder / "config.yaml").touch()
    (folder / "summary.json").write_text(json.dumps(told))


def test_folders_of_runs_give_a_line_for_each_number_of_ranks(tmp_path, capsys):
    for seed, epoch in enumerate((5, 6, 7, None, None)):
        run(tmp_path / "runs" / f"seed-{seed}", seed, epoch=epoch)
    run(tmp_path / "alone", 7, epoch=4, ranks=1)
    run(tmp_path / "runs" / "seed-9", 9, status="failed", error="the disk is full", rank=0)
    assert seeds(SeedsConfig((tmp_path / "runs", tmp_path / "alone"))) == 0
    first, second, left_out = capsys.readouterr().out.splitlines()
    assert first == (
        "1 rank, global batch 4: 1 of 1 reached 0.9; median 4 (4 - 4) epochs, 40 (40 - 40) s "
        "(seeds 7)"
    )
    assert second == (
        "2 ranks, global batch 8: 3 of 5 reached 0.9; median 7 (5 - not reached) epochs, "
        "70 (50 - not reached) s (seeds 0, 1, 2, 3, 4)"
    )
    assert left_out.endswith("seed-9: rank 0: the disk is full")


def test_what_makes_no_distribution_is_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match="there is no folder"):
        seeds(SeedsConfig((tmp_path / "nowhere",)))
    with pytest.raises(UsageError, match="holds no run"):
        seeds(SeedsConfig((tmp_path,)))
    run(tmp_path / "a" / "seed-0", 0, target=None)
    with pytest.raises(StudyError, match="had no target; train with --target-accuracy"):
        seeds(SeedsConfig((tmp_path / "a",)))
    run(tmp_path / "b" / "seed-0", 0, epoch=2)
    run(tmp_path / "b" / "seed-1", 1, epoch=2, target=0.8)
    with pytest.raises(StudyError, match="different targets"):
        seeds(SeedsConfig((tmp_path / "b",)))
    run(tmp_path / "c" / "seed-0", 0, status="failed", error="no disk")
    with pytest.raises(StudyError, match=r"no run has come to its end; .*no disk"):
        seeds(SeedsConfig((tmp_path / "c",)))
