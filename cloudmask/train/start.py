"""How a rank starts: its settings, Horovod, its cores and threads, and how it meets others anew.

`start()` must run before TensorFlow makes its thread pools. It sets what launchers forget (see
SETTINGS), starts Horovod, and gives each rank its own cores. One rank without a launcher works, and
so does one without Horovod, which tells what Horovod itself costs.
"""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import replace
from typing import Any

import tensorflow as tf

from cloudmask import host
from cloudmask.cli.errors import AgreedError, launched_rank
from cloudmask.data import parallel
from cloudmask.record import commit
from cloudmask.train import gpus
from cloudmask.train.ranks import OneRank, Ranks, load_horovod

SETTINGS = {
    # What is summed in one message is fixed, see GROUPS: no group joins another that comes by then.
    "HOROVOD_DISABLE_GROUP_FUSION": "1",
}
SETTINGS_CPU = {
    # An idle MPI thread spins on the core that computes: without these two, ranks of one core
    # lose a third of their speed. On GPUs Horovod's cycle of 1 ms stays.
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "HOROVOD_CYCLE_TIME": "10",
}

# One rank without a launcher: Gloo needs neither MPI nor its daemon. Where the host's own name is
# unknown, as in some containers, it is MPI all the same.
ALONE = {"HOROVOD_CONTROLLER": "gloo", "HOROVOD_CPU_OPERATIONS": "gloo"}
ALONE |= {f"HOROVOD_{place}RANK": "0" for place in ("", "LOCAL_", "CROSS_")}
ALONE |= {f"HOROVOD_{place}SIZE": "1" for place in ("", "LOCAL_", "CROSS_")}


def start(*, threads: int | None = None, horovod: bool = True) -> Ranks:
    """Start Horovod and give this rank its device, cores and threads.

    The order matters: cores before any thread is made (so the ranks compare them through MPI, not
    through Horovod), threads before TensorFlow's first operation. Without `horovod` a single
    process is all there is; AgreedError if a launcher started more.
    """
    launched = max(parallel.launched_size(os.environ)[0], int(os.environ.get("HOROVOD_SIZE", "1")))
    if not horovod and launched > 1:
        raise AgreedError(
            f"--no-horovod trains one process by itself, but {launched} were started; "
            "leave it out, or start one"
        )
    found = tf.config.list_physical_devices("GPU")
    for name, value in (SETTINGS if found else SETTINGS | SETTINGS_CPU).items():
        os.environ.setdefault(name, value)
    if launched_rank() == 0:
        commit()  # by git, as a process of its own, which is best started before MPI
    world = parallel.world()
    share = parallel.take_cores(world)
    if not horovod:
        threads = _use_threads(threads or num_threads(len(share.cores), 1, limit=host.core_limit()))
        device = gpus.use(found[0]) if found else "CPU"
        place = (0, 1, 0, 1, 1, threads, share.cores, device, "none")
        return OneRank(*place, allowed_cores=share.allowed, bound=share.bound)
    problem = unreachable(host.name())
    if world.size == 1 and "HOROVOD_RANK" not in os.environ and not problem:
        os.environ.update(ALONE)
    elif os.environ.get("HOROVOD_CONTROLLER") == "gloo" and problem:
        raise AgreedError(
            f"{problem}, which Gloo needs; mend /etc/hosts, or start the ranks with mpirun"
        )
    hvd = load_horovod()
    hvd.init()
    if world.size > 1 and (world.rank, world.size) != (hvd.rank(), hvd.size()):
        raise RuntimeError(
            f"MPI says rank {world.rank} of {world.size}, Horovod {hvd.rank()} of {hvd.size()}; "
            "start all ranks with one mpirun, srun or horovodrun"
        )
    possible = num_threads(len(share.cores), hvd.local_size(), limit=host.core_limit())
    return Ranks(
        **_place(),
        threads=_use_threads(threads or possible),
        cores=share.cores,
        device=gpus.take(found, hvd.local_rank(), hvd.local_size()) if found else "CPU",
        controller="mpi" if hvd.mpi_enabled() else "gloo",
        allowed_cores=share.allowed,
        bound=share.bound,
    )


def num_threads(cores: int, local_size: int, *, limit: float | None) -> int:
    """Threads of a rank: one per core of its own, and no more than its share of a limit.

    A limit, in processors' worth of time, is of all `local_size` ranks of the host together.
    """
    return cores if limit is None else max(1, min(cores, int(limit // local_size)))


def _use_threads(threads: int) -> int:
    # One pool for operations side by side keeps their order, and so the bits, on one thread.
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1 if threads == 1 else 2)
    return threads


def unreachable(name: str) -> str | None:
    """Why Gloo cannot start by this host's name; None if it can.

    It listens on an address that the name resolves to, and ends the process where there is none:
    the name is unknown, or means an address that this host does not have, as a stale line of
    /etc/hosts does.
    """
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return f"this host's name {name!r} cannot be resolved"
    for family, kind, protocol, _, address in found:
        with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as one:
            one.bind(address)
            return None
    addresses = ", ".join(sorted({str(address[0]) for *_, address in found}))
    return f"this host's name {name!r} means {addresses}, which is no address of this host"


def restart(ranks: Ranks) -> Ranks:
    """Meet the ranks that an elastic driver has now, after all that were left have called this.

    Horovod aborts a process that has no place any more, and all of them where a new one that the
    driver has started does not come within HOROVOD_GLOO_TIMEOUT_SECONDS.
    """
    hvd = load_horovod()
    hvd.shutdown()
    hvd.init()
    os.environ["HOROVOD_RANK"] = str(hvd.rank())  # who speaks for all: see errors.launched_rank
    return replace(ranks, **_place())


def _place() -> dict[str, Any]:
    """Where Horovod has put this rank."""
    hvd = load_horovod()
    local = {"local_rank": hvd.local_rank(), "local_size": hvd.local_size()}
    return local | {"rank": hvd.rank(), "size": hvd.size(), "num_hosts": hvd.cross_size()}
