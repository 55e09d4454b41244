"""Cores of ranks as a pure function; the ranks themselves are tried in test_train_mpi.py."""

import pytest

from cloudmask.data.parallel import own_cores


def shared_out(*affinities):
    """The cores of every rank on a host, given what each is allowed."""
    allowed = dict(enumerate(affinities))
    return [own_cores(allowed, rank) for rank in allowed]


def test_ranks_bound_to_cores_of_their_own_keep_them():
    assert shared_out((0,), (1,)) == [(0,), (1,)]
    assert shared_out((0, 1, 2), (4, 5, 6)) == [(0, 1, 2), (4, 5, 6)]


def test_a_rank_alone_keeps_all_it_is_allowed():
    assert shared_out((2, 3, 7)) == [(2, 3, 7)]


@pytest.mark.parametrize(("cores", "ranks"), [(2, 2), (8, 2), (8, 3), (64, 8), (5, 5)])
def test_unbound_ranks_share_the_host_without_overlap(cores, ranks):
    found = shared_out(*[tuple(range(cores))] * ranks)
    assert len({len(mine) for mine in found}) == 1, "all ranks have equally many cores"
    assert len(found[0]) == cores // ranks
    taken = [core for mine in found for core in mine]
    assert len(set(taken)) == len(taken)
    assert set(taken) <= set(range(cores))


def test_more_ranks_than_cores_take_turns():
    assert shared_out(*[(4, 9)] * 5) == [(4,), (9,), (4,), (9,), (4,)]
    assert shared_out((0,), (1,), (0,), (1,)) == [(0,), (1,), (0,), (1,)]


def test_ranks_bound_to_numa_nodes_share_each_node():
    left, right = (0, 1, 2, 3), (4, 5, 6, 7)
    assert shared_out(left, left, right, right) == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert shared_out(left, right, left, right) == [(0, 1), (4, 5), (2, 3), (6, 7)]
    assert shared_out(left, left, left, right) == [(0,), (1,), (2,), right]


def test_ranks_are_told_apart_by_their_place_among_those_of_the_host():
    """Rank numbers of a host need not begin at zero."""
    assert own_cores({12: (0, 1), 13: (0, 1)}, 13) == (1,)
