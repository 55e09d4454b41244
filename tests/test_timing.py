"""Times of steps: sums, histograms and files of a fixed size, against all steps at once."""

import json
import math
import threading

import numpy as np
import pytest

from cloudmask.train.timing import (
    BLOCK_STEPS,
    COLUMNS,
    SPACED_STEPS,
    WARMUP_STEPS,
    Spaced,
    StepTimes,
)


class Alone:
    """One rank, whose sums are its own."""

    rank, size = 0, 1

    def __init__(self):
        self.gathered = 0

    def sum_array(self, values, *, name):
        self.gathered += values.nbytes
        return values

    max_array = sum_array


class Several:
    """Ranks in threads of one process, each of which calls in the same order."""

    def __init__(self, size):
        self.size = size
        self._values = [None] * size
        self._barrier = threading.Barrier(size)

    def of(self, rank):
        def together(values, reduce):
            self._values[rank] = values
            self._barrier.wait()
            found = reduce(np.stack(self._values), axis=0)
            self._barrier.wait()
            return found

        return Rank(rank, self.size, together)


class Rank:
    def __init__(self, rank, size, together):
        self.rank, self.size, self._together = rank, size, together

    def sum_array(self, values, *, name):
        return self._together(values, np.sum)

    def max_array(self, values, *, name):
        return self._together(values, np.max)


def over_all(times):
    """What each rank of these times finds."""
    ranks, found = Several(len(times)), {}

    def work(rank):
        found[rank] = times[rank].over_all(ranks.of(rank))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(len(times))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[rank] == found[0] for rank in range(len(times)))
    return found[0]


def times(tmp_path, rank=0):
    return StepTimes(tmp_path / f"rank-{rank}.jsonl", device="CPU")


def lines(tmp_path, rank=0):
    return [json.loads(line) for line in (tmp_path / f"rank-{rank}.jsonl").read_text().splitlines()]


def test_the_rate_is_that_of_the_slowest_rank(tmp_path):
    each = [times(tmp_path, rank) for rank in range(2)]
    for rank, steps in enumerate(each):
        for number in range(25):
            slow = 9.0 if number < WARMUP_STEPS else 0.1 + 0.1 * rank
            steps.add(0, 4 - rank, 7, (slow, 0.01, slow / 2, 0.02 * rank))
    found = over_all(each)
    assert (found["warmup_steps"], found["steps"]) == (WARMUP_STEPS, 20)
    assert found["patches_per_second"]["overall"] == pytest.approx(7 / 0.2)
    assert found["patches_per_second"]["p05"] == pytest.approx(7 / 0.2)
    assert found["patches_per_second"]["p95"] == pytest.approx(7 / 0.1)
    step = found["per_step"]["step_seconds"]
    assert (step["slowest_rank"], step["mean_rank"]) == pytest.approx((0.2, 0.15))
    waits = found["per_step"]["exposed_communication_seconds"]
    assert (waits["slowest_rank"], waits["mean_rank"]) == pytest.approx((0.02, 0.01))


def test_quantiles_of_many_ranks_are_those_of_all_their_steps_at_once(tmp_path):
    random = np.random.default_rng(0)
    rows = random.lognormal(-2, 1, (3, 400, len(COLUMNS)))
    each = [times(tmp_path, rank) for rank in range(3)]
    for rank, steps in enumerate(each):
        for row in rows[rank]:
            steps.add(0, 4, 12, row)
    found = over_all(each)
    steady = rows[:, WARMUP_STEPS:]
    for column, name in enumerate(COLUMNS):
        values = steady[:, :, column]
        assert found["per_step"][name]["median"] == pytest.approx(np.median(values), rel=0.011)
        assert found["per_step"][name]["mean"] == pytest.approx(values.mean())
    rates = 12 / steady[:, :, 0]
    for name, share in {"p05": 5, "median": 50, "p95": 95}.items():
        expected = np.percentile(rates, share)
        assert found["patches_per_second"][name] == pytest.approx(expected, rel=0.02)


