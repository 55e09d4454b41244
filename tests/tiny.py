"""Tiny patch sets, and trainings of a few seconds in real processes, for the training's tests."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from cloudmask import __main__ as cli
from cloudmask.data.patchset.files import write_soft
from cloudmask.data.patchset.index import write_index
from cloudmask.data.patchset.manifest import build_manifest, read_manifest, write_manifest
from cloudmask.data.patchset.open import open_patchset
from cloudmask.files import open_hdf5

ROOT = Path(__file__).resolve().parents[1]
STOPPED = ROOT / "tests" / "stopped.py"
BIN = Path(sys.executable).parent
CHANNELS = ("reflectance", "warm", "cold")
STARTED_BY = ("OMPI_", "PMIX_", "PMI_", "HOROVOD_", "SLURM_")


def write_scene(path: Path, *, size: int, patches: int, seed: int, classes: int = 2) -> Path:
    """A scene of one row of patches: cloud where a smooth field is high, some pixels unknown."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(size // 8, patches * size // 8))
    field = np.kron(coarse, np.ones((8, 8))) + 0.3 * rng.normal(size=(size, patches * size))
    label = np.digitize(field, np.linspace(-0.5, 0.5, classes + 1)[1:-1]).astype(np.uint8)
    noise = rng.normal(size=(*label.shape, len(CHANNELS)))
    image = np.stack([0.1 + 0.5 * label, 290 - 20.0 * label, 280 - 30.0 * label], axis=-1)
    image += noise * (0.05, 4, 4)
    image[rng.random(image.shape) < 0.02] = np.nan
    label[rng.random(label.shape) < 0.05] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        image=image.astype(np.float32),
        label=label,
        channels=np.array(CHANNELS),
        classes=np.array([f"class {index}" for index in range(classes)]),
    )
    return path


def make_patchset(
    folder: Path, *, scenes: int = 4, patches: int = 10, size: int = 32, classes: int = 2
) -> Path:
    """A patch set of equal scenes: a quarter of them for validation, the rest for training."""
    raw = folder.with_name(f"{folder.name}-scenes")
    for seed in range(scenes):
        path = raw / f"scene_{seed}.npz"
        write_scene(path, size=size, patches=patches, seed=seed, classes=classes)
    words = ["prepare", raw, "--out", folder, "--patch-size", size]
    words += ["--split", "train=0.75,valid=0.25"]
    assert cli.main([str(word) for word in words]) == 0
    train = open_patchset(folder).splits["train"]
    assert train.patches == scenes * 3 // 4 * patches
    return folder


def soften(folder: Path, out: Path, soft_of: Callable[[np.ndarray], np.ndarray]) -> Path:
    """The same patch set with soft targets: of each file's labels, `soft_of(labels)`."""
    patchset = read_manifest(folder)
    splits = {}
    for name, split in patchset.splits.items():
        splits[name] = []
        for entry in split.files:
            with open_hdf5(folder / entry.path) as file:
                soft = soft_of(file["label"][()])
            splits[name].append(write_soft(folder, out, entry, soft))
    text = build_manifest(
        splits,
        **{name: getattr(patchset, name) for name in ("channels", "classes", "patch_size")},
        **{name: getattr(patchset, name) for name in ("stride", "label_source", "options")},
        skipped={},
        failed={},
        target="soft",
    )
    write_index(out, text.encode())
    write_manifest(out, text)
    return out


