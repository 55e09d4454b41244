"""SIGKILL at random moments of what writes: prepare, train, predict, evaluate, label.

    python tests/kill_campaign.py --kills 100 --seed 1

Each kill falls while a program works: after its folder has got its first file, and before it took
to its end when nobody killed it. After some kills in one folder the same command runs to its end;
what it leaves must be, to the byte, what an unbroken run leaves. After every kill, whatever stands
under its final name must be whole: the bytes of the unbroken run's file, or for files that tell the
time what the program's own reader takes. What is said of dates and seconds is not compared.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tiny

State = dict[str, Any]
"""relative path -> what a file holds, without dates and seconds"""


@dataclasses.dataclass(frozen=True)
class Program:
    name: str
    words: tuple[object, ...]
    """{out} is its folder"""
    state: Callable[[Path], State]
    """of all files that are there"""
    resumed: tuple[object, ...] = ()
    """what is added after the first start"""
    share: int = 1
    cleans: bool = False
    """removes what killed ones have left"""

    def start(self, out: Path, *, again: bool) -> Any:
        words = [*self.words, *(self.resumed if again else ())]
        return tiny.start(*[str(word).replace("{out}", str(out)) for word in words])


def plain_files(out: Path) -> State:
    """Of files that hold nothing of the day."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file() and path.suffix != ".part" and path.name != "summary.json"
    }


def prepared(out: Path) -> State:
    """Patch files, manifest and index; notes hold the dates of the scenes, which are the same."""
    return plain_files(out)


def masks(out: Path) -> State:
    """Every variable and attribute but the history."""
    found: State = {}
    for path in out.glob("*.nc"):
        digest = hashlib.sha256()
        with h5py.File(path, "r", locking=False) as file:
            for name, value in sorted(file.attrs.items()):
                if name not in ("history", "_NCProperties"):
                    digest.update(f"{name} {value}".encode())
            for name in sorted(file):
                if file[name].dtype.kind in "iuf":
                    digest.update(name.encode() + np.ascontiguousarray(file[name][...]).tobytes())
        found[path.name] = digest.hexdigest()
    return found


def evaluation(out: Path) -> State:
    """What was counted and measured."""
    path = out / "found.json"
    if not path.exists():
        return {}
    values = json.loads(path.read_text())
    return {"found.json": {k: v for k, v in values.items() if k not in ("date", "seconds")}}


def training(out: Path) -> State:
    """Checkpoints that are complete, and of a finished run the losses and its weights."""
    found: State = {}
    for record in (out / "checkpoints").glob("step-*.json"):
        values = json.loads(record.read_text())
        content = record.with_suffix(".h5").read_bytes()
        assert hashlib.sha256(content).hexdigest() == values["sha256"], record
        found[record.name] = values["sha256"]
    summary = out / "summary.json"
    if summary.exists():
        values = json.loads(summary.read_text())
        if values.get("status") == "finished":
            history = [(epoch["loss"], epoch["valid"]) for epoch in values["history"]]
            found["history"] = json.dumps(history)
            found["model"] = weights(out / "model.keras")
    return found


def weights(path: Path) -> str:
    """Those in a .keras file, which is a zip with dates of an HDF5 file."""
    with zipfile.ZipFile(path) as archive:
        stored = io.BytesIO(archive.read("model.weights.h5"))
    digest = hashlib.sha256()

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            digest.update(name.encode() + np.ascontiguousarray(item[()]).tobytes())

    with h5py.File(stored) as file:
        file.visititems(add)
    return digest.hexdigest()


def programs(folder: Path) -> list[Program]:
    """The programs with something to do for each; made once."""
    scenes, data, run = folder / "scenes", folder / "data", folder / "run"
    for seed in range(24):
        tiny.write_scene(scenes / f"scene_{seed:02d}.npz", size=64, patches=6, seed=seed)
    ice, few = folder / "ice", folder / "few"
    prepare = ("-m", "cloudmask", "prepare", scenes, "--patch-size", 32, "--out")
    made = tiny.finish(tiny.start(*prepare, data))
    assert made.code == 0, made.err
    trained = [tiny.ROOT / "train_hvd.py", "--data", data, "--widths", 4, 8, "--threads", 1]
    trained += ["--batch-size", 4, "--no-tensorboard", "--checkpoint-steps", 5, "--out"]
    made = tiny.finish(tiny.start(*trained, run, "--max-steps", 5))
    assert made.code == 0, made.err
    few.mkdir()
    for seed in range(12):
        os.link(scenes / f"scene_{seed:02d}.npz", few / f"scene_{seed:02d}.npz")
    predict = ("-m", "cloudmask", "predict", run, few, "--out")
    made = tiny.finish(tiny.start(*predict, folder / "masks"))
    assert made.code == 0, made.err
    size = ("--height", 512, "--width", 512)
    made = tiny.finish(tiny.start("-m", "seaice", "synth", "--out", ice, "--scenes", 8, *size))
    assert made.code == 0, made.err
    evaluate = ("-m", "cloudmask", "evaluate", folder / "masks", few)
    label = ("-m", "seaice", "label", ice / "scenes", "--out", "{out}")
    return [
        Program("prepare", (*prepare, "{out}"), prepared, share=6, cleans=True),
        Program(
            "train",
            (*trained, "{out}", "--epochs", 2),
            training,
            ("--resume",),
            share=3,
            cleans=True,
        ),
        Program("predict", (*predict, "{out}"), masks, share=3),
        Program("evaluate", (*evaluate, "--out", "{out}/found.json"), evaluation, share=3),
        Program("label", label, plain_files, share=5),
    ]


