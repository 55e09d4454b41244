"""Damaged files of every kind that is read, through the commands that read them.

    python tests/fuzz.py --cases 3000 --seed 7

Each file goes through the command's own entry point in a worker: a process that runs many of them,
with 2 GB of memory beside what it has loaded and a minute for each. A worker that dies or hangs is
replaced, which is a finding. What a command must do is said in `problem_of`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import queue
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from damage import Damage
from fuzz_kinds import Kind, originals

SECONDS = 60
MEMORY_BYTES = 2 * 2**30


@dataclasses.dataclass(frozen=True)
class Case:
    kind: Kind
    seed: int
    damage: Damage
    command: tuple[str, ...]
    content: bytes

    def __str__(self) -> str:
        return f"{self.kind.name}, {self.damage.__name__}, seed {self.seed}"


# What is run in the worker


def main_of(program: str) -> Callable[[Sequence[str]], int]:
    if program == "cloudmask":
        from cloudmask.__main__ import main
    elif program == "scaling":
        from scaling.__main__ import main
    elif program == "seaice":
        from seaice.__main__ import main
    else:
        return {"read": _read_patches, "checkpoint": _read_checkpoint}[program]
    return main


def _read_patches(words: Sequence[str]) -> int:
    """As training reads: opened for all ranks, then every patch."""
    from cloudmask.data.patchset.handed import open_for_all
    from cloudmask.data.patchset.reader import PatchReader

    patchset = open_for_all(Path(words[0]), lambda function: function())
    for split in patchset.splits:
        with PatchReader(patchset, split) as reader:
            for number in range(len(reader)):
                reader.read([number])
    return 0


def _read_checkpoint(words: Sequence[str]) -> int:
    """As a resumed run reads it."""
    from cloudmask.train import checkpoint
    from cloudmask.train.state import State

    found, passed_over = checkpoint.newest(Path(words[0]))
    if found is None:
        raise ValueError("no checkpoint")
    state = {k: v for k, v in found.state.items() if k not in ("identity", "variables")}
    State.from_dict(state)
    return 1 if passed_over else 0


def work(heavy: bool) -> None:
    """Take cases from stdin, a line of JSON each, and answer on the real stdout."""
    from cloudmask.cli import errors

    if heavy:
        with errors.loading_tensorflow():
            from cloudmask.train import checkpoint  # noqa: F401
    import matplotlib
    import xarray  # noqa: F401

    matplotlib.use("agg")
    answers = os.fdopen(os.dup(1), "w")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin:
        case = json.loads(line)
        out, err = (Path(case["told"]).with_suffix(suffix) for suffix in (".out", ".err"))
        for number, path in ((1, out), (2, err)):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, number)
            os.close(descriptor)
        try:
            words = case["words"]
            code: Any = errors.run(main_of(words[0]), words[1:], program=words[0])
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            import traceback

            traceback.print_exc()
            code = "raised"
        sys.stdout.flush()
        sys.stderr.flush()
        answers.write(json.dumps({"code": code}) + "\n")
        answers.flush()


class Worker:
    """A process that runs cases, and another one when it dies."""

    def __init__(self, folder: Path, *, heavy: bool) -> None:
        self.folder = folder
        """where it stands, and what it writes without being told where"""
        self.heavy = heavy
        self.process: subprocess.Popen[str] | None = None

    def _start(self) -> subprocess.Popen[str]:
        words = [
            sys.executable,
            str(Path(__file__).resolve()),
            "--work",
            "heavy" if self.heavy else "light",
        ]
        root = Path(__file__).resolve().parents[1]
        paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "2"},
            cwd=self.folder,
        )

    def run(self, words: Sequence[str], told: Path) -> dict[str, Any]:
        """The exit code; or `hangs`, or the signal that killed the worker."""
        process = self.process = self.process or self._start()
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps({"words": list(words), "told": str(told)}) + "\n")
        process.stdin.flush()
        late = threading.Event()

        def kill() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(SECONDS if self.warm else 120, kill)
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        self.warm = True
        if line:
            return json.loads(line)
        with process:  # which closes its pipes
            self.process, self.warm = None, False
        return {"code": "hangs" if late.is_set() else f"killed by {-process.returncode}"}

    warm = False

    def close(self) -> None:
        if self.process:
            with self.process:
                pass


# What is run


def cases(kinds: Sequence[Kind], count: int, seed: int) -> Iterator[Case]:
    """So many cases, dealt out by the kinds' shares."""
    rng = random.Random(seed)
    bag = [kind for kind in kinds for _ in range(kind.share)]
    contents = {kind.name: kind.original.read_bytes() for kind in kinds}
    number = 0
    while number < count:
        rng.shuffle(bag)
        for kind in bag[: count - number]:
            own = random.Random(f"{seed} {number}")
            content, other = contents[kind.name], contents[own.choice(kinds).name]
            chosen = own.choice(kind.damages)
            changed = chosen(content, own, other)
            if changed != content:
                yield Case(kind, number, chosen, own.choice(kind.commands), changed)
                number += 1


