"""Our training beside other ways to train the same network on the same two cores, in turns.

One change per row: precision, augmentation, ranks, communication, program. PyTorch and the
published program are measured where their places are given:

    python -m benchmarks.peers --torch PYTHON --published CHECKOUT

PYTHON has torch, CHECKOUT is one of github.com/mlcommons/science.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import bench, ceiling
from benchmarks.peer import published
from cloudmask.files import write_json

RANKS, BATCH, STEPS, WARMUP, REPEATS = 2, 4, 12, 5, 3
PUBLISHED_SCENES = 3
"""two to train with: five steps an epoch"""
GFLOP_PER_PATCH = 52.2
"""of a training step, 256 x 256 x 9: 64.4 in the plain form, 19 % less with the factored decoder"""
OURS, SHIPPED, ALONE, COPIES = (
    *("ours, float32", "ours, as shipped: augmented", "ours, one process of two threads"),
    "ours, two copies that do not talk to each other",
)
NARROW = "ours, float32, --narrow-gradients"
FIT, DDP, PUBLISHED = "Keras fit, one process", "PyTorch DDP, gloo", "the published program"
TARGETS = {PUBLISHED: 1.75, COPIES: 0.97}

Peers = dict[str, Callable[[], float]]
"""patches/s of each row"""


def main(words: Sequence[str] = ()) -> None:
    options = _options().parse_args(words)
    if options.dirty:
        os.environ[bench.DIRTY] = "1"
    steps = options.steps
    peers = ours(steps) | others(steps, options)
    found: dict[str, list[float]] = {name: [] for name in peers}
    for repeat in range(options.repeats):
        for name, measure in peers.items():
            found[name].append(measure())
            print(f"  {repeat + 1}/{options.repeats}: {name} {found[name][-1]:.2f}", flush=True)
    medians = {name: statistics.median(values) for name, values in found.items()}
    base = medians[OURS]
    ratios = {name: base / median for name, median in medians.items()}
    narrow = {name: medians[NARROW] / median for name, median in medians.items()}
    print(f"{'':48} {'':24} {'ours':>6} {'narrow':>6}")
    for name, values in found.items():
        target = f" (target: {TARGETS[name]})" if name in TARGETS else ""
        both = f"{ratios[name]:6.2f} {narrow[name]:6.2f}"
        print(f"{name:48} {bench.spread(values):24} {both}{target}")
    limits = ceiling.compare(base * GFLOP_PER_PATCH / RANKS, precision="float32")
    if options.torch is None:
        print(f"{DDP}: not measured; --torch PYTHON names a Python that has torch")
    if options.published is None:
        print(f"{PUBLISHED}: not measured; --published PATH names a checkout of it")
    bench.keep(
        options.record,
        command=" ".join(["python -m benchmarks.peers", *_named(options)]),
        patches_per_second=found,
        ours_in_float32_against=ratios,
        narrow_gradients_against=narrow,
        targets=TARGETS,
        **limits,
        ranks=RANKS,
        batch_per_rank=BATCH,
        steps=steps,
        torch=_version(options.torch),
        published=_commit(options.published),
    )


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has torch")
    parser.add_argument("--published", metavar="PATH", type=Path, help="a checkout of the program")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--steps", type=int, default=STEPS, help="that are timed")
    parser.add_argument("--dirty", action="store_true", help="keep a record of a changed checkout")
    parser.add_argument("--record", default="peers", help="name in benchmarks/results")
    return parser


def _named(options: argparse.Namespace) -> list[str]:
    """The options as a reader would give them, without this machine's paths."""
    words = [f"--repeats {options.repeats}", f"--steps {options.steps}"]
    words += ["--torch PYTHON"] if options.torch else []
    return words + (["--published PATH"] if options.published else [])


