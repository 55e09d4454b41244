"""A faster recipe counts only if it is no worse, and was timed beside the old one."""

import dataclasses
import datetime
import json

import pytest

from benchmarks import recipe
from benchmarks.recipe import Recipe, judge

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


def runs(accuracies, seconds, *, machine="a", day=0):
    dates = tuple(NOON + datetime.timedelta(days=day, minutes=n) for n in range(len(seconds)))
    return Recipe(tuple(accuracies), tuple(seconds), frozenset({machine}), dates)


FIVE = (0.910, 0.912, 0.911, 0.909, 0.913)
OLD = runs(FIVE, (100, 101, 102, 103, 104))
NEW = runs(FIVE, (80, 81, 82, 83, 84))


def test_what_is_as_good_and_faster_counts():
    wider = judge(OLD, NEW, margin=0.01)
    assert wider.counts
    assert wider.speed_p == wider.quality_p == pytest.approx(1 / 252), "5 of 10, one arrangement"


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (runs([a - 0.01 for a in FIVE], NEW.seconds), "no worse by 0.01 is not shown"),
        (runs(FIVE, (99, 101, 102, 103, 104)), "faster is not shown"),
        (runs(FIVE[:4], NEW.seconds[:4]), "the new one has 4 of the 5 runs that each must have"),
        (runs(FIVE[:1], NEW.seconds[:1]), "the new one has 1 of the 5 runs"),
        (dataclasses.replace(NEW, machines=frozenset({"b"})), "not timed on the same machine"),
        (runs(FIVE, NEW.seconds, day=30), "time the old one again"),
    ],
)
def test_what_is_worse_no_faster_or_measured_elsewhere_does_not(new, why):
    found = judge(OLD, new, margin=0.01)
    assert not found.counts
    assert why in "; ".join(found.reasons)


def test_many_runs_of_one_recipe_do_not_make_up_for_few_of_the_other():
    found = judge(runs(FIVE[:3], OLD.seconds[:3]), runs(FIVE * 2, NEW.seconds * 2), margin=0.01)
    assert found.reasons == ("the old one has 3 of the 5 runs that each must have",)


def test_a_margin_below_the_scatter_needs_more_runs():
    assert not judge(OLD, NEW, margin=0.0005).counts
    assert judge(runs(FIVE * 8, OLD.seconds * 8), runs(FIVE * 8, NEW.seconds * 8)).counts


def write(folder, accuracies, seconds, *, cpu="fast", before_resume=None):
    for seed, (accuracy, spent) in enumerate(zip(accuracies, seconds, strict=True)):
        run = folder / f"seed-{seed}"
        run.mkdir(parents=True)
        (run / "config.yaml").touch()
        (run / "environment.json").write_text(json.dumps({"cpu": cpu, "cores": 2}))
        summary = {
            **{"format": "cloudmask-summary", "version": 1, "status": "finished", "ranks": 2},
            **{"patches_per_second": {"overall": 1.0}, "seed": seed},
            "seconds": {"total": spent, "before_resume": before_resume},
            **{"best": {"accuracy": accuracy}, "date": NOON.isoformat()},
        }
        (run / "summary.json").write_text(json.dumps(summary))
    return folder


def test_folders_of_runs_are_judged_from_what_they_recorded(tmp_path, capsys):
    old = write(tmp_path / "old", FIVE, OLD.seconds)
    new = write(tmp_path / "new", FIVE, NEW.seconds)
    assert recipe.main([str(old), str(new), "--margin", "0.01"]) == 0
    assert capsys.readouterr().out.startswith("it counts\n  old: 102.00 (100.00 - 104.00) s")
    resumed = write(tmp_path / "resumed", FIVE, NEW.seconds, before_resume=5000.0)
    with pytest.raises(ValueError, match="has runs that were resumed"):
        recipe.main([str(old), str(resumed)])
    other = write(tmp_path / "other", FIVE, NEW.seconds, cpu="slow")
    assert recipe.main([str(old), str(other)]) == 1
    assert "not timed on the same machine" in capsys.readouterr().out