def environment() -> dict[str, str]:
    """This process's environment without a launcher's traces, so that ranks can be started."""
    kept = {key: text for key, text in os.environ.items() if not key.startswith(STARTED_BY)}
    kept["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
    kept["PATH"] = os.pathsep.join([str(BIN), kept.get("PATH", "")])
    allow = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return kept | allow | {"TF_CPP_MIN_LOG_LEVEL": "2"}


def launcher(name: str, ranks: int) -> list[str]:
    """What stands in front of `python` to start so many ranks."""
    patience = ("--gloo-timeout-seconds", "300")  # a rank whose start takes 30 s longer is given up
    return {
        "python": [],
        "mpirun": ["mpirun", "--oversubscribe", "-n", str(ranks)],
        "horovodrun --gloo": ["horovodrun", "--gloo", *patience, "-np", str(ranks)],
        "horovodrun --mpi": ["horovodrun", "--mpi", "-np", str(ranks)],
    }[name]


def start(*words: object, ranks: int = 1, by: str | None = None) -> subprocess.Popen[str]:
    """Start `python WORDS` on so many ranks; one rank without a launcher unless one is named."""
    by = by or ("python" if ranks == 1 else "mpirun")
    return start_program([*launcher(by, ranks), sys.executable, *words])


def start_program(words: Sequence[object]) -> subprocess.Popen[str]:
    """Start a program, or a launcher with one, in a process group of its own."""
    return subprocess.Popen(
        [str(word) for word in words],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def pretended_ranks(**changes: object):
    """The `Ranks` of rank 0, for what only asks how many there are: no other rank is there."""
    from cloudmask.train.ranks import Ranks

    values = {"rank": 0, "size": 1, "local_rank": 0, "local_size": 1, "num_hosts": 1, "threads": 1}
    return Ranks(**(values | {"cores": (0,), "device": "CPU", "controller": "mpi"} | changes))


@dataclasses.dataclass(frozen=True)
class Ended:
    """A program that has come to its end."""

    code: int
    out: str
    err: str
    seconds: float


def finish(process: subprocess.Popen[str], *, seconds: float = 240) -> Ended:
    """Wait for the end; a process that takes longer is killed with all its ranks."""
    began = time.monotonic()
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        kill_everything(process)
        out, err = process.communicate()
        raise AssertionError(f"no end after {seconds} s: {out} {err}") from None
    return Ended(process.returncode, out, err, time.monotonic() - began)


def train(*words: object, ranks: int = 1, by: str | None = None) -> Ended:
    """Run train_hvd.py to its end."""
    return finish(start(ROOT / "train_hvd.py", *words, ranks=ranks, by=by))


def start_held(
    step: int, file: Path, *words: object, ranks: int = 1, by: str | None = None
) -> tuple[subprocess.Popen[str], int]:
    """Start a training whose last rank waits in a step, until it is asked to stop or killed.

    Returns when it has come there, with the number of its process, which it leaves in `file`. A run
    that goes on meanwhile may be at its end before whoever looks on has a turn.
    """
    process = start(STOPPED, f"held:{step}:{file}", *words, ranks=ranks, by=by)
    return process, held(file, process)


def held(file: Path, process: subprocess.Popen[str]) -> int:
    """Wait until the last rank of stopped.py waits; the number of its process."""
    try:
        wait_until(lambda: process.poll() is not None or file.exists())
        assert file.exists(), f"it ended first: {process.communicate()}"
    except AssertionError:
        kill_everything(process)
        raise
    number = int(file.read_text())
    file.unlink()
    return number


def wait_until(condition: Callable[[], object], *, seconds: float = 240) -> None:
    """Poll until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.002)


def descendants(process: int) -> list[int]:
    """Numbers of the processes that a process has started, and those started by them."""
    children = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # one may end while we look
            children += [int(word) for word in path.read_text().split()]
    return [number for child in children for number in (child, *descendants(child))]


def kill_everything(process: subprocess.Popen[str]) -> None:
    """SIGKILL for a launcher and all its ranks, which are in process groups of their own.

    Returns when they are gone.
    """
    numbers = (process.pid, *descendants(process.pid))
    for number in numbers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    wait_until_gone(numbers)


def kill_one_rank(process: subprocess.Popen[str]) -> None:
    """SIGKILL for the last rank of a launcher."""
    os.kill(descendants(process.pid)[-1], signal.SIGKILL)


def wait_for_step(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    """Wait until a run's event log tells of a step; the program must still be running."""
    try:
        wait_until(lambda: process.poll() is not None or len(events(run, "step")) >= step)
    except AssertionError:
        kill_everything(process)
        raise
    if process.poll() is not None:
        raise AssertionError(f"ended before step {step}: {process.communicate()}")


def events(run: Path, event: str) -> list[dict]:
    """The records of one kind in a run's event log; a last line that is cut does not count."""
    path = run / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    return [record for record in records if record["event"] == event]


def newest_weights(run: Path) -> tuple[int, str]:
    """The step of a run's newest checkpoint, and the sha256 of its weights and optimizer."""
    path = max((run / "checkpoints").glob("step-*.h5"))
    return int(path.stem.removeprefix("step-")), hashlib.sha256(path.read_bytes()).hexdigest()


def alive(number: int | str) -> bool:
    """Whether there is such a process, and not only what is left of one."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until_gone(numbers: Iterable[int | str], *, seconds: float = 60) -> None:
    """Poll until no such process is left: one that was killed takes a moment to go."""
    numbers = tuple(numbers)
    wait_until(lambda: not any(alive(number) for number in numbers), seconds=seconds)


def assert_stalled(ended: Ended, run: Path, *, host: str, seconds: float) -> None:
    """Rank 0 has ended the run because nothing got on, with one line and a summary."""
    assert ended.code != 0
    lines = [line for line in ended.err.splitlines() if "train_hvd.py: error: " in line]
    message = lines[0].partition("train_hvd.py: error: ")[2]
    assert message.startswith(f"rank 0 on {host} has not got on for {seconds} s, at ")
    assert "--resume" in message
    found = json.loads((run / "summary.json").read_text())
    assert (found["status"], found["rank"], found["error"]) == ("failed", 0, message)


@dataclasses.dataclass(frozen=True)
class Case:
    """One command line for many_runs.py."""

    name: str
    words: Sequence[object]
    program: str = "train_hvd.py"
    folder: Path | None = None
    """its content is noted at the end"""
    copy_of: Path | None = None
    """what `folder` is made from at first, without the files `without`"""
    without: Sequence[str] = ()
    largest_file: int | None = None
    """bytes of the largest file that rank 0 can write"""
    fails_with: str | None = None
    """name of an error of TensorFlow that the third step ends in, as of a GPU"""


@dataclasses.dataclass(frozen=True)
class Result:
    """How one case ended, with one entry for each rank."""

    codes: list[int | str]
    out: list[str]
    err: list[str]
    weights: list[str | None]
    optimizer: list[str | None]
    tree: dict[str, str]

    @property
    def error_lines(self) -> list[str]:
        """What our program said on stderr, on any rank; a traceback counts in full."""
        lines = "".join(self.err).splitlines()
        if any("Traceback" in line for line in lines):
            return lines
        return [line for line in lines if line.startswith(("train_hvd.py: ", "cloudmask: "))]


def run_cases(
    cases: Sequence[Case],
    folder: Path,
    *,
    ranks: int,
    start: Callable[..., subprocess.Popen[str]] = start,
) -> dict[str, Result]:
    """Run many command lines in one set of ranks, which `start` starts."""
    folder.mkdir(parents=True)
    records = [
        {
            "name": case.name,
            "words": [str(word) for word in case.words],
            "program": case.program,
            "folder": str(case.folder) if case.folder else None,
            "copy_of": str(case.copy_of) if case.copy_of else None,
            "without": list(case.without),
            "largest_file": case.largest_file,
            "fails_with": case.fails_with,
        }
        for case in cases
    ]
    (folder / "cases.json").write_text(json.dumps(records))
    driver = ROOT / "tests" / "many_runs.py"
    ended = finish(start(driver, folder / "cases.json", folder, ranks=ranks), seconds=600)
    assert ended.code == 0, ended.out + ended.err
    results = {}
    for case in cases:
        found = [json.loads((folder / f"{case.name}-{r}.json").read_text()) for r in range(ranks)]
        columns = {key: [record[key] for record in found] for key in found[0]}
        codes, trees = columns.pop("code"), columns.pop("tree")
        results[case.name] = Result(codes=codes, tree=trees[0] or {}, **columns)
    return results
