"""Met, missed or not comparable: by what was measured, and projections never count as such."""

import argparse
import json

import numpy as np
import pytest
import scaling_fake

from cloudmask.cli.errors import UsageError
from scaling.check import command, reference
from scaling.check.verdict import MET, MISSED, NOT_COMPARABLE, check
from scaling.laws import projection
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
    """Columns of runs that did the reference's work in so many seconds."""
    work = {"epochs_run": 30, "patches_trained": 30 * 15520, "total_seconds": seconds}
    return {**WORK, **work, "device": "NVIDIA A100", **changes}


@pytest.mark.parametrize(("seconds", "code"), [(3000.0, MET), (3540.0, MET), (3600.0, MISSED)])
def test_time_of_the_same_work_is_met_or_missed(made, seconds, code):
    verdict = check(made(**_full(seconds)), reference.load("cloudmask-dgx2"))
    assert verdict.code == code
    assert "measured on 8 ranks" in verdict.why
    assert any("rank-hours" in line for line in verdict.lines)


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
    parts = projection.parts(row)
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
    parts = projection.Parts(8.0, 4.0, 5.0, 1.0, 0.1, 10.0)
    found = projection.Projection("USL", (1, 2), np.arange(1.0, 5.0), seconds, 6, parts)
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
    assert slower.code == MET
    assert [line.split(":")[0] for line in slower.lines] == ["2 ranks", "4 ranks", "8 ranks"]
    verdict = check(made(device="NVIDIA A100"), reference.load("nvidia-unet-v100"))
    assert verdict.code == MISSED
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no reference"),
        ("{}", "has no 'quantity'"),
        ('{"quantity": "beauty"}', "none of time to solution, speed-up"),
        ('{"quantity": "speed-up", "figures": [{"value": 2}]}', "needs its ranks"),
        ('{"quantity": "time to solution", "figures": [{"value": 2}]}', "lacks epochs"),
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


def test_one_run_can_be_checked_and_other_folders_cannot(tmp_path, capsys):
    options = argparse.Namespace(global_batch=8, batch=None, seed=0, salt="", steps=9)
    summary = scaling_fake.summary(options, 0, 2) | {"version": summaries.VERSION}
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "summary.json"
    path.write_text(json.dumps(summary))
    assert isinstance(command.open_path(path.parent, mixed=False), Study)
    assert command.check(CheckConfig(path.parent)) == NOT_COMPARABLE
    assert "2 epochs instead of 30" in capsys.readouterr().out
    path.write_text(json.dumps(summary | {"version": 2}))
    with pytest.raises(UsageError, match="version 2"):
        command.check(CheckConfig(path.parent))
    with pytest.raises(UsageError, match="neither a study"):
        command.check(CheckConfig(tmp_path))