def ours(steps: int) -> Peers:
    data, out = bench.patch_set(), bench.WORK / "peers"

    def train(*options: object, ranks: int = RANKS) -> list[object]:
        words = [*bench.TRAIN, "--data", data, "--no-tensorboard", "--max-steps", WARMUP + steps]
        words += [*options, *([] if "--batch-size" in options else ["--batch-size", BATCH])]
        return [bench.MPIRUN, "-n", ranks, *words] if ranks > 1 else words

    def measure(*options: object, ranks: int = RANKS, cores: Sequence[int] = (0,)) -> float:
        """Rate of as many unconnected copies as there are `cores`."""
        started = []
        for core in cores:
            folder = out / str(core)
            shutil.rmtree(folder, ignore_errors=True)
            own = [core] if len(cores) > 1 else ()
            started.append(bench.start([*train(*options, ranks=ranks), "--out", folder], cores=own))
        bench.wait(started)
        rates = [bench.summary(out / str(core))["patches_per_second"] for core in cores]
        return sum(rate["overall"] for rate in rates)

    exact: tuple[object, ...] = ("--precision", "float32", "--no-augment")
    alone = (*exact, "--no-horovod", "--batch-size", RANKS * BATCH)
    two = sorted(os.sched_getaffinity(0))[:RANKS]
    return {
        OURS: lambda: measure(*exact),
        NARROW: lambda: measure(*exact, "--narrow-gradients"),
        COPIES: lambda: measure(*exact, "--no-horovod", ranks=1, cores=two),
        ALONE: lambda: measure(*alone, ranks=1),
        f"{OURS}, augmented": lambda: measure("--precision", "float32"),
        SHIPPED: lambda: measure(),
    }


def others(steps: int, options: argparse.Namespace) -> Peers:
    """The peers that can be measured, each with the global batch of our two ranks."""
    data, together = bench.patch_set(), RANKS * BATCH

    def program(name: str, *words: object) -> float:
        (text,) = bench.wait(
            [bench.start([sys.executable, "-m", f"benchmarks.peer.{name}", *words])]
        )
        return float(text.split()[-1])

    found: Peers = {FIT: lambda: program("fit", data, together, steps)}
    if options.torch is not None:
        raw = raw_patches(data)
        found[DDP] = lambda: ddp(options.torch, raw, steps, "float32")
        if _has_bfloat16():
            found[f"{DDP}, bfloat16"] = lambda: ddp(options.torch, raw, steps, "bfloat16")
    if options.published is not None:
        checkout = options.published.resolve()
        published.program_in(checkout)
        scenes = bench.linked(bench.scenes(), PUBLISHED_SCENES)
        found[PUBLISHED] = lambda: program("published", checkout, scenes, together)
    return found


def ddp(python: str, folder: Path, steps: int, precision: str) -> float:
    """Patches per second of two ranks, each on a core of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(__file__).parent / "peer" / "ddp.py"
    started = []
    for rank, core in enumerate(sorted(os.sched_getaffinity(0))[:RANKS]):
        place = {"RANK": rank, "WORLD_SIZE": RANKS, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        named = [f"{name}={value}" for name, value in (place | {"OMP_NUM_THREADS": 1}).items()]
        words = ["env", *named, python, program, folder, BATCH, steps, precision]
        started.append(bench.start(words, cores=[core]))
    return float(bench.wait(started)[0].split()[-1])


def raw_patches(data: Path) -> Path:
    """The training patches as plain arrays, which a Python without h5py reads."""
    from cloudmask.data.patchset.open import open_patchset
    from cloudmask.data.patchset.reader import PatchReader

    patchset, folder = open_patchset(data), bench.fresh(bench.WORK / "peers-raw")
    with PatchReader(patchset, "train") as reader:
        batch = reader.read(range(len(reader)))
    batch.image.tofile(folder / "image.raw")
    batch.label.tofile(folder / "label.raw")
    size, channels = batch.image.shape[2:]
    about = {"patches": len(batch.image), "size": size, "channels": channels}
    values = {"scale": batch.scale.tolist(), "offset": batch.offset.tolist()}
    values |= {"mean": [float(v) for v in patchset.mean]}
    values |= {"std": [float(v) for v in patchset.std]}
    write_json(folder / "patches.json", about | values)
    return folder


def _has_bfloat16() -> bool:
    from cloudmask.model import precision

    return precision.resolve("auto") == "bfloat16"


def _version(python: str | None) -> str | None:
    if python is None:
        return None
    line = [python, "-c", "import torch; print(torch.__version__)"]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()


def _commit(checkout: Path | None) -> str | None:
    if checkout is None:
        return None
    line = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(line, check=False, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main(sys.argv[1:])