@dataclasses.dataclass
class Tally:
    kills: Counter[str]
    """that hit a program at work"""
    restarts: Counter[str]
    """runs to the end after kills, each compared with the unbroken one"""
    problems: list[str]


def campaign(kills: int, seed: int, folder: Path, *, per_folder: int = 3) -> Tally:
    """So many kills, dealt out by the programs' shares."""
    tally = Tally(Counter(), Counter(), [])
    whole: dict[str, tuple[State, float]] = {}
    known = programs(folder / "made")
    bag = [program for program in known for _ in range(program.share)]
    rng = random.Random(seed)
    rng.shuffle(bag)
    if kills <= len(known):
        bag = known
    for number in range(10 * kills):
        if sum(tally.kills.values()) >= kills:
            break
        program = bag[number % len(bag)]
        if program.name not in whole:
            whole[program.name] = _unbroken(program, folder / f"whole-{program.name}")
        left = min(per_folder, kills - sum(tally.kills.values()))
        _one_folder(program, whole[program.name], folder / f"out-{number}", left, rng, tally)
    return tally


def _unbroken(program: Program, out: Path) -> tuple[State, float]:
    """What it leaves, and how long it works after its first file."""
    process = program.start(out, again=False)
    tiny.wait_until(lambda: process.poll() is not None or _begun(out))
    began = time.monotonic()
    ended = tiny.finish(process)
    assert ended.code == 0, ended.err
    return program.state(out), time.monotonic() - began


def _begun(out: Path) -> bool:
    return out.is_dir() and any(out.iterdir())


def _one_folder(
    program: Program,
    whole: tuple[State, float],
    out: Path,
    kills: int,
    rng: random.Random,
    tally: Tally,
) -> None:
    """Kill it up to so many times, then let it end, and compare."""
    expected, seconds = whole
    again = False
    for _ in range(kills):
        process = program.start(out, again=again)
        tiny.wait_until(lambda process=process: process.poll() is not None or _begun(out))
        if again:  # what is there from before says nothing of when it begins to work
            time.sleep(rng.random() * 0.5)
        with contextlib.suppress(Exception):
            process.wait(rng.random() * seconds)
        if process.poll() is not None:
            process.communicate()
            again = True
            break  # it came to its end first
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        tally.kills[program.name] += 1
        again = again or _begun(out)
        _compare(program, out, expected, tally, at_end=False)
    ended = tiny.finish(program.start(out, again=again and program.resumed != ()))
    tally.restarts[program.name] += 1
    if ended.code != 0:
        tally.problems.append(f"{program.name} in {out}: code {ended.code}: {ended.err[-500:]}")
    _compare(program, out, expected, tally, at_end=True)


def _compare(program: Program, out: Path, expected: State, tally: Tally, *, at_end: bool) -> None:
    try:
        found = program.state(out)
    except (OSError, ValueError, AssertionError, KeyError) as error:
        tally.problems.append(f"{program.name} in {out}: half-written: {error!r}")
        return
    # What was written aside may stay: no program takes it for anything, and the next run of those
    # that write many files removes it.
    wrong = [name for name, value in found.items() if expected.get(name, value) != value]
    if at_end:
        wrong += sorted(expected.keys() ^ found.keys())
        if program.cleans:
            wrong += [path.name for path in out.rglob("*.part")]
    if wrong:
        when = "in the end" if at_end else "after a kill"
        tally.problems.append(f"{program.name} in {out}: {when} others: {', '.join(wrong)[:300]}")


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(words)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        tally = campaign(given.kills, given.seed, Path(folder))
    for name, count in sorted(tally.kills.items()):
        print(f"{name:10} {count:3} kills, {tally.restarts[name]:3} runs to the end after them")
    print(*tally.problems, sep="\n")
    total = sum(tally.kills.values())
    print(f"{total} kills, {len(tally.problems)} problems, {time.monotonic() - began:.0f} s")
    return 1 if tally.problems or total < given.kills else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
