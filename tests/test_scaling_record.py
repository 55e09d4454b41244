"""What a run left behind becomes a row, and rows become a study, or one clear line why not."""

import argparse
import json
import math

import pytest
import scaling_fake

from scaling.laws import intervals
from scaling.measure import binding
from scaling.measure.cause import cause
from scaling.measure.layout import Layout
from scaling.measure.point import measured
from scaling.measure.points import Point
from scaling.measure.study import missing, seconds_left
from scaling.record import store, summaries
from scaling.record.store import Study, StudyError


def _summary(ranks=2, **changes):
    options = argparse.Namespace(global_batch=8, batch=None, seed=0, salt="", steps=9)
    return scaling_fake.summary(options, 0, ranks) | changes


def _write(folder, summary):
    folder.mkdir(exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_measures_of_a_run(tmp_path):
    summary = _summary()
    found = summaries.measures(summaries.read_summary(_write(tmp_path, summary)))
    assert found["patches_per_second"] == summary["patches_per_second"]["overall"]
    assert found["first_epoch_patches"] == 72
    assert found["validations"] == 2
    assert found["data_mode"] == "shard"
    assert found["per_rank"] is None
    assert found["load_balance"] == pytest.approx(1 / 1.02)


def test_how_patches_reach_the_ranks_is_said_in_words():
    kept = {"shuffle": "shard", "cache": "none", "stage": None}
    assert summaries.data_mode(kept) == "shard"
    assert summaries.data_mode(kept | {"cache": "memory"}) == "shard, cached in memory"
    both = kept | {"cache": "device", "stage": "/local"}
    assert summaries.data_mode(both) == "shard, cached on the device, staged"
    assert summaries.data_mode({}) is None


def test_staging_stands_by_itself_in_a_row():
    summary = _summary()
    found = summaries.measures(_summary())
    assert found["staging_seconds"] is None
    summary["seconds"] |= {"staging": 4.5}
    assert summaries.measures(summary)["staging_seconds"] == 4.5


def test_times_of_each_rank_are_those_that_rank_0_has_gathered():
    """No file of a rank is read: there need be none."""
    each = {name: [4.0, 4.0] for name in summaries.PER_RANK} | {"compute_seconds": [1.0, 3.0]}
    told = {"per_rank": each, "last_rank_exposed_seconds": 0.2, "first_epoch_patches": 22}
    found = summaries.measures(_summary(**told))
    assert found["per_rank"] == each
    assert found["load_balance"] == pytest.approx(2 / 3)
    assert found["communication_efficiency"] == pytest.approx(3 / 4)
    assert (found["first_epoch_patches"], found["last_rank_exposed_seconds"]) == (22, 0.2)


def _row(tmp_path, **changes):
    """Of a point of two ranks whose program left such a summary."""
    (before,) = [
        row
        for row in store.read_rows(scaling_fake.write_study(tmp_path / "study", repeats=1))
        if (row["kind"], row["mode"], row["ranks"]) == ("ranks", "weak", 2)
    ]
    names = ("point", "mode", "kind", "ranks", "repeat", "status", "error", "ended", "wall_seconds")
    names += ("rank_hours",)
    row = {name: before[name] for name in names} | {"nodes": 2, "global_batch": 8, "seed": 0}
    point = Point("weak", "ranks", 2, 1, 8, 4, 0)
    began = [{"rank": n, "host": "ab"[n], "cores": [0], "core_of": [0], "cpu": "c"} for n in (0, 1)]
    out = _write(tmp_path / "run", _summary(**changes))
    return measured(row, point, Layout(2), [out], began)


def test_a_program_that_tells_less_of_its_ranks_has_a_row_all_the_same(tmp_path):
    places = [{"rank": rank, "cores": [rank]} for rank in (0, 1)]
    row = _row(tmp_path, placement=places, per_rank={"step_seconds": [1.0, 2.0]})
    assert (row["status"], row["nodes"], row["per_rank"]) == ("ok", 2, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"placement": [1, 2]},
        {"seconds": [1.0], "patches_per_second": {"overall": 3.0}},
        {"patches_per_second": {"overall": "fast"}},
        {"per_rank": dict.fromkeys(summaries.PER_RANK, "long")},
        {"history": 7},
        {"steps": "nine"},
    ],
)
def test_a_summary_of_another_shape_gives_no_figures_and_ends_no_study(tmp_path, changes):
    with pytest.raises(summaries.RunError, match=r"summary\.json"):
        _row(tmp_path, **changes)


