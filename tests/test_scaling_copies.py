"""Unconnected copies are held against ranks by what they reach while all of them compute."""

import datetime
import json
import math

import pytest
import scaling_fake

from scaling.measure import copies
from scaling.record import store
from scaling.report.tables import scaling_table

PART = {
    **{"warmup_steps": 0, "patches_per_second": 3.0, "patches_trained": 40},
    **dict.fromkeys((f"{name}_seconds" for name in ("startup", "staging", "total")), 7.0),
    **dict.fromkeys(("validation_seconds", "checkpoints_seconds"), None),
    **dict.fromkeys(copies.PER_RANK, 1.0),
}

OTHER = PART | {"patches_trained": 50, "total_seconds": 9.0, "validation_seconds": 2.0}
OTHER |= dict.fromkeys(copies.PER_RANK, 3.0)


def write_steps(folder, begin, seconds, *, patches=4):
    """The event log of a copy whose steps follow each other from `begin`; its folder."""
    folder.mkdir()
    lines, at = [], begin
    for number, length in enumerate(seconds):
        at += length
        time = datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds")
        step = {"event": "step", "time": time, "step": number, "patches": patches}
        lines.append(json.dumps({**step, "seconds": length}))
    (folder / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def rate_of(*steps):
    return copies.common_rate([[copies.Step(*step) for step in one] for one in steps])


def test_only_the_time_in_which_all_copies_compute_counts(tmp_path):
    """Each makes 4 patches a second alone, and 2 beside the other: 4 in all, where their means
    over all their steps, 2.67 each, would promise 5.33."""
    first = write_steps(tmp_path / "a", 100.0, [1] * 5 + [2] * 5)
    second = write_steps(tmp_path / "b", 105.0, [2] * 5 + [1] * 5)
    row = copies.together([PART, OTHER], [first, second])
    assert row["patches_per_second"] == pytest.approx(4.0)
    assert row["common_share"] == pytest.approx(10 / 15)
    assert (row["patches_trained"], row["total_seconds"]) == (90, 9.0)
    assert (row["validation_seconds"], row["checkpoints_seconds"]) == (2.0, None)
    assert row["step_seconds"] == 2.0


def test_a_step_in_part_counts_for_that_part():
    rate, share = rate_of([(0, 4, 8)], [(3, 5, 6), (5, 6, 3)])
    assert rate == pytest.approx(8 / 4 + 6 / 2)
    assert share == pytest.approx(1 / 4)


def test_while_one_copy_pauses_no_other_counts():
    """A validates from 1 to 9, while B has the machine to itself and makes 8 patches, not 1."""
    rate, share = rate_of(
        [(0, 1, 4), (9, 10, 4)], [(0, 1, 1), *((n, n + 1, 8) for n in range(1, 9)), (9, 10, 1)]
    )
    assert rate == pytest.approx(4 + 1)
    assert share == pytest.approx(2 / 10)


def test_three_copies_count_where_all_three_compute():
    rate, share = rate_of([(0, 6, 12)], [(0, 2, 2), (3, 6, 3)], [(1, 5, 20)])
    assert rate == pytest.approx(2 + 1 + 5)
    assert share == pytest.approx(3 / 6)


def test_warm_up_steps_of_each_copy_are_left_out(tmp_path):
    first = write_steps(tmp_path / "a", 0.0, [50, 1, 1, 1])
    second = write_steps(tmp_path / "b", 0.0, [20, 30, 1, 1, 1])
    parts = [PART | {"warmup_steps": 1}, PART | {"warmup_steps": 2}]
    row = copies.together(parts, [first, second])
    assert (row["patches_per_second"], row["common_share"]) == (pytest.approx(8), 1)


@pytest.mark.parametrize(("later", "share"), [(10.0, 0.0), (4.0, 0.0), (2.8, 0.2 / 3)])
def test_copies_that_hardly_compute_at_once_have_no_rate_of_their_own(tmp_path, later, share):
    first = write_steps(tmp_path / "a", 0.0, [1] * 3)
    second = write_steps(tmp_path / "b", later, [1] * 3)
    row = copies.together([PART, PART], [first, second])
    assert row["patches_per_second"] == 6.0
    assert row["common_share"] == pytest.approx(share)


STEP = {"event": "step", "time": "2026-01-01T00:00:00+00:00", "seconds": 1.0, "patches": 4}


@pytest.mark.parametrize(
    "content",
    [
        *(None, "", "no JSON\n", '{"event": "step"}\n'),
        *(json.dumps(STEP | {"patches": value}) + "\n" for value in (None, "4", -1, math.nan)),
        *(json.dumps(STEP | {"seconds": value}) + "\n" for value in (0, 10**400, math.inf)),
    ],
)
def test_rates_of_a_program_without_steps_are_added(tmp_path, content):
    first = write_steps(tmp_path / "a", 0.0, [1] * 3)
    (tmp_path / "b").mkdir()
    if content is not None:
        (tmp_path / "b" / "events.jsonl").write_text(content)
    row = copies.together([PART, PART], [first, tmp_path / "b"])
    assert (row["patches_per_second"], row["common_share"]) == (6.0, None)


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        ((0.9, 0.756), "in which all of them compute, 75 % or more of each"),
        ((0.9, 0.09), "are added"),
        ((None,), "are added"),
    ],
)
def test_the_table_says_what_the_rate_of_copies_is(tmp_path, shares, says):
    folder = scaling_fake.write_study(tmp_path / "s", modes=("weak",), repeats=len(shares))
    path = folder / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if row["kind"] == "copies":
            row["common_share"] = shares[row["repeat"] - 1]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert says in scaling_table(store.read(folder), "weak").note