# What is held against a command


def problem_of(case: Case, code: Any, out: str, err: str) -> str | None:
    """What is wrong with how a damaged file was met; None if nothing is.

    One line that says what is wrong and an exit code that is not 0. Where no reader can see the
    damage (a pixel has another value) the command succeeds.
    """
    if isinstance(code, str):
        return code
    if "Traceback" in err or "HDF5-DIAG" in err:
        return "a traceback"
    lines = [line for line in err.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("warning: ", "skipped: "))]
    told = [line for line in told if not re.match(r"left out: .*has the (channels|classes)", line)]
    if code == 0 and case.kind.always_found:
        return "not found"
    if code != 0 and len(told) + (case.command[1:2] == ("verify",)) < 1:
        return "nothing was said"
    if len(told) > 2:
        return f"{len(told)} lines"
    if any(len(line) > 1200 for line in lines):
        return f"a line of {max(map(len, lines))} characters"
    return None


@dataclasses.dataclass
class Result:
    case: Case
    code: Any
    problem: str | None
    seconds: float
    said: str

    def __str__(self) -> str:
        last = "".join(self.said.strip().splitlines()[-1:])[:300]
        return f"{self.case}: {self.problem} (code {self.code}): {last}\n{self.said[-4000:]}"


def run_case(worker: Worker, case: Case, folder: Path) -> Result:
    needs = case.kind.needs
    place = folder / f"case-{case.seed}"
    if needs.is_dir():
        under = place / "products" if needs.name == "products" else place
        shutil.copytree(needs, under)
        target = under / case.kind.original.relative_to(needs)
    else:
        place.mkdir()
        target = place / needs.name
    target.write_bytes(case.content)
    if case.kind.name == "receipt":
        (place / "manifest.json").unlink()
    words = [word.replace("{case}", str(place)) for word in case.command]
    began = time.monotonic()
    code = worker.run(words, folder / f"told-{case.seed}")["code"]
    seconds = time.monotonic() - began
    told = [folder / f"told-{case.seed}{suffix}" for suffix in (".out", ".err")]
    out, err = (path.read_text(errors="replace") if path.exists() else "" for path in told)
    problem = problem_of(case, code, out, err)
    again = case.kind.restores
    if again and (place / again).read_bytes() != (needs / again).read_bytes():
        problem = problem or f"another {again}"
    shutil.rmtree(place)
    return Result(case, code, problem, seconds, err)


def campaign(count: int, seed: int, *, only: str = "") -> list[Result]:
    """Run so many cases on two workers, one of them with TensorFlow."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as top:
        kinds = [kind for kind in originals(Path(top, "whole")) if only in kind.name]
        todo: dict[bool, queue.SimpleQueue[Case]] = {
            heavy: queue.SimpleQueue() for heavy in (False, True)
        }
        for case in cases(kinds, count, seed):
            todo[case.kind.heavy].put(case)
        results: list[Result] = []

        def drain(heavy: bool) -> None:
            worker = Worker(Path(top), heavy=heavy)
            while not todo[heavy].empty():
                results.append(run_case(worker, todo[heavy].get(), Path(top)))
            worker.close()

        threads = [threading.Thread(target=drain, args=(heavy,)) for heavy in todo]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sorted(results, key=lambda result: result.case.seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", choices=["light", "heavy"])
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole", action="store_true", help="show all that a case has said")
    parser.add_argument("--only", default="", help="kinds whose name holds this")
    words = parser.parse_args()
    if words.work:
        work(words.work == "heavy")
        return 0
    began = time.monotonic()
    results = campaign(words.cases, words.seed, only=words.only)
    for result in results:
        if result.problem:
            print(result if words.whole else str(result).splitlines()[0], end="\n\n")
    kinds = Counter(result.case.kind.name.partition(" S")[0] for result in results)
    refused = Counter(
        result.case.kind.name.partition(" S")[0] for result in results if result.code != 0
    )
    for kind, number in sorted(kinds.items()):
        spent = sum(r.seconds for r in results if r.case.kind.name.partition(" S")[0] == kind)
        print(f"{kind:28} {number:4} damaged, {refused[kind]:4} refused, {spent:5.1f} s")
    bad = sum(1 for result in results if result.problem)
    slowest = max(results, key=lambda result: result.seconds)
    print(f"{len(results)} cases, {bad} with a problem, {time.monotonic() - began:.0f} s")
    print(f"slowest: {slowest.case}, {slowest.seconds:.1f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
