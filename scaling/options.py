"""What each command can be told; flags and YAML keys are generated from these fields."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cloudmask.cli.errors import UsageError

Studies = Annotated[tuple[Path, ...], tyro.conf.Positional]


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Run a program at several rank counts, each point afresh and watched: ... -- PROGRAM WORDS.

    Of train_hvd.py the study fills in --out, --seed and --batch-size or --global-batch. Of any
    other program it fills in {out}, {batch}, {global_batch}, {seed} and {ranks} wherever they stand
    in its words. The same command again goes on with what is missing.
    """

    out: Path
    """folder of the study"""
    ranks: str = ""
    """rank counts, with commas between (default: 1,2)"""
    nodes: str = ""
    """numbers of nodes, instead of --ranks: each with --ranks-per-node ranks"""
    modes: str = "strong,weak"
    """strong: the global batch is fixed; weak: the batch per rank is"""
    repeats: int = 6
    """runs of each point; fewer than 6 give no 95 % interval of a median"""
    batch_per_rank: int = 4
    """patches per rank and step in weak scaling"""
    global_batch: int | None = None
    """patches per step in strong scaling (default: --batch-per-rank times the most ranks)"""
    dataset: Literal["fixed", "growing"] = "fixed"
    """of weak scaling; growing: the program's words name other data for every {ranks}"""
    launcher: Literal["auto", "mpirun", "horovodrun", "srun", "jsrun", "python"] = "auto"
    """what starts the ranks; auto: the first of these that is installed"""
    launch: str = ""
    """any other launcher, such as "flux run -n {ranks} {program}"; also {nodes}, {ranks_per_node},
    {cores_per_rank} and {gpus_per_rank}; no shell is run"""
    controller: Literal["gloo", "mpi"] = "gloo"
    """what horovodrun connects the ranks with"""
    hosts: str = ""
    """NAME:SLOTS,NAME:SLOTS (default: this host, or the batch system's allocation)"""
    ranks_per_node: int | None = None
    """ranks on each host (default: as the launcher fills them)"""
    cores_per_rank: int = 1
    """cores, and threads, of every rank at every rank count"""
    gpus_per_rank: int | None = None
    """GPUs of every rank (default: 1 where there are any)"""
    gpu_bind: Literal["rank", "none"] = "rank"
    """of srun; none: ranks see all GPUs of their node and take one each by their local rank, for
    where GPUs that are hidden from each other cannot use their direct links"""
    oversubscribe: bool = False
    """allow more ranks than cores or GPUs; every figure then says so"""
    env: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=VALUE for every rank, over the launcher's defaults; NAME= takes a default away"""
    copies: bool = False
    """also run N unconnected copies at once: what a perfect allreduce could reach here"""
    alone: str = "auto"
    """words that make the program run without Horovod, as a base case and in copies (auto:
    --no-horovod for train_hvd.py, no such base for other programs; an empty word: none)"""
    allreduce: bool = True
    """measure Horovod's allreduce over message sizes once per rank count"""
    start_seconds: float = 3600.0
    """end a point that has not made its first step after so long: imports, staging, compiling"""
    stall_seconds: float = 300.0
    """end a point that has made no step for so long since its last one, validation included"""
    timeout: float = 7200.0
    """end a point after so many seconds in any case"""
    heartbeat: str = "events.jsonl"
    """file in the program's output folder that grows with every step, by a line of JSON with its
    number as "step"; a program that tells no such number has no stall limit but --start-seconds"""
    idle_seconds: float = 0.0
    """read this host's power for so long before every point, for the idle share of its energy"""
    page_cache: Literal["as-found", "dropped"] = "as-found"
    """dropped: empty the page cache of all hosts before every point (needs root), for cold reads"""
    seed: int = 0
    """order of the points, and first seed of the program; repeat r gets seed + r - 1"""
    mixed: bool = False
    """allow different hardware within one study"""
    retry_failed: bool = False
    """run failed points once more; their rows stay"""
    again: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """name of a point to run once more, such as weak-ranks-n0002-r01, though it ended well; curves
    then use the new run, and the old row stays as superseded"""
    keep_logs: bool = False
    """keep the logs of all ranks, not only of the first, the last and failing ones"""
    keep_files: bool = False
    """keep files over 4 MiB (models, checkpoints) of finished points too"""


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """Fit the laws of scaling to a study: Amdahl, Gustafson, USL and the allreduce model."""

    study: Annotated[Path, tyro.conf.Positional]
    """folder of the study"""
    hold_out: str = ""
    """rank counts, with commas between, that the laws are not fitted to but tested on"""
    mixed: bool = False
    """allow different hardware within the study"""


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Write the page of a study, its pictures, results.csv, and files for Extra-P and ReFrame."""

    studies: Studies
    """folder of the study; a second one is laid over it in the curves"""
    out: Path = Path("report")
    """folder for the report"""
    hold_out: str = ""
    """rank counts, with commas between, that the laws are not fitted to but tested on"""
    peak_tflops: float | None = None
    """arithmetic peak of one rank's device (a GPU, or all its cores), for the share of it"""
    memory_gb_per_second: float | None = None
    """what the memory of one rank's device moves, for the roofline beside the peak"""
    price_per_node_hour: float | None = None
    """a rate, so that the price of runs can be told"""
    price_per_gpu_hour: float | None = None
    """the same, where GPUs are paid for and not nodes"""
    currency: str = ""
    """of the rate, as in EUR"""
    carbon_intensity: float | None = None
    """grams of CO2 equivalent per kWh of your electricity; without it no carbon is told"""
    mixed: bool = False
    """allow different hardware within a study"""


