#!/usr/bin/env python3
"""Prove that an installed Horovod works: ranks sum their numbers, under every way to start them.

`horovodrun --check-build` is not asked, because it claims frameworks that were not built. Each
rank writes what it saw into a file of its own, since the output of ranks interleaves. The same file
is both sides: with --rank-folder it is one rank, which needs TensorFlow; `verify` needs nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from horovod_target import Target
from stages import Failure, run, say

LIMIT_SECONDS = 300.0


@dataclass(frozen=True)
class Launch:
    """A way to start ranks, and what its ranks have to see."""

    name: str
    command: list[str]
    num_ranks: int
    num_mpi_ranks: int

    def expected(self, target: Target) -> list[dict[str, object]]:
        """The reports in rank order: on every rank the sum is 1 + 2 + ... + num_ranks."""
        shared = {
            "size": self.num_ranks,
            "mpi_size": self.num_mpi_ranks,
            "sum": self.num_ranks * (self.num_ranks + 1) / 2,
            "mpi_built": True,
            "gloo_built": True,
            "nccl_built": target.device == "gpu",
            "tensorflow": target.tensorflow,
        }
        return [{"rank": rank} | shared for rank in range(self.num_ranks)]


def launches(python: Path) -> list[Launch]:
    """Alone, under MPI, and under Gloo, where every rank is an MPI world of its own."""
    # Cores are not bound and may be shared: a machine with one core has to do.
    mpirun = [str(python.parent / "mpirun"), "--oversubscribe", "--bind-to", "none"]
    # Containers often forbid the system call that this mechanism uses.
    mpirun += ["--mca", "btl_vader_single_copy_mechanism", "none", "-np", "2"]
    gloo = [
        str(python.parent / "horovodrun"),
        "--gloo",
        "--disable-cache",
        "-H",
        "localhost:2",
        "-np",
        "2",
    ]
    return [
        Launch("python", [str(python)], num_ranks=1, num_mpi_ranks=1),
        Launch("mpirun", [*mpirun, str(python)], num_ranks=2, num_mpi_ranks=2),
        Launch("horovodrun --gloo", [*gloo, str(python)], num_ranks=2, num_mpi_ranks=1),
    ]


def verify(python: Path, target: Target, *, log: Path, variables: Mapping[str, str]) -> None:
    """Start ranks in every way, time-limited; Failure when one fails, hangs or sums wrongly."""
    variables = dict(variables) | {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        # The sum is taken on CPUs: NCCL refuses two ranks on one GPU, and a login node has none.
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    for launch in launches(python):
        say(f"verify: an allreduce of {launch.num_ranks} under {launch.name}")
        with tempfile.TemporaryDirectory() as folder:
            run(
                [*launch.command, str(Path(__file__).resolve()), "--rank-folder", folder],
                what=f"an allreduce under {launch.name}",
                log=log,
                environment=variables,
                limit_seconds=LIMIT_SECONDS,
            )
            reports = [json.loads(p.read_text()) for p in sorted(Path(folder).glob("rank-*.json"))]
        if reports != launch.expected(target):
            raise Failure(
                f"Horovod under {launch.name} reports {reports} instead of "
                f"{launch.expected(target)}; see {log}"
            )


def report_as_rank(folder: Path) -> None:
    import horovod.tensorflow as hvd
    import tensorflow as tf

    hvd.init()
    # After Horovod, which may have started MPI; this import would start it else.
    from mpi4py import MPI

    total = hvd.allreduce(tf.constant(hvd.rank() + 1.0), op=hvd.Sum)
    report = {
        "rank": hvd.rank(),
        "size": hvd.size(),
        "mpi_size": MPI.COMM_WORLD.size,
        "sum": float(total),
        "mpi_built": bool(hvd.mpi_built()),
        "gloo_built": bool(hvd.gloo_built()),
        "nccl_built": bool(hvd.nccl_built()),
        # 2.22.0-rc0 is what the package index calls 2.22.0rc0.
        "tensorflow": tf.__version__.replace("-", ""),
    }
    (folder / f"rank-{hvd.rank()}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rank-folder", type=Path, required=True)
    report_as_rank(parser.parse_args().rank_folder)
