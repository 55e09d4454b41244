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
    ranks: str = "1,2"
    """rank counts, with commas between"""
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
    stall_seconds: float = 300.0
    """end a point that has made no step for so long, its start and validation included"""
    timeout: float = 7200.0
    """end a point after so many seconds in any case"""
    heartbeat: str = "events.jsonl"
    """file in the program's output folder that grows with every step"""
    idle_seconds: float = 0.0
    """read this host's power for so long before every point, for the idle share of its energy"""
    page_cache: Literal["as-found", "dropped"] = "as-found"
    """dropped: empty the page cache before every point (needs root), for cold reads"""
    seed: int = 0
    """order of the points, and first seed of the program; repeat r gets seed + r - 1"""
    mixed: bool = False
    """allow different hardware within one study"""
    retry_failed: bool = False
    """run failed points once more; their rows stay"""
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
    """Write report.md, report.html, the curves, results.csv and Extra-P lines of a study."""

    studies: Studies
    """folder of the study; a second one is laid over it in the curves"""
    out: Path = Path("report")
    """folder for the report"""
    hold_out: str = ""
    """rank counts, with commas between, that the laws are not fitted to but tested on"""
    carbon_intensity: float | None = None
    """grams of CO2 equivalent per kWh of your electricity; without it no carbon is told"""
    mixed: bool = False
    """allow different hardware within a study"""


@dataclasses.dataclass(frozen=True)
class CheckConfig:
    """Hold a study or a run against a published figure. Exit code 0 met, 1 missed, 2 neither."""

    path: Annotated[Path, tyro.conf.Positional]
    """folder of a study or of one run"""
    reference: str = "cloudmask-dgx2"
    """name of a published figure, or a JSON file with one"""
    ranks: int | None = None
    """rank count to check (default: the largest that the study measured)"""
    mixed: bool = False
    """allow different hardware within the study"""


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