@dataclasses.dataclass(frozen=True)
class SeedsConfig:
    """Say when finished runs of several seeds reached their target, those that did not included."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """run folders, or folders of them"""


@dataclasses.dataclass(frozen=True)
class CheckConfig:
    """Hold a study or a run against a published figure.

    Exit code 0 met, 1 missed, 2 not comparable, 3 undecided: the interval lies across the figure,
    or there are too few runs for one.
    """

    path: Annotated[Path, tyro.conf.Positional]
    """folder of a study or of one run"""
    reference: str = "cloudmask-dgx2"
    """name of a published figure, or a JSON file with one"""
    ranks: int | None = None
    """rank count to check (default: the largest that the study measured)"""
    mode: Literal["strong", "weak"] | None = None
    """rows to check (default: all, each mode for itself)"""
    price_per_node_hour: float | None = None
    """a rate, so that a run's price can be told"""
    price_per_gpu_hour: float | None = None
    """the same, where GPUs are paid for and not nodes"""
    currency: str = ""
    """of the rate, as in EUR"""
    mixed: bool = False
    """allow different hardware within the study"""


Limits = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class GateConfig:
    """Hold a study against limits: a line per gate, and the worst outcome as the exit code.

    A limit is ">= 0.9 at 8": 8 ranks. Each kind may be given several times. Exit code 0 met, 1
    missed, 2 not comparable, 3 undecided: the interval lies across the limit, or there are too few
    runs for one.
    """

    study: Annotated[Path, tyro.conf.Positional]
    """folder of the study"""
    weak_efficiency: Limits = ()
    """rate over that of the base times the ranks, at a fixed batch per rank"""
    strong_efficiency: Limits = ()
    """the same at a fixed global batch"""
    speed_up: Limits = ()
    """rate over that of the base, at a fixed global batch"""
    throughput: Limits = ()
    """patches per second of all ranks; strong and weak scaling each for itself"""
    time: Limits = ()
    """seconds of the study's runs from launch to end; strong and weak scaling each for itself"""
    against: Path | None = None
    """an older study, whose rates --slower-than is measured from, rank count by rank count"""
    slower_than: str = ""
    """how much slower than the older study is too slow, as in 3%"""
    json: bool = False
    """print one JSON object instead of lines"""
    mixed: bool = False
    """allow different hardware within a study"""


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """Set two studies side by side, rank count by rank count, with the ratio of B to A."""

    a: Annotated[Path, tyro.conf.Positional]
    """folder of the first study"""
    b: Annotated[Path, tyro.conf.Positional]
    """folder of the second study"""
    out: Path | None = None
    """a file for the table besides: .md or .csv"""
    mixed: bool = False
    """allow different hardware within a study"""


@dataclasses.dataclass(frozen=True)
class LedgerConfig:
    """Where every second of a run's ranks went, its resumes included, and how often to save."""

    run: Annotated[Path, tyro.conf.Positional]
    """folder of a run"""
    mtbf_hours: float | None = None
    """mean time between failures of the job, in hours (default: from the failures of the run)"""


def rank_counts(text: str, *, option: str) -> tuple[int, ...]:
    """'4,1,2' -> (1, 2, 4). Raises UsageError."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() and int(word) > 0 for word in words):
        raise UsageError(f"{option} {text}: give whole numbers above 0 with commas, as in 1,2,4")
    ranks = tuple(map(int, words))
    if len(set(ranks)) < len(ranks):
        raise UsageError(f"{option} {text} names a rank count twice; use --repeats for repeats")
    return tuple(sorted(ranks))
