"""Which points a study has, in which order, and what each of them runs."""

from collections import Counter
from pathlib import Path

import pytest

from cloudmask.cli.errors import UsageError
from scaling.measure import points
from scaling.measure.points import Point
from scaling.options import rank_counts

OUT = Path("/study/run")
TRAIN = ["python", "train_hvd.py", "--data", "patches"]


def _plan(**changes):
    given = {"repeats": 3, "batch_per_rank": 4, "global_batch": 16, "seed": 7} | changes
    return points.plan((1, 2, 4), ("strong", "weak"), **given)


def test_every_point_is_there_once_and_each_repeat_is_complete():
    order = _plan(copies=True, alone=True, allreduce=True)
    names = [point.name for point in order]
    assert len(names) == len(set(names))
    assert [point.kind for point in order[:2]] == ["allreduce", "allreduce"]
    kinds = Counter((point.kind, point.repeat) for point in order[2:])
    assert all(kinds["ranks", repeat] == 6 for repeat in (1, 2, 3))
    assert all(kinds["copies", repeat] == 4 for repeat in (1, 2, 3))
    assert all(kinds["alone", repeat] == 2 for repeat in (1, 2, 3))


def test_order_is_random_by_the_seed():
    assert _plan() == _plan()
    assert _plan() != sorted(_plan(), key=lambda point: point.name)
    assert [p.name for p in _plan(seed=8)] != [p.name for p in _plan()]
    blocks = [tuple(p.name[:-1] for p in _plan() if p.repeat == repeat) for repeat in (1, 2, 3)]
    assert len(set(blocks)) == 3


def test_more_repeats_keep_the_order_of_the_first_ones():
    assert _plan(repeats=5)[: len(_plan())] == _plan()


def test_strong_keeps_the_global_batch_and_weak_that_of_a_rank():
    for point in _plan(copies=True, alone=True):
        if point.kind == "copies":
            wanted = (16 // point.ranks if point.mode == "strong" else 4,) * 2
        elif point.mode == "strong":
            wanted = (16, 16 // point.ranks)
        else:
            wanted = (4 * point.ranks, 4)
        assert (point.global_batch, point.batch_per_rank) == wanted


def test_repeats_have_seeds_of_their_own_and_rank_counts_share_them():
    seeds = {(point.repeat, point.seed) for point in _plan()}
    assert seeds == {(1, 7), (2, 8), (3, 9)}


def test_unequal_work_is_refused():
    with pytest.raises(UsageError, match="such as --global-batch 18"):
        points.plan((1, 3), ("strong",), repeats=1, batch_per_rank=4, global_batch=16, seed=0)


@pytest.mark.parametrize("text", ["0", "1,0", "-1", "two", "", "1,,2", "1.5"])
def test_rank_counts_below_one_are_refused(text):
    with pytest.raises(UsageError, match="whole numbers above 0"):
        rank_counts(text, option="--ranks")


def test_repeated_rank_counts_are_refused():
    with pytest.raises(UsageError, match="1,2,2 names a rank count twice"):
        rank_counts("1,2,2", option="--ranks")
    assert rank_counts("4, 1,2", option="--ranks") == (1, 2, 4)


def test_modes_and_hosts_are_checked():
    assert points.parse_modes("weak,strong") == ("strong", "weak")
    for text in ("string", "weak,weak", ""):
        with pytest.raises(UsageError, match="strong, weak, or both"):
            points.parse_modes(text)
    assert points.parse_hosts("a:2,b.c:4") == (("a", 2), ("b.c", 4))
    for text in ("a", "a:x", ":2", "a:0"):
        with pytest.raises(UsageError, match="NAME:SLOTS"):
            points.parse_hosts(text)


def test_environment_defaults_can_be_changed_and_taken_away():
    merged = points.parse_environment({"A": "1", "B": "2"}, ["A=3", "B=", "C=d=e"])
    assert merged == {"A": "3", "C": "d=e"}
    with pytest.raises(UsageError, match="NAME=VALUE"):
        points.parse_environment({}, ["A"])


def test_training_is_told_where_how_much_and_by_which_seed():
    strong = Point("strong", "ranks", 2, 1, 8, 4, 5)
    weak = Point("weak", "ranks", 2, 1, 8, 4, 5)
    end = ["--seed", "5"]
    assert points.fill_in(TRAIN, strong, OUT) == [
        *(*TRAIN, "--out", str(OUT), "--global-batch", "8", *end)
    ]
    assert points.fill_in(TRAIN, weak, OUT) == [
        *(*TRAIN, "--out", str(OUT), "--batch-size", "4", *end)
    ]


def test_placeholders_are_filled_in_wherever_they_stand():
    words = ["prog", "--to={out}/x", "{batch}", "{global_batch}", "s{seed}", "data-{ranks}", "{a}"]
    filled = points.fill_in(words, Point("weak", "ranks", 2, 1, 8, 4, 5), OUT)
    assert filled == ["prog", f"--to={OUT}/x", "4", "8", "s5", "data-2", "{a}"]
    copies = points.fill_in(words, Point("weak", "copies", 2, 1, 4, 4, 5), OUT)
    assert copies[-2] == "data-1"


def test_training_with_growing_data_is_still_told_the_rest():
    words = ["python", "train_hvd.py", "--data", "patches-{ranks}"]
    points.check_program(words, dataset="growing")
    filled = points.fill_in(words, Point("weak", "ranks", 2, 1, 8, 4, 5), OUT)
    assert filled[3:5] == ["patches-2", "--out"]
    with pytest.raises(UsageError, match="growing needs"):
        points.check_program(TRAIN, dataset="growing")


def test_words_that_take_horovod_away_are_known_for_the_training_alone():
    assert points.alone_words("auto", TRAIN) == ("--no-horovod",)
    assert points.alone_words("auto", ["python", "other.py"]) == ()
    assert points.alone_words("--plain --threads 1", TRAIN) == ("--plain", "--threads", "1")
    assert points.alone_words("", TRAIN) == ()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no program"),
        (["python", "other.py"], "no placeholders"),
        (["python", "other.py", "{out}"], "no placeholders"),
        ([*TRAIN, "--out", "x"], "fills in --out"),
        ([*TRAIN, "--batch-size=4"], "fills in --batch-size"),
        ([*TRAIN, "--resume"], "fills in --resume"),
        ([*TRAIN, "--no-horovod"], "fills in --no-horovod"),
    ],
)
def test_programs_that_cannot_be_studied_are_refused(words, says):
    with pytest.raises(UsageError, match=says):
        points.check_program(words, dataset="fixed")
