"""Communication that computing does not hide, held against the allreduce that was measured."""

import json

import numpy as np
import pytest
import scaling_fake

from scaling.laws import exposed
from scaling.record import store
from scaling.report import tables

CYCLE, RATE = 5e-3, 1e9
"""an allreduce of these studies takes half a cycle and its bytes over the rate"""
MESSAGES = [1_000_000, 2_000_000, 500_000, 4_000_000]
BYTES = sum(MESSAGES)
SHARED, EACH = CYCLE + BYTES / RATE, 4 * CYCLE + BYTES / RATE


def write(folder, **columns):
    """A study of two ranks whose allreduce was measured, and takes what is said above."""
    path = scaling_fake.write_study(folder, modes=("weak",), repeats=2, **columns)
    rows = store.read_rows(path)
    for row in rows:
        if row["kind"] == "allreduce":
            row["allreduce"] = [
                {"bytes": size, "seconds": CYCLE + size / RATE}
                for size in (4**power for power in range(5, 13))
            ]
    (path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return store.read(path)


@pytest.mark.parametrize(
    ("measured", "emulated", "difference", "verdict"),
    [
        (SHARED, 0.5, 0.0, "agrees"),
        (EACH, 0.5, 0.0, "agrees"),
        ((SHARED + EACH) / 2, 0.5, 0.0, "agrees"),
        (1.15 * EACH, 0.5, 0.15, "agrees"),
        (1.3 * EACH, 0.5, 0.3, "does not agree"),
        (0.7 * SHARED, 0.5, -0.3, "does not agree"),
        (0.3 * SHARED, None, -0.7, "at least 70 % hidden"),
        (0.9 * SHARED, None, -0.1, "hardly any hidden"),
        (EACH, None, 0.0, "hardly any hidden"),
        (1.5 * EACH, None, 0.5, "more than the allreduce"),
    ],
)
def test_measured_time_is_held_against_the_allreduce_of_its_messages(
    tmp_path, measured, emulated, difference, verdict
):
    told = {"last_rank_exposed_seconds": measured, "emulated_step_seconds": emulated}
    told |= {"gradient_messages": MESSAGES, "gradient_bytes": BYTES}
    (one,) = exposed.compare(write(tmp_path / "told", **told))
    assert (one.ranks, one.num_bytes, one.messages) == (2, BYTES, tuple(MESSAGES))
    # The smallest message that was timed has a microsecond of bytes, too.
    assert one.expected == pytest.approx((SHARED, EACH), abs=4e-6)
    assert one.difference == pytest.approx(difference, abs=1e-3)
    assert one.verdict == verdict
    (row,) = tables.exposed_table([one]).rows
    assert row[3] == "4"
    assert row[5] == "12.5 to 27.5"
    assert row[6:] == (f"{100 * one.difference:+.0f} %", verdict)


def test_runs_that_do_not_tell_their_messages_are_taken_to_send_one(tmp_path):
    told = {"last_rank_exposed_seconds": SHARED, "gradient_bytes": BYTES}
    (one,) = exposed.compare(write(tmp_path / "told", **told))
    assert one.messages == (BYTES,)
    assert one.expected == pytest.approx((SHARED, SHARED))
    assert tables.exposed_table([one]).rows[0][3] == "not told, taken as 1"


def test_nothing_is_compared_where_either_was_not_measured(tmp_path):
    assert exposed.compare(write(tmp_path / "plain")) == []
    study = write(tmp_path / "told", last_rank_exposed_seconds=0.1)
    alone = [row for row in study.rows if row["kind"] != "allreduce"]
    assert exposed.compare(store.Study(study.folder, study.header, alone)) == []


def test_sizes_beyond_the_largest_measured_go_on_as_the_last_two_do():
    timed = {1000: 2.0, 2000: 3.0, 4000: 4.0}
    assert exposed.expected(timed, [8000]) == pytest.approx((6.0, 6.0))
    assert exposed.expected(timed, [500, 1500]) == pytest.approx((2.5, 4.5))
    assert exposed.expected({1000: 2.0}, [9000]) == (2.0, 2.0)


def test_messages_are_shared_out_as_horovod_does():
    horovod = pytest.importorskip("horovod.common.util")
    from cloudmask.train.ranks import gradient_messages

    sizes = np.random.default_rng(0).integers(1, 1000, 46).tolist()
    for groups in (1, 3, 4):
        wanted = [sum(part) for part in horovod.split_list(sizes, groups)]
        assert gradient_messages(sizes, groups=groups) == wanted
    assert gradient_messages([8, 4]) == [8, 4]