@pytest.mark.parametrize(
    ("summary", "says"),
    [
        (_summary(version=7), "version 7, this program reads version 1"),
        ({"some": "JSON"}, "not a summary of a training"),
        ([1, 2], "not a summary of a training"),
        ({"status": "failed", "error": "boom", "rank": 3}, "rank 3: boom"),
        (_summary(patches_per_second=None), "too short to be measured"),
    ],
)
def test_summaries_that_give_no_figures_say_why(tmp_path, summary, says):
    with pytest.raises(summaries.RunError, match=says):
        summaries.read_summary(_write(tmp_path, summary))


def test_missing_and_broken_summaries_say_so(tmp_path):
    with pytest.raises(summaries.RunError, match=r"no summary\.json"):
        summaries.read_summary(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(summaries.RunError, match="cannot be read"):
        summaries.read_summary(tmp_path)


def _report(rank, cores, host="a", threads=1):
    return {"rank": rank, "host": host, "cores": cores, "threads": threads, "device": "CPU"}


TWO_THREADS = [
    {"host": host, "cores": list(range(8)), "core_of": [0, 1, 2, 3, 0, 1, 2, 3]} for host in "ab"
]
"""notes of two hosts of four cores, each of two hardware threads"""


@pytest.mark.parametrize(
    ("reports", "layout", "says"),
    [
        ([_report(0, [0]), _report(1, [1])], Layout(2), None),
        ([_report(0, [0]), _report(1, [0], host="b")], Layout(2), None),
        ([_report(0, [0, 4]), _report(1, [1, 5], threads=2)], Layout(2), None),
        ([_report(0, [0])], Layout(2), "1 of 2 ranks told"),
        ([_report(0, [0]), _report(1, [0, 1, 2])], Layout(2), "rank 1 had 3 cores instead of 1"),
        ([_report(0, [0]), _report(1, [0])], Layout(2), "2 ranks shared core 0 of a"),
        ([_report(0, [0]), _report(1, [4])], Layout(2), "2 ranks shared core 0 of a"),
        ([_report(0, [0, 4])], Layout(1, 2), "rank 0 had 1 core instead of 2 ("),
        ([_report(0, [0]), _report(1, [0])], Layout(2, oversubscribe=True), None),
        ([_report(0, [0], threads=8)], Layout(1), "rank 0 had 8 threads for 1 core"),
    ],
)
def test_placement_that_differs_is_told(reports, layout, says):
    found = binding.problem(reports, layout, TWO_THREADS)
    assert found is None if says is None else says in found


def test_of_a_point_measured_again_the_newest_good_run_counts(tmp_path):
    study = scaling_fake.write_study(tmp_path / "study", modes=("weak",), repeats=2)
    before = store.read(study)
    row = next(row for row in store.read_rows(study) if row["kind"] == "ranks")
    again = row | {"attempt": 2, "patches_per_second": 1e3}
    store.append(study, again)
    store.append(study, row | {"attempt": 3, "status": "failed", "error": "boom"})
    found = store.read(study)
    old = next(one for one in found.rows if one["point"] == row["point"])
    assert (old["status"], old["error"]) == ("superseded", "measured again: attempt 2")
    assert len(found.rows) == len(before.rows) + 2
    assert len(found.measured) == len(before.measured)
    rates = [one["patches_per_second"] for one in found.points("weak")[row["ranks"]]]
    assert 1e3 in rates
    assert row["patches_per_second"] not in rates
    assert store.read_rows(study)[0]["status"] == "ok", "what was written stays as it is"
    order = [Point("weak", "ranks", n, r, 4 * n, 4, 0) for n in (1, 2) for r in (1, 2)]
    assert missing(order, found.rows, retry_failed=True) == []
    (point,) = (one for one in order if one.name == row["point"])
    assert missing(order, found.rows, retry_failed=False, again=[point.name]) == [(point, 4)]


def test_cause_of_a_failure_is_the_line_that_tells_most(tmp_path):
    log = tmp_path / "launcher.log"
    log.write_text("hello\nmpirun noticed that rank 1 exited on signal 9 (Killed).\n----\n")
    assert "signal 9" in cause(tmp_path, {"rank 0": "step 3", "launcher": "----"})
    told = cause(tmp_path, {"rank 0": "step 3", "rank 1": "ValueError: no such thing"})
    assert told == "rank 1: ValueError: no such thing"
    log.unlink()
    assert cause(tmp_path, {"rank 0": "step 3"}) == "rank 0: step 3"
    assert cause(tmp_path, {}) == "it said nothing"


def test_row_that_was_cut_short_is_dropped_and_its_point_is_missing(tmp_path):
    order = [Point("weak", "ranks", n, 1, 4 * n, 4, 0) for n in (1, 2, 4)]
    for point in order[:2]:
        store.append(tmp_path, {"point": point.name, "status": "ok"})
    path = tmp_path / "results.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    rows = store.read_rows(tmp_path)
    assert [row["point"] for row in rows] == [order[0].name]
    assert missing(order, rows, retry_failed=False) == [(order[1], 1), (order[2], 1)]
    store.append(tmp_path, {"point": order[1].name, "status": "failed"})
    rows = store.read_rows(tmp_path)
    assert [row["point"] for row in rows] == [order[0].name, order[1].name]
    assert missing(order, rows, retry_failed=False) == [(order[2], 1)]
    assert missing(order, rows, retry_failed=True) == [(order[1], 2), (order[2], 1)]


def test_time_left_comes_from_points_alike():
    rows = [
        {"mode": "weak", "kind": "ranks", "ranks": 1, "wall_seconds": 10.0},
        {"mode": "weak", "kind": "ranks", "ranks": 2, "wall_seconds": 20.0},
    ]
    left = [Point("weak", "ranks", n, 2, n, 1, 0) for n in (1, 2, 4)]
    assert seconds_left(left, rows) == 10 + 20 + 15
    assert seconds_left(left, []) is None


def test_folders_that_hold_no_study_are_refused_with_one_line(tmp_path):
    with pytest.raises(StudyError, match="there is no folder"):
        store.read(tmp_path / "none")
    with pytest.raises(StudyError, match="holds no study"):
        store.read(tmp_path)
    header = tmp_path / "study.json"
    header.write_text('{"format": "a recipe"}')
    with pytest.raises(StudyError, match="does not describe a study"):
        store.read(tmp_path)
    header.write_text("[")
    with pytest.raises(StudyError, match="is not JSON"):
        store.read(tmp_path)
    header.write_text('{"format": "scaling-study", "version": 2}')
    with pytest.raises(StudyError, match="is version 2, this program reads version 1"):
        store.read(tmp_path)
    header.write_text('{"format": "scaling-study", "version": 1}')
    with pytest.raises(StudyError, match="no finished point yet"):
        store.read(tmp_path)
    row = {"point": "a", "status": "failed", "error": "boom", "kind": "ranks", "ranks": 1}
    store.append(tmp_path, row | {"mode": "weak", "repeat": 1})
    with pytest.raises(StudyError, match="the last one: failed: boom"):
        store.read(tmp_path)


def test_mixed_hardware_is_refused_unless_wished(tmp_path):
    study = scaling_fake.write_study(tmp_path / "study")
    rows = store.read_rows(study)
    store.append(study, rows[0] | {"hardware": ["another processor"]})
    with pytest.raises(StudyError, match="A processor / another processor"):
        store.read(study)
    assert len(store.read(study, mixed=True).rows) == len(rows) + 1


def test_failed_rows_are_kept_and_not_measured(tmp_path):
    study = scaling_fake.write_study(tmp_path / "study")
    rows = store.read_rows(study)
    store.append(study, rows[0] | {"status": "stalled", "error": "no step"})
    found = store.read(study)
    assert len(found.rows) == len(rows) + 1
    assert len(found.points("strong")[1]) == 6


def test_every_row_carries_its_conditions(tmp_path):
    study = store.read(scaling_fake.write_study(tmp_path / "study"))
    wanted = {
        *("ranks", "hosts", "device", "binding", "threads_per_rank", "global_batch", "seed"),
        *("batch_per_rank", "learning_rate", "precision", "data_mode", "page_cache", "versions"),
        *("settings", "commit", "date", "data_wait_seconds", "compute_seconds", "per_rank"),
        *("exposed_communication_seconds", "startup_seconds", "validation_seconds", "target"),
        "rank_hours",
    }
    assert all(wanted <= set(row) for row in study.measured)
    assert isinstance(study, Study)
    assert math.isfinite(intervals.median([1.0]).value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"ranks": "2"}, "something else than a study's 'ranks'"),
        ({"status": None}, "something else than a study's 'status'"),
        ({"wall_seconds": [50]}, "something else than a study's 'wall_seconds'"),
        ({"patches_per_second": 1e400}, "something else than a study's 'patches_per_second'"),
        ({"target": {"epoch": 2}}, "something else than a study's 'target'"),
        ({"cores": {"0": 1}}, "something else than a study's 'cores'"),
        ({"patches_per_second": None}, "has no 'patches_per_second'"),
        ({"global_batch": None}, "has no 'global_batch'"),
        ({"wall_seconds": 0.0}, "has no 'wall_seconds'"),
        ({"total_seconds": -1.0}, "holds something else than a study's 'total_seconds'"),
    ],
)
def test_a_row_that_no_study_has_written_is_named_with_its_line(tmp_path, change, problem):
    folder = scaling_fake.write_study(tmp_path / "study", repeats=1)
    lines = (folder / "results.jsonl").read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    (folder / "results.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(StudyError, match=rf"results\.jsonl, line 2 .*{problem}; mend or remove it"):
        store.read(folder)
