"""The points of a study, in which order, and the words each of them runs: values in, values out."""

from __future__ import annotations

import random
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudmask.cli.errors import UsageError
from cloudmask.text import plural

MODES = ("strong", "weak")
TRAINING = "train_hvd.py"
FILLED_IN = ("--out", "--batch-size", "--global-batch", "--seed", "--resume", "--no-horovod")
WITHOUT_HOROVOD = FILLED_IN[-1]


@dataclass(frozen=True)
class Point:
    """One run at (mode, kind, ranks, repeat).

    kind: ranks (through the launcher), alone (one process without Horovod), copies (unconnected
    runs of one process at once), or allreduce (Horovod's allreduce over message sizes).
    """

    mode: str
    kind: str
    ranks: int
    repeat: int
    global_batch: int
    batch_per_rank: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.mode}-{self.kind}-n{self.ranks:04d}-r{self.repeat:02d}"

    @property
    def title(self) -> str:
        """For people."""
        what = {
            "alone": "1 rank without Horovod",
            "copies": f"{self.ranks} unconnected copies",
        }.get(self.kind, plural(self.ranks, "rank"))
        if self.kind == "allreduce":
            return f"allreduce, {what}"
        return f"{self.mode}, {what}, repeat {self.repeat}"


def parse_modes(text: str) -> tuple[str, ...]:
    """'strong,weak' -> ('strong', 'weak'). Raises UsageError."""
    modes = tuple(word.strip() for word in text.split(","))
    if not set(modes) <= set(MODES) or len(set(modes)) < len(modes):
        raise UsageError(f"--modes {text}: give strong, weak, or both with a comma")
    return tuple(mode for mode in MODES if mode in modes)


def parse_hosts(text: str) -> tuple[tuple[str, int], ...]:
    """'a:2,b:4' -> (('a', 2), ('b', 4)). Raises UsageError."""
    hosts = []
    for word in filter(None, text.split(",")):
        name, colon, slots = word.strip().rpartition(":")
        if not (name and colon and slots.isdigit() and int(slots) > 0):
            raise UsageError(f"--hosts {text}: write NAME:SLOTS,NAME:SLOTS")
        hosts.append((name, int(slots)))
    return tuple(hosts)


def parse_environment(defaults: dict[str, str], changes: Sequence[str]) -> dict[str, str]:
    """Defaults with NAME=VALUE changes over them; an empty VALUE takes a default away."""
    merged = dict(defaults)
    for change in changes:
        name, equals, value = change.partition("=")
        if not name or not equals:
            raise UsageError(f"--env {change}: write NAME=VALUE")
        merged[name] = value
    return {name: value for name, value in merged.items() if value}


def plan(
    ranks: Sequence[int],
    modes: Sequence[str],
    *,
    repeats: int,
    batch_per_rank: int,
    global_batch: int,
    seed: int,
    copies: bool = False,
    alone: bool = False,
    allreduce: bool = False,
) -> list[Point]:
    """Every point, in the order they are run: first the allreduces, then one repeat after another.

    Within a repeat the order is random by the seed, so that what drifts (clock speed, page cache,
    other users) meets every point alike, and a study that is cut short has equal repeats of all.
    Raises UsageError for batches that the ranks cannot share.
    """
    order: list[Point] = []
    for repeat in range(1, repeats + 1):
        block = []
        for mode in modes:
            for count in ranks:
                whole, part = _batches(mode, count, batch_per_rank, global_batch)
                run_seed = seed + repeat - 1
                block.append(Point(mode, "ranks", count, repeat, whole, part, run_seed))
                if copies and count > 1:
                    block.append(Point(mode, "copies", count, repeat, part, part, run_seed))
                if alone and count == min(ranks):
                    whole, part = _batches(mode, 1, batch_per_rank, global_batch)
                    block.append(Point(mode, "alone", 1, repeat, whole, part, run_seed))
        random.Random(f"{seed} {repeat}").shuffle(block)
        order += block
    first = [
        Point("any", "allreduce", count, 1, 0, 0, seed)
        for count in ranks
        if allreduce and count > 1
    ]
    return first + order


def _batches(mode: str, ranks: int, batch_per_rank: int, global_batch: int) -> tuple[int, int]:
    """(global batch, batch per rank) of a point."""
    if mode == "weak":
        return batch_per_rank * ranks, batch_per_rank
    if global_batch % ranks:
        raise UsageError(
            f"a global batch of {global_batch} gives {ranks} ranks unequal work; use a multiple "
            f"of {ranks}, such as --global-batch {-(-global_batch // ranks) * ranks}"
        )
    return global_batch, global_batch // ranks


def check_program(words: Sequence[str], *, dataset: str) -> None:
    """Raise UsageError unless the study can tell this program where to write and how much to do."""
    if not words:
        raise UsageError("no program; put it at the end: ... -- python train_hvd.py --data PATCHES")
    text = " ".join(words)
    if dataset == "growing" and "{ranks}" not in text:
        raise UsageError(
            "--dataset growing needs {ranks} in the program's words, as in --data patches-{ranks}"
        )
    if is_training(words):
        flags = {word.partition("=")[0] for word in words}
        for flag in FILLED_IN:
            if flag in flags:
                raise UsageError(
                    f"the study fills in {flag} for every point; leave it out of the program's "
                    "words (batches: --batch-per-rank and --global-batch before the --)"
                )
        return
    if "{out}" not in text or not ("{batch}" in text or "{global_batch}" in text):
        raise UsageError(
            "the program has no placeholders: write {out} where its output folder goes and {batch} "
            "(per rank) or {global_batch} where its batch goes; only train_hvd.py needs none"
        )


def is_training(words: Sequence[str]) -> bool:
    return any(Path(word).name == TRAINING for word in words)


def alone_words(text: str, program: Sequence[str]) -> tuple[str, ...]:
    """The words of --alone for this program; none: it is not run without Horovod."""
    if text != "auto":
        return tuple(shlex.split(text))
    return (WITHOUT_HOROVOD,) if is_training(program) else ()


def fill_in(words: Sequence[str], point: Point, out: Path) -> list[str]:
    """The program's words for one process group of a point, which writes to `out`.

    Copies, and a run alone, are programs of one rank each.
    """
    one = point.kind in ("copies", "alone")
    values = {
        "{out}": str(out),
        "{batch}": str(point.batch_per_rank),
        "{global_batch}": str(point.global_batch),
        "{seed}": str(point.seed),
        "{ranks}": str(1 if one else point.ranks),
    }
    filled = []
    for word in words:
        for placeholder, value in values.items():
            word = word.replace(placeholder, value)
        filled.append(word)
    if not is_training(words):
        return filled
    text = " ".join(words)
    if "{out}" not in text:
        filled += ["--out", str(out)]
    if "{batch}" not in text and "{global_batch}" not in text:
        weak = ["--batch-size", str(point.batch_per_rank)]
        strong = ["--global-batch", str(point.global_batch)]
        filled += strong if point.mode == "strong" else weak
    if "{seed}" not in text:
        filled += ["--seed", str(point.seed)]
    return filled
