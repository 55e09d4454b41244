"""Communication that computing cannot hide: the model by hand, and against the rows of a study."""

import json

import pytest
import scaling_fake

from scaling import exposed, fits, results, runs, tables


def seconds(num_bytes):
    return 1.0 + num_bytes / 10


@pytest.mark.parametrize(
    ("leads", "sizes", "expected"),
    [
        ([0.0, 0.0, 0.0], [10, 20, 30], 7.0),  # all at once are one message
        ([9.0, 0.0], [10, 20], 3.0),  # the first is done long before the last is there
        ([1.0, 0.0], [10, 20], 4.0),  # the first takes from -1 to 1, and the last waits
        ([3.0, 2.5, 2.0, 0.0], [10, 20, 30, 40], 10.0),  # to -1; both that wait, to 5; to 10
        ([0.0, 1.0], [20, 10], 4.0),  # in whatever order they are told
    ],
)
def test_messages_follow_one_another_and_take_what_waits(leads, sizes, expected):
    assert exposed.exposed_seconds(leads, sizes, seconds) == pytest.approx(expected)


def test_a_message_holds_no_more_than_the_limit():
    found = exposed.exposed_seconds([0, 0, 0], [10, 10, 10], seconds, limit=20)
    assert found == pytest.approx(seconds(20) + seconds(10))


def test_least_exposed_rank_of_each_step_counts(tmp_path):
    (tmp_path / "ranks").mkdir()
    for rank, values in enumerate([[9.0, 0.5, 0.1, 0.3], [9.0, 0.2, 0.6, 0.4]]):
        halves = [{"exposed_communication_seconds": values[:2]}]
        halves += [{"exposed_communication_seconds": values[2:]}]
        lines = "".join(json.dumps(line) + "\n" for line in halves)
        (tmp_path / "ranks" / f"rank-{rank:04d}.jsonl").write_text(lines)
    assert runs.last_rank_exposed(tmp_path, warmup=1) == 0.2  # of 0.2, 0.1, 0.3
    (tmp_path / "ranks" / "rank-0001.jsonl").unlink()
    assert runs.last_rank_exposed(tmp_path, warmup=1) is None


@pytest.mark.parametrize(("factor", "agrees"), [(1.1, True), (0.85, True), (1.3, False)])
def test_measured_time_is_held_against_the_fitted_allreduce(tmp_path, factor, agrees):
    gradients = [{"bytes": 2**20, "lead_seconds": 0.0}, {"bytes": 2**22, "lead_seconds": 0.0}]
    scaling_fake.write_study(tmp_path / "plain", modes=("weak",), repeats=2)
    study = results.read(tmp_path / "plain")
    fit = next(one.fit for one in fits.fit_study(study) if one.key == "allreduce")
    whole = float(fit.predict([2], [5 * 2**20])[0])
    told = {"gradients": gradients, "last_rank_exposed_seconds": factor * whole}
    scaling_fake.write_study(tmp_path / "told", modes=("weak",), repeats=2, **told)
    (one,) = exposed.compare(results.read(tmp_path / "told"), fit)
    assert (one.ranks, one.num_bytes, one.tensors) == (2, 5 * 2**20, 2)
    assert one.modelled == one.nothing_hidden == whole
    assert one.difference == pytest.approx(factor - 1)
    assert one.agrees is agrees
    (row,) = tables.exposed_table([one]).rows
    assert row[5].startswith(f"{100 * (factor - 1):+.0f} %")
    assert ("no agreement" in row[5]) is not agrees
    assert exposed.compare(study, fit) == []
    assert exposed.compare(results.read(tmp_path / "told"), None) == []