def test_every_rank_knows_the_means_of_each_and_what_the_last_one_waited(tmp_path):
    each = [times(tmp_path, rank) for rank in range(3)]
    for rank, steps in enumerate(each):
        for number in range(21):
            warm = number < WARMUP_STEPS
            # In turns one of them computes longest, and waits least.
            wait = 9.0 if warm else 0.1 + 0.2 * ((number + rank) % 3) + 0.01 * (number % 2)
            steps.add(number // 11, 4 - rank, 9, (9.0 if warm else 1.0 + rank, 0.5, 0.25, wait))
    found = over_all(each)
    assert found["per_rank"]["step_seconds"] == [1.0, 2.0, 3.0]
    assert found["per_rank"]["data_wait_seconds"] == [0.5] * 3
    assert found["first_epoch_patches"] == 11 * (4 + 3 + 2)
    assert found["last_rank_exposed_seconds"] == pytest.approx(0.105)
    alone = times(tmp_path, 9)
    alone.add(1, 4, 4, (1.0, 0.1, 0.8, 0.1))
    told = alone.over_all(Alone())
    assert told["last_rank_exposed_seconds"] is None
    assert told["first_epoch_patches"] is None, "it took no step of it"


@pytest.mark.parametrize("steps", [2000, 2058, 10_000, 30_000])
def test_where_every_tenth_step_is_clocked_the_clocked_ones_are_compared(tmp_path, steps):
    """However long the run: a step of the warm-up alone would tell 0.5."""
    each = [times(tmp_path, rank) for rank in range(2)]
    for rank, found in enumerate(each):
        for number in range(1, steps + 1):
            exposed = (0.5 if number <= 10 else 0.01 + rank) if number % 10 == 0 else math.nan
            found.add(0, 4, 8, (0.1, 0.0, 0.08, exposed))
    assert over_all(each)["last_rank_exposed_seconds"] == 0.01


def test_of_many_steps_the_same_ones_are_compared_on_every_rank():
    kept = Spaced()
    for number in range(5 * SPACED_STEPS):
        kept.add(float(number))
    values = kept.least(Alone())
    assert SPACED_STEPS / 2 < len(values) <= SPACED_STEPS
    assert values == [8.0 * n for n in range(len(values))]


def test_times_without_a_file_are_gathered_all_the_same(tmp_path):
    steps = StepTimes(None, device="CPU")
    for _ in range(BLOCK_STEPS + 20):
        steps.add(0, 4, 4, (0.5, 0.1, 0.3, 0.1))
    steps.write()
    assert steps.over_all(Alone())["per_rank"]["step_seconds"] == [0.5]
    assert list(tmp_path.iterdir()) == []


def test_steps_without_a_clock_count_where_they_have_a_time(tmp_path):
    steps = times(tmp_path)
    for number in range(20):
        clocked = number % 5 == 4
        row = (0.5, 0.1, 0.4, 0.2) if clocked else (0.25, 0.1, math.nan, math.nan)
        steps.add(0, 4, 4, row)
    steps.write()
    found = steps.over_all(Alone())["per_step"]
    assert found["step_seconds"]["mean"] == pytest.approx((12 * 0.25 + 3 * 0.5) / 15)
    assert found["compute_seconds"]["mean"] == pytest.approx(0.4)
    assert lines(tmp_path)[0]["compute_seconds"][3:5] == [None, 0.4]


def test_a_run_of_a_few_steps_or_none_has_times_too(tmp_path):
    assert times(tmp_path).over_all(Alone())["patches_per_second"] is None
    one = times(tmp_path)
    one.add(0, 4, 4, (2.0, 0, 0, 0))
    found = one.over_all(Alone())
    assert found["patches_per_second"]["overall"] == 2
    assert found["per_step"]["data_wait_seconds"]["median"] == 0


def test_what_is_kept_and_gathered_does_not_grow_with_the_steps(tmp_path):
    def kept(count):
        """Bytes that a rank gathers, and the steps that it holds."""
        steps, ranks = times(tmp_path, count), Alone()
        for _ in range(count):
            steps.add(0, 4, 4, (0.1, 0.1, 0.1, 0.1))
        held = len(steps._block) + len(steps._first)
        steps.over_all(ranks)
        return ranks.gathered, held

    small, large = kept(100), kept(25 * BLOCK_STEPS)
    assert large[0] == small[0] < 300_000
    assert max(small[1], large[1]) <= BLOCK_STEPS + 2 * WARMUP_STEPS


def test_the_file_of_a_rank_has_all_steps_epoch_by_epoch(tmp_path):
    steps = times(tmp_path)
    for number in range(BLOCK_STEPS + 2):
        steps.add(0, 4, 4, (0.1 + number, 0, 0, 0))
    steps.add(1, 3, 3, (0.3, 0, 0, 0))
    steps.write()
    steps.write()
    found = lines(tmp_path)
    assert [(line["epoch"], len(line["patches"])) for line in found] == [
        (1, BLOCK_STEPS),
        (1, 2),
        (2, 1),
    ]
    assert found[1]["step_seconds"] == [BLOCK_STEPS + 0.1, BLOCK_STEPS + 1.1]
    assert found[2]["patches"] == [3]
