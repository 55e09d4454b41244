"""Tests blind to the number of ranks: they pass alone and as `mpirun -n 2 pytest` on this file."""

from pathlib import Path

import numpy as np
import pytest

from cloudmask.cli.errors import AgreedError
from cloudmask.data import parallel
from cloudmask.data.parallel import Outcome, deal, launched_size, map_items


@pytest.fixture(scope="module")
def world():
    return parallel.world()


def square(number):
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number**2


def test_outcomes_come_in_item_order_on_every_rank(world):
    for count in (0, 1, 2, 7):
        outcomes = map_items(square, range(count), world=world)
        assert [outcome.value for outcome in outcomes] == [n**2 for n in range(count)]


def test_an_item_that_fails_costs_no_other(world, capfd):
    outcomes = map_items(square, [3, -1, 2], world=world)
    assert outcomes == [Outcome(9), Outcome(error="-1 is negative"), Outcome(4)]
    told = world.broadcast(world.gather(capfd.readouterr().err))
    assert "".join(told).count("left out: -1 is negative") == 1


def test_no_rank_goes_on_for_long_after_an_error_that_stops(world):
    numbers = [-1] * world.size + list(range(1000 * world.size))
    weights = [2.0] * world.size + [1.0] * (1000 * world.size)
    outcomes = map_items(square, numbers, world=world, weights=weights, stop_at_error=True)
    # A rank that begins late is told to stop before its own first item.
    first = outcomes[: world.size]
    failed = Outcome(error="-1 is negative")
    assert failed in first
    assert all(outcome in (failed, None) for outcome in first)
    assert outcomes[world.size :] == [None] * (1000 * world.size)
    assert [o.value for o in map_items(square, [1, 2], world=world)] == [1, 4]


def test_a_full_disk_is_the_same_error_on_every_rank(world):
    def fail(number):
        raise OSError(28, "No space left on device", f"file{number}")

    with pytest.raises(AgreedError, match=r"file[01]: the disk is full: make room") as caught:
        map_items(fail, range(5), world=world)
    messages = world.broadcast(world.gather(str(caught.value)))
    assert messages == [str(caught.value)] * world.size
    assert [o.value for o in map_items(square, [1, 2], world=world)] == [1, 4]


def test_what_rank_0_finds_is_known_to_all(world):
    assert world.on_root(lambda: world.rank) == 0
    with pytest.raises(AgreedError, match="-1 is negative"):
        world.on_root(lambda: square(-1))
    with pytest.raises(AgreedError, match="no-such-file: No such file"):
        world.on_root(lambda: Path("no-such-file").read_text())


def test_what_rank_0_prints_needs_no_stdout(start):
    """Daemons have closed it."""
    code = "import os, sys\nsys.stdout = None\nfrom cloudmask.data import parallel\n"
    code += "os._exit(parallel.world().on_root(lambda: print('told') or 7))"
    process = start(code)
    _, err = process.communicate(timeout=240)
    assert (process.returncode, err) == (7, "")


def test_sums_and_gathered_values_are_those_of_all_ranks(world):
    total = world.sum(np.array([1.0, world.rank]))
    assert total.tolist() == [world.size, world.size * (world.size - 1) / 2]
    gathered = world.gather(world.rank)
    assert gathered == (list(range(world.size)) if world.is_root else None)
    assert world.broadcast(world.rank) == 0


@pytest.mark.parametrize("hands", [1, 2, 3, 8])
def test_deal_gives_every_item_once_and_balances(hands):
    weights = np.random.default_rng(0).uniform(1, 3, 50).tolist()
    groups = deal(weights, hands)
    assert sorted(index for group in groups for index in group) == list(range(50))
    assert all(group == sorted(group) for group in groups)
    loads = [sum(weights[index] for index in group) for group in groups]
    assert max(loads) - min(loads) <= 3


def test_deal_with_more_hands_than_items_leaves_some_empty():
    assert deal([1, 1], 3) == [[0], [1], []]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (1, "")),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, (4, "mpirun")),
        ({"PMI_SIZE": "3"}, (3, "mpiexec")),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_NTASKS": "8"}, (8, "srun")),
        # mpirun inside a Slurm job: its daemons are the step, the ranks are its own
        ({"OMPI_COMM_WORLD_SIZE": "4", "SLURM_STEP_NUM_TASKS": "1"}, (4, "mpirun")),
        # plain python in a batch script of 8 tasks
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, (1, "")),
    ],
)
def test_the_launcher_says_how_many_processes_it_started(environment, expected):
    assert launched_size(environment) == expected


WORLD = "from cloudmask.data import parallel\nprint(parallel.world())"


def test_single_process_does_not_touch_mpi(start):
    code = f"{WORLD}\nimport sys\nassert 'mpi4py' not in sys.modules"
    process = start(code)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "size=1" in out


@pytest.mark.mpi
def test_processes_that_mpi_does_not_join_are_refused(start):
    process = start(WORLD, SLURM_STEP_NUM_TASKS="4")
    _, err = process.communicate(timeout=240)
    assert process.returncode != 0
    assert "srun started 4 processes but mpi4py sees 1" in err


def test_missing_mpi4py_is_named_with_what_to_install(start):
    code = f"import sys\nsys.modules['mpi4py'] = None\n{WORLD}"
    process = start(code, OMPI_COMM_WORLD_SIZE="2")
    _, err = process.communicate(timeout=240)
    assert process.returncode != 0
    assert "pip install '.[mpi]'" in err


@pytest.mark.mpi
def test_this_file_passes_on_two_ranks(start):
    code = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    words = ["-q", "-p", "no:cacheprovider", "-k", "not start and not ranks and not mpi", __file__]
    process = start(code, *words, ranks=2)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert out.count(" passed") == 2


DIES = """
import time
from cloudmask.data import parallel
world = parallel.world()
def work(item):
    if item == 1:
        raise RuntimeError("a defect")
    time.sleep(3600)
parallel.map_items(work, [0, 1], world=world)
"""


@pytest.mark.mpi
def test_a_rank_that_dies_takes_the_others_with_it(start):
    process = start(DIES, ranks=2)
    _, err = process.communicate(timeout=240)
    assert process.returncode != 0
    assert "RuntimeError: a defect" in err


BESIDE_TENSORFLOW = """
import ctypes, importlib.util, os
from pathlib import Path
from cloudmask.data import parallel
os.environ["OMPI_COMM_WORLD_SIZE"] = "2"
try:
    parallel.world()
except ValueError as error:
    assert "mpi4py sees 1" in str(error)
found = importlib.util.find_spec("tensorflow").submodule_search_locations[0]
library = next(Path(found).glob("libtensorflow_framework.so*"))
ctypes.CDLL(str(library), mode=os.RTLD_GLOBAL)
"""


def test_open_mpi_ends_with_its_own_functions_beside_tensorflow(start):
    """Both hold hwloc. A rank whose work was done died of TensorFlow's, now and then."""
    process = start(BESIDE_TENSORFLOW, LD_DEBUG="bindings")
    _, err = process.communicate(timeout=240)
    calls = [line for line in err.splitlines() if "`hwloc_topology_destroy'" in line]
    ours = [line for line in calls if "libopen-pal" in line.partition(" to ")[0]]
    assert ours
    assert [line for line in ours if "tensorflow" in line] == []
    assert process.returncode == 0, err[-2000:]
