"""Plans are pure functions, so they are tried at every number of ranks from 1 to 64."""

import math

import numpy as np
import pytest

from cloudmask.train.schedule import (
    PAD,
    Part,
    batch_sizes,
    check_batch,
    epoch_plan,
    learning_rate,
    patches_left,
    patches_per_step,
    shard_bounds,
    validation_plan,
)

# (patches, batch per rank): as few as the ranks, odd and prime numbers, more than one batch left.
SIZES = [(64, 1), (67, 1), (129, 2), (211, 3), (512, 8), (1009, 4)]


def plans(num_patches, num_ranks, *, shuffle, global_batch, seed=0, epoch=0, parts=()):
    """(ranks, steps, batch): the plans of all ranks, which must be of one shape."""
    return np.stack(
        [
            epoch_plan(
                num_patches,
                num_ranks,
                rank,
                global_batch=global_batch,
                shuffle=shuffle,
                seed=seed,
                epoch=epoch,
                parts=parts,
            )
            for rank in range(num_ranks)
        ]
    )


def global_batches(num_ranks, batch_per_rank):
    """A full one, and two that the ranks cannot share evenly."""
    full = num_ranks * batch_per_rank
    return {full, max(num_ranks, full - 1), full + num_ranks // 2}


@pytest.mark.parametrize("shuffle", ["shard", "global"])
@pytest.mark.parametrize(("num_patches", "batch_per_rank"), SIZES)
def test_every_patch_once_in_equally_many_steps(shuffle, num_patches, batch_per_rank):
    for num_ranks in range(1, 65):
        for global_batch in global_batches(num_ranks, batch_per_rank):
            # np.stack would fail if ranks had different numbers of steps
            plan = plans(num_patches, num_ranks, shuffle=shuffle, global_batch=global_batch)
            assert sorted(plan[plan != PAD]) == list(range(num_patches))
            assert plan.shape[2] == batch_sizes(global_batch, num_ranks).max()


@pytest.mark.parametrize(("num_patches", "batch_per_rank"), SIZES)
def test_a_rank_reads_only_its_own_contiguous_part(num_patches, batch_per_rank):
    for num_ranks in range(1, 65):
        bounds = shard_bounds(num_patches, num_ranks, global_batch=num_ranks * batch_per_rank)
        assert (bounds[0], bounds[-1]) == (0, num_patches)
        assert set(np.diff(bounds)) <= {num_patches // num_ranks, -(-num_patches // num_ranks)}
        for epoch in (0, 1):
            plan = plans(
                num_patches,
                num_ranks,
                shuffle="shard",
                global_batch=num_ranks * batch_per_rank,
                epoch=epoch,
            )
            for rank in range(num_ranks):
                mine = plan[rank][plan[rank] != PAD]
                assert sorted(mine) == list(range(bounds[rank], bounds[rank + 1]))


@pytest.mark.parametrize(("num_patches", "global_batch"), [(67, 64), (129, 70), (512, 64)])
def test_global_batches_are_the_same_whatever_the_number_of_ranks(num_patches, global_batch):
    alone = plans(num_patches, 1, shuffle="global", global_batch=global_batch)[0]
    for num_ranks in range(2, 65):
        plan = plans(num_patches, num_ranks, shuffle="global", global_batch=global_batch)
        assert plan.shape[1] == len(alone)
        for step, expected in enumerate(alone):
            batch = plan[:, step]
            assert sorted(batch[batch != PAD]) == sorted(expected[expected != PAD])


@pytest.mark.parametrize("shuffle", ["shard", "global"])
def test_padding_stands_only_where_no_patch_is_left(shuffle):
    for num_ranks in (1, 2, 3, 5, 8):
        for global_batch in (8, 9, 13, 16):
            plan = plans(67, num_ranks, shuffle=shuffle, global_batch=global_batch)
            sizes = batch_sizes(global_batch, num_ranks)
            if shuffle == "global":
                places = np.concatenate([plan[r, :, : sizes[r]] for r in range(num_ranks)], axis=1)
                series = [places.ravel()]
            else:
                series = [plan[rank, :, : sizes[rank]].ravel() for rank in range(num_ranks)]
            for rank in range(num_ranks):
                assert (plan[rank, :, sizes[rank] :] == PAD).all()
            for places in series:
                number = (places != PAD).sum()
                assert (places[:number] != PAD).all()
            longest = max((s != PAD).sum() / size for s, size in _with_sizes(series, sizes))
            assert plan.shape[1] == math.ceil(longest), "no step is empty on every rank"


def _with_sizes(series, sizes):
    return zip(series, sizes if len(series) > 1 or len(sizes) == 1 else [sizes.sum()], strict=True)


@pytest.mark.parametrize("shuffle", ["shard", "global"])
def test_the_order_is_new_every_epoch_and_the_same_every_time(shuffle):
    def order(**changes):
        settings = {"shuffle": shuffle, "global_batch": 12, "seed": 0, "epoch": 0} | changes
        return plans(97, 3, **settings).tolist()

    seen = [order(epoch=epoch) for epoch in range(6)] + [order(seed=1)]
    assert all(seen[i] != seen[j] for i in range(len(seen)) for j in range(i))
    assert [order(epoch=epoch) for epoch in range(6)] == seen[:6]


def test_ranks_shuffle_their_parts_differently():
    plan = plans(64, 2, shuffle="shard", global_batch=8)
    assert (plan[0].ravel() != plan[1].ravel() - 32).any()


def test_the_order_is_no_longer_that_of_the_disk():
    plan = plans(200, 1, shuffle="shard", global_batch=10)[0].ravel()
    assert np.abs(np.diff(plan)).mean() > 20


def broken_epoch(random, *, num_patches, shuffle, epoch):
    """An epoch in which the ranks change up to six times: what ran in each part, and the parts."""
    ran, parts = [], []
    for change in range(7):
        num_ranks = int(random.integers(1, 13))
        global_batch = int(random.integers(num_ranks, 3 * num_ranks + 1))
        seed = int(random.integers(3))
        plan = plans(
            num_patches,
            num_ranks,
            shuffle=shuffle,
            global_batch=global_batch,
            seed=seed,
            epoch=epoch,
            parts=parts,
        )
        whole = change == 6 or random.random() < 0.1
        steps = plan.shape[1] if whole else int(random.integers(plan.shape[1] + 1))
        ran.append(plan[:, :steps])
        parts.append(Part(num_ranks, global_batch, shuffle, seed, steps))
    return ran, parts


@pytest.mark.parametrize("shuffle", ["shard", "global"])
def test_every_patch_once_however_often_the_ranks_change(shuffle):
    random = np.random.default_rng(0)
    fewest = 99
    for trial in range(40):
        num_patches = int(random.integers(12, 90))
        ran, parts = broken_epoch(random, num_patches=num_patches, shuffle=shuffle, epoch=trial)
        seen = np.concatenate([plan[plan != PAD] for plan in ran])
        assert sorted(seen) == list(range(num_patches))
        for number, (plan, part) in enumerate(zip(ran, parts, strict=True)):
            before = [plan[plan != PAD] for plan in ran[:number]]
            left = np.setdiff1d(np.arange(num_patches), np.concatenate([*before, []]))
            assert patches_left(num_patches, parts[:number], epoch=trial).tolist() == left.tolist()
            counts = patches_per_step(
                len(left), part.num_ranks, global_batch=part.global_batch, shuffle=shuffle
            )
            assert counts[: part.steps] == (plan != PAD).sum(axis=(0, 2)).tolist()
            assert sum(counts) == len(left)
            assert 0 not in counts, "no step is empty on every rank"
            fewest = min(fewest, len(left) - part.num_ranks)
    assert fewest < 0, "fewer patches than ranks were tried"


@pytest.mark.parametrize(
    ("num_patches", "num_ranks", "global_batch"),
    [(100_000, 1000, 1500), (15_520, 64, 100), (1009, 7, 24), (97, 5, 9), (90, 4, 89), (64, 8, 12)],
)
def test_a_batch_that_ranks_share_unevenly_is_full_until_the_last_step(
    num_patches, num_ranks, global_batch
):
    check_batch(num_patches, num_ranks, global_batch=global_batch)
    counts = patches_per_step(num_patches, num_ranks, global_batch=global_batch, shuffle="shard")
    full = num_patches // global_batch
    assert counts[:full] == [global_batch] * full
    assert len(counts) == -(-num_patches // global_batch)


@pytest.mark.parametrize("shuffle", ["shard", "global"])
def test_an_epoch_begun_with_equal_shards_is_ended_with_others(shuffle):
    """As by a checkpoint of the time when all ranks had equal parts."""
    settings = {"shuffle": shuffle, "seed": 0, "epoch": 0}
    before = [
        epoch_plan(97, 5, rank, global_batch=9, equal_shards=True, **settings)[:4]
        for rank in range(5)
    ]
    part = Part(5, 9, shuffle, 0, 4, equal_shards=True)
    after = plans(97, 5, global_batch=9, parts=[part], **settings)
    seen = np.concatenate([np.ravel(before), after.ravel()])
    assert sorted(seen[seen != PAD]) == list(range(97))


@pytest.mark.parametrize(("shuffle", "orders"), [("global", 1), ("shard", 64 + 2 * 8)])
def test_what_is_left_is_worked_out_once_for_all_ranks(monkeypatch, shuffle, orders):
    """The 8 ranks of a host ask what 64 have left, each of them twice."""
    shuffled = []
    real = np.random.default_rng

    def counted(seed):
        shuffled.append(seed)
        return real(seed)

    monkeypatch.setattr(np.random, "default_rng", counted)
    parts = [Part(64, 256, shuffle, seed=11, steps=3)]
    for rank in range(8):
        for _ in range(2):
            assert len(patches_left(5280, parts, epoch=3)) == 5280 - 3 * 256
            settings = {"global_batch": 32, "shuffle": shuffle, "seed": 11, "epoch": 3}
            epoch_plan(5280, 8, rank, parts=parts, **settings)
    assert len(shuffled) == orders


def test_a_rank_may_have_nothing_to_do_with_the_last_patches():
    parts = [Part(1, 5, "shard", 0, 5)]
    plan = plans(27, 4, shuffle="shard", global_batch=8, parts=parts)
    assert plan.shape == (4, 1, 2)
    assert sorted((plan != PAD).sum(axis=(1, 2))) == [0, 0, 1, 1]


def test_with_the_same_global_batch_a_shared_epoch_keeps_its_batches_when_ranks_change():
    whole = plans(90, 3, shuffle="global", global_batch=8)
    parts = [Part(3, 8, "global", 0, 4), Part(5, 8, "global", 0, 2)]
    for number, begun in ((1, 4), (2, 6)):
        for num_ranks in (1, 2, 3, 7):
            rest = plans(90, num_ranks, shuffle="global", global_batch=8, parts=parts[:number])
            assert rest.shape[1] == whole.shape[1] - begun
            for step in range(rest.shape[1]):
                assert sorted(rest[:, step].ravel()[rest[:, step].ravel() != PAD]) == sorted(
                    whole[:, begun + step].ravel()[whole[:, begun + step].ravel() != PAD]
                )


def test_ranks_share_a_global_batch_evenly():
    for global_batch in range(1, 70):
        for num_ranks in range(1, global_batch + 1):
            sizes = batch_sizes(global_batch, num_ranks)
            assert sizes.sum() == global_batch
            assert sizes.min() >= 1
            assert sizes.max() - sizes.min() <= 1


def test_validation_covers_every_patch_once_in_order():
    for num_patches in (0, 1, 5, 64, 67):
        for num_ranks in range(1, 65):
            every = [
                validation_plan(num_patches, num_ranks, rank, batch=3) for rank in range(num_ranks)
            ]
            patches = np.concatenate([plan[plan != PAD] for plan in every])
            assert patches.tolist() == list(range(num_patches))
            assert all((plan[:-1] != PAD).all() for plan in every)


def test_more_ranks_than_patches_are_refused():
    assert shard_bounds(8, 8, global_batch=8).tolist() == list(range(9))
    with pytest.raises(ValueError, match="7 patches cannot feed 8 ranks; use at most 7 ranks"):
        shard_bounds(7, 8, global_batch=8)
    with pytest.raises(ValueError, match="0 ranks"):
        shard_bounds(7, 0, global_batch=8)


def test_a_global_batch_smaller_than_the_ranks_is_refused():
    with pytest.raises(ValueError, match="a global batch of 3 cannot feed 4 ranks"):
        batch_sizes(3, 4)


def test_a_batch_larger_than_the_shard_is_refused():
    check_batch(10, 2, global_batch=10)
    with pytest.raises(ValueError, match="a batch of 6 per rank is larger than a rank's 5 of 10"):
        check_batch(10, 2, global_batch=11)
    with pytest.raises(ValueError, match="--batch-size 3"):
        check_batch(10, 3, global_batch=12)


def rate(step, **changes):
    settings = {
        "base": 0.1,
        "scaling": "none",
        "num_ranks": 4,
        "warmup_steps": 0,
        "decay": "none",
        "total_steps": 100,
    }
    return learning_rate(step, **(settings | changes))


def test_learning_rate_scales_with_the_ranks():
    assert rate(7) == 0.1
    assert rate(7, scaling="linear") == pytest.approx(0.4)
    assert rate(7, scaling="sqrt") == pytest.approx(0.2)
    assert rate(7, scaling="linear", num_ranks=1) == 0.1


def test_learning_rate_warms_up_linearly_to_its_full_value():
    rates = [rate(step, warmup_steps=5, scaling="linear") for step in range(8)]
    assert rates == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4, 0.4, 0.4, 0.4])


def test_learning_rate_falls_along_a_cosine_after_the_warm_up():
    rates = [rate(step, warmup_steps=20, decay="cosine") for step in range(101)]
    assert rates[:20] == pytest.approx([0.1 * (step + 1) / 20 for step in range(20)])
    for step in range(20, 101):
        expected = 0.1 * (1 + math.cos(math.pi * (step - 20) / 80)) / 2
        assert rates[step] == pytest.approx(expected, abs=1e-12)
    assert rates[60] == pytest.approx(0.05)
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert rate(500, decay="cosine") == pytest.approx(0, abs=1e-12)


def test_a_warm_up_longer_than_the_run_stays_finite():
    rates = [rate(step, warmup_steps=200, decay="cosine") for step in range(100)]
    assert rates == pytest.approx([0.1 * (step + 1) / 200 for step in range(100)])
