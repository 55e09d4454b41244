"""Damaged files of every kind that is read, through the commands that read them.

    python tests/fuzz.py --cases 3000 --seed 7

Each file goes through the command's own entry point in a worker: a process that runs many of them,
with 2 GB of memory beside what it has loaded and 10 s for each. A worker that dies or hangs is
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

from damage import OF_BYTES, OF_JSON, OF_TEXT, Damage

SECONDS = 10
MEMORY_BYTES = 2 * 2**30


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of file: where a whole one stands, and the commands that read it."""

    name: str
    original: Path
    """a file in the folder of originals"""
    commands: tuple[tuple[str, ...], ...]
    """{case}: folder of this case, a copy of `needs` with the damaged file in place"""
    needs: Path
    """what is copied for each case: the file, or a folder around it"""
    damages: tuple[Damage, ...] = OF_BYTES
    share: int = 1
    always_found: bool = False
    """a checksum or the like finds every change"""
    heavy: bool = False
    """read by what TensorFlow is loaded for"""


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
        assert process.stdin and process.stdout
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
        process.wait()
        self.process, self.warm = None, False
        return {"code": "hangs" if late.is_set() else f"killed by {-process.returncode}"}

    warm = False

    def close(self) -> None:
        if self.process:
            assert self.process.stdin
            self.process.stdin.close()
            self.process.wait()


# What is damaged


def originals(folder: Path) -> list[Kind]:
    """Whole files of every kind, made by the programs themselves."""
    import evaluation_fake
    import numpy as np
    import scaling_fake
    import sen3
    import tiny

    from cloudmask import __main__ as cli
    from seaice import __main__ as ice

    def call(main: Callable[[Sequence[str]], int], *words: object) -> None:
        assert main([str(word) for word in words]) == 0, words

    hdf = folder / "hdf"
    call(cli.main, "synth", "--out", hdf, "--scenes", 3, "--height", 64, "--width", 64)
    npz = folder / "npz"
    for seed in range(4):
        tiny.write_scene(npz / f"scene_{seed}.npz", size=32, patches=4, seed=seed)
    with np.load(npz / "scene_1.npz") as arrays:
        np.savez_compressed(npz / "scene_1.npz", **arrays)
    product = sen3.write_product(folder / "products", sen3.make_values())
    data = folder / "data"
    prepare = ["prepare", npz, "--out", data, "--patch-size", 32, "--split"]
    call(cli.main, *prepare, "train=0.75,valid=0.25")
    run = folder / "run"
    words = ["--data", data, "--out", run, "--widths", 4, 8, "--epochs", 1, "--threads", 1]
    ended = tiny.train(*words, "--no-tensorboard", "--batch-size", 4)
    assert ended.code == 0, ended.err
    masks = folder / "masks"
    ended = tiny.finish(tiny.start("-m", "cloudmask", "predict", run, npz, "--out", masks))
    assert ended.code == 0, ended.err
    evaluation_fake.write(masks, sorted(npz.glob("*.npz")))
    old = folder / "hdf5-masks"
    old.mkdir()
    _write_old_masks(old, sorted(npz.glob("*.npz")))
    study = scaling_fake.write_study(folder / "study", repeats=2)
    config = folder / "config.yaml"
    config.write_text(f"scenes: [{npz}]\npatch-size: 32\nsplit: train=0.75,valid=0.25\nseed: 3\n")
    ice_scenes, ice_out = folder / "ice", folder / "ice-out"
    call(ice.main, "synth", "--out", ice_scenes, "--scenes", 2, "--height", 64, "--width", 64)
    call(ice.main, "label", ice_scenes / "scenes", "--out", ice_out)

    def cut(scenes: str, *more: str) -> tuple[str, ...]:
        size = ("--patch-size", "8" if "products" in scenes else "32")
        return ("cloudmask", "prepare", scenes, "--out", "{case}/out", *size, *more)

    alone = ("--split", "train=1")
    npz_scene, label = npz / "scene_1.npz", ice_out / "records"
    members = sorted(product.glob("*.nc"))
    needed = [path for path in members if path.name != "viscal.nc"]
    evaluate_masks = ("cloudmask", "evaluate", "{case}", str(npz), "--out", "{case}/found.json")
    receipt = next((data / ".prepare").glob("*.json"))
    patch_file = next((data / "train").glob("*.h5"))
    step = max((run / "checkpoints").glob("step-*.h5"))
    return [
        Kind("benchmark HDF5", min(hdf.glob("*.hdf")), (cut("{case}", *alone),), hdf, share=4),
        Kind("npz", npz_scene, (cut("{case}", *alone),), npz, share=4),
        *(
            Kind(
                f"product member {path.name}",
                path,
                (cut("{case}/products", *alone, "--no-verify"),),
                product.parent,
            )
            for path in needed
        ),
        Kind(
            "product member by MD5",
            members[0],
            (cut("{case}/products", *alone),),
            product.parent,
            share=2,
            always_found=True,
        ),
        Kind(
            "product manifest",
            product / "xfdumanifest.xml",
            (cut("{case}/products", *alone),),
            product.parent,
            OF_TEXT,
            share=3,
        ),
        Kind("patch file", patch_file, (("read", "{case}"),), data, share=5),
        Kind(
            "patch file, verified",
            patch_file,
            (("cloudmask", "verify", "{case}"),),
            data,
            share=1,
            always_found=True,
        ),
        Kind(
            "patch-set manifest",
            data / "manifest.json",
            (("read", "{case}"), ("cloudmask", "verify", "{case}")),
            data,
            OF_JSON,
            share=6,
        ),
        Kind("patch-set index", data / "manifest.index", (("read", "{case}"),), data, share=1),
        Kind(
            "receipt",
            receipt,
            (
                (
                    "cloudmask",
                    *map(str, prepare[:1]),
                    str(npz),
                    "--out",
                    "{case}",
                    "--patch-size",
                    "32",
                    "--split",
                    "train=0.75,valid=0.25",
                ),
            ),
            data,
            OF_JSON,
            share=4,
        ),
        Kind("mask, NetCDF", masks / "scene_1.nc", (evaluate_masks,), masks, share=5),
        Kind("mask, HDF5", old / "scene_1.h5", (evaluate_masks,), old, share=2),
        Kind(
            "evaluation.json",
            masks / "evaluation.json",
            (("cloudmask", "report", "{case}", "--out", "{case}/page.html", "--show", "1"),),
            masks,
            OF_JSON,
            share=5,
        ),
        Kind(
            "study rows",
            study / "results.jsonl",
            (("scaling", "fit", "{case}"), ("scaling", "report", "{case}")),
            study,
            OF_JSON,
            share=5,
        ),
        Kind(
            "study header",
            study / "study.json",
            (("scaling", "fit", "{case}"),),
            study,
            OF_JSON,
            share=1,
        ),
        Kind(
            "YAML config",
            config,
            (("cloudmask", "prepare", "--config", "{case}/config.yaml", "--out", "{case}/out"),),
            config,
            OF_TEXT,
            share=4,
        ),
        Kind(
            "labelling record",
            next(label.glob("*.json")),
            (("seaice", "label", str(ice_scenes / "scenes"), "--out", "{case}"),),
            ice_out,
            OF_JSON,
            share=2,
        ),
        Kind(
            "picture",
            next((ice_scenes / "scenes").glob("*.png")),
            (("seaice", "label", "{case}/scenes", "--out", "{case}/labels"),),
            ice_scenes,
            share=2,
        ),
        Kind(
            "checkpoint",
            step,
            (("checkpoint", "{case}"),),
            step.parent,
            share=2,
            always_found=True,
            heavy=True,
        ),
        Kind(
            "checkpoint state",
            step.with_suffix(".json"),
            (("checkpoint", "{case}"),),
            step.parent,
            OF_JSON,
            share=3,
            always_found=True,
            heavy=True,
        ),
        Kind(
            "model",
            run / "model.keras",
            (("cloudmask", "predict", "{case}/model.keras", str(npz), "--out", "{case}/out"),),
            run / "model.keras",
            share=6,
            heavy=True,
        ),
        Kind(
            "run summary",
            run / "summary.json",
            (("cloudmask", "report", "{case}", "--out", "{case}/page.html"),),
            run,
            OF_JSON,
            share=2,
        ),
    ]


def _write_old_masks(folder: Path, scenes: Sequence[Path]) -> None:
    """In the benchmark's layout, as of another program."""
    import h5py
    import numpy as np

    for path in scenes:
        with np.load(path) as arrays:
            shape = arrays["label"].shape
        with h5py.File(folder / f"{path.stem}.h5", "w") as file:
            probability = np.random.default_rng(0).random((1, *shape, 1), np.float32)
            file.create_dataset("mask", data=probability, compression="gzip")
            file.attrs["classes"] = json.dumps(["class 0", "class 1"])


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
        print(f"{kind:28} {number:4} damaged, {refused[kind]:4} refused")
    bad = sum(1 for result in results if result.problem)
    slowest = max(results, key=lambda result: result.seconds)
    print(f"{len(results)} cases, {bad} with a problem, {time.monotonic() - began:.0f} s")
    print(f"slowest: {slowest.case}, {slowest.seconds:.1f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
