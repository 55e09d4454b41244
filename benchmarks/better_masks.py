"""Networks that learn from the Bayesian mask, or from none, beside that mask and the truth.

    python -m benchmarks better_masks
    python -m benchmarks.better_masks report    # count again what is there

The whole road: synthetic scenes, labels made in several ways, a network of three seeds for each,
masks of scenes that none has seen, and one table. Every stage is a command line of this project,
printed before it runs; two run at a time, a core each. A second run goes on where the first was: it
takes what is there as made with these options, so start anew after a change of them.
What the rows are stands in ROWS; the figures are made in better_masks_figures.py.
"""

from __future__ import annotations

import itertools
import os
import queue
import shlex
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bench
from benchmarks import better_masks_figures as figures
from benchmarks import better_masks_parts as parts
from cloudmask.data.synthetic.masks import DUAL_VIEW, FULL_WIDTH

WORK = bench.WORK / "better-masks"
HEIGHT, WIDTH = 384, 512
ARCHIVES = {"train": (128, 500), "test": (60, 600), "true": (12, 550)}
"""scenes and seed; `true` are those whose truth may be known"""
TRIPLES = ((0, 2, 3), (1, 4, 5), (6, 8, 9))
"""of `true`: two scenes by day and one by night, for the calibration of each seed"""
SEEDS = (0, 1, 2)
CUT = ("--patch-size", 128, "--split", "train=0.875,valid=0.125", "--skin-temperature")
NETWORK = (
    *("--no-horovod", "--threads", 1, "--widths", 16, 32, 64, 128, "--no-tensorboard"),
    *("--augment-gain", 0, "--augment-shared", 0, "--keep", 1),
)
EYES = ("--decorrelate", "--missing-channel")
EPOCHS, FEW_EPOCHS = 6, 3
"""of a network, and of those that refurbish labels, which must not learn the errors"""


@dataclass(frozen=True)
class Row:
    """A network: what it learns from, and how."""

    title: str
    patches: str
    options: tuple[object, ...] = EYES
    after: str | None = None
    """the row whose run of the same seed this one goes on from"""
    epochs: int = EPOCHS


ROWS = {
    "plain": Row("the teacher's mask, nine channels as they are", "nine", ()),
    "any": Row("the teacher's mask", "any"),
    "dual": Row("A: the teacher where it sees twice", "dual"),
    "looks": Row("A + looks: what its classes look like there", "looks"),
    "refurbished": Row("B: the teacher's mask, refurbished", "refurbished"),
    "both": Row("A + B: refurbished by networks of A", "both"),
    "unsupervised": Row("D: no mask at all, first round", "unsupervised"),
    "blind": Row("D + looks: what the classes of the first round look like", "blind"),
    "truth": Row("the truth of all training scenes", "truth"),
    "short": Row("3 epochs: the teacher's mask", "any", epochs=3),
    "gce": Row("3 epochs: generalised cross-entropy", "any", (*EYES, "--loss", "gce"), epochs=3),
    "sce": Row("3 epochs: symmetric cross-entropy", "any", (*EYES, "--loss", "sce"), epochs=3),
    "bootstrap": Row(
        "3 epochs: soft bootstrapping", "any", (*EYES, "--loss", "bootstrap"), epochs=3
    ),
    "early": Row("as ADELE: the first epoch", "any", epochs=1),
    "corrected": Row(
        "3 epochs: as ADELE, labels corrected after the first", "corrected", after="early", epochs=2
    ),
}
PER_SEED = ("refurbished", "both", "corrected")
"""patch sets that are made anew for each seed, by networks of that seed"""
FOLDS = {"refurbished": "any", "both": "dual"}
"""what the networks learn from that refurbish the labels of a row"""
DROPPED = ("short", "gce", "sce", "bootstrap", "early", "corrected")
"""what is known not to help, and what that is to be compared with: trained last, for 3 epochs"""
CALIBRATED = {
    "C: the teacher's mask and three true scenes": ("any", None),
    "C, and the teacher asked too": ("any", "any"),
    "A + looks + C": ("looks", None),
    "A + looks + C, and the teacher asked too": ("looks", "any"),
    "D + looks + C": ("blind", None),
}
"""title: the row that is calibrated, and the teacher that is asked"""


def main() -> None:
    """The rows that are meant to help first, then those that are known not to."""
    make_scenes()
    make_patches()
    networks([name for name in ROWS if name not in DROPPED])
    calibrations()
    networks(DROPPED)
    report()


def report() -> None:
    """The table, and the record, of all that is there."""
    runs = [run_of(name, seed) for name in ROWS for seed in SEEDS]
    figures.report(
        WORK / "test",
        models(),
        scenes={name: count for name, (count, _) in ARCHIVES.items()},
        size=[HEIGHT, WIDTH],
        seeds=list(SEEDS),
        epochs={row.title: row.epochs for row in ROWS.values()},
        options=[str(word) for word in (*NETWORK, *EYES)],
        trained_at=sorted({bench.summary(run)["commit"] for run in runs}),
    )


def models() -> dict[str, list[Path]]:
    """Title of each row that is told -> its models, one of each seed."""
    networks = {
        row.title: [run_of(name, seed) for seed in SEEDS]
        for name, row in ROWS.items()
        if name != "early"
    }
    return networks | {title: [calibrated(title, seed) for seed in SEEDS] for title in CALIBRATED}


def make_scenes() -> None:
    for name, (count, seed) in ARCHIVES.items():
        size = ("--height", HEIGHT, "--width", WIDTH, "--extras", "depth", "skin")
        cloudmask("synth", "--out", WORK / name, "--scenes", count, "--seed", seed, *size)


def make_patches() -> None:
    """Those that no network helps to make."""
    scenes = WORK / "train"
    for label in ("any", "dual", "truth"):
        cloudmask("prepare", scenes, "--out", patches(label), "--label", label, *CUT)
    cloudmask("prepare", scenes, "--out", patches("nine"), *CUT[:-1])
    looks = ("--method", "densities")
    for name, method in (
        ("looks", looks),
        ("blind", (*looks, "--teacher", "unsupervised")),
        ("unsupervised", ("--method", "unsupervised")),
    ):
        cloudmask("label", scenes, "--out", patches(name), *method, *CUT)


def networks(names: Sequence[str]) -> None:
    """These rows with all seeds, a training on each core at a time."""
    first = [name for name in names if name not in PER_SEED]
    each([(train, name, seed) for name in first for seed in SEEDS])
    helped = [name for name in names if name in PER_SEED]
    folds = itertools.product({FOLDS[name] for name in helped if name in FOLDS}, SEEDS, (0, 1))
    each([(train_fold, *fold) for fold in sorted(folds)])
    each([(make_patches_of, name, seed) for name in helped for seed in SEEDS])
    each([(train, name, seed) for name in helped for seed in SEEDS])
    each([(predict, run_of(name, seed)) for name in names for seed in SEEDS])


def make_patches_of(core: int, name: str, seed: int) -> None:
    """The patch set of a row that networks of this seed help to make."""
    out, scenes = patches(name, seed), WORK / "train"
    if name == "corrected":
        corrected = WORK / f"scenes-corrected-{seed}"
        words = (run_of("early", seed), scenes, corrected)
        call([sys.executable, "-m", "benchmarks.better_masks_parts", "correct", *words], core=core)
        cloudmask("prepare", corrected, "--out", out, *CUT[:-1], core=core)
    else:
        runs = [run_of(f"fold-{FOLDS[name]}-{fold}", seed) for fold in (0, 1)]
        strip = ("--strip", *(round(column * WIDTH / FULL_WIDTH) for column in DUAL_VIEW))
        cloudmask("refurbish", *runs, patches("any"), "--out", out, *strip, core=core)


def calibrations() -> None:
    """Each seed with three true scenes of its own."""
    true = sorted((WORK / "true").glob("*.hdf"))
    jobs = []
    for title, (row, teacher) in CALIBRATED.items():
        for seed, triple in zip(SEEDS, TRIPLES, strict=True):
            jobs.append((calibrate, title, row, teacher, seed, [true[i] for i in triple]))
    each(jobs)


def calibrate(
    core: int, title: str, row: str, teacher: str | None, seed: int, scenes: Sequence[Path]
) -> None:
    out = calibrated(title, seed)
    if not out.exists():
        asked = ("--teacher", teacher) if teacher else ()
        words = ("calibrate", run_of(row, seed), *scenes, "--label", "truth", "--out", out, *asked)
        cloudmask(*words, core=core)
    predict(core, out)


def train(core: int, name: str, seed: int) -> None:
    row = ROWS[name]
    data = patches(row.patches, seed if row.patches in PER_SEED else None)
    more = ("--init", run_of(row.after, seed), "--lr", 5e-4) if row.after else ()
    fit(core, data, run_of(name, seed), seed, row.epochs, (*row.options, *more))


def train_fold(core: int, of: str, seed: int, fold: int) -> None:
    options = (*EYES, "--fold", f"{fold}/2")
    fit(core, patches(of), run_of(f"fold-{of}-{fold}", seed), seed, FEW_EPOCHS, options)


def fit(
    core: int, data: Path, out: Path, seed: int, epochs: int, options: Sequence[object]
) -> None:
    if (out / "summary.json").exists() and bench.summary(out)["status"] == "finished":
        return
    words = ["--data", data, "--out", out, "--seed", seed, "--epochs", epochs, *NETWORK, *options]
    call([*bench.TRAIN, *words, *(["--resume"] if out.exists() else [])], core=core)


def predict(core: int, model: Path) -> None:
    """Probabilities of the test scenes, kept beside the model."""
    out = parts.probabilities_of(model)
    if not out.exists():
        words = ("predict", model, WORK / "test")
        call([sys.executable, "-m", "benchmarks.better_masks_parts", *words], core=core)


def patches(name: str, seed: int | None = None) -> Path:
    return WORK / f"patches-{name}{'' if seed is None else f'-{seed}'}"


def run_of(name: str, seed: int) -> Path:
    return WORK / "runs" / f"{name}-{seed}"


def calibrated(title: str, seed: int) -> Path:
    name = "".join(c if c.isalnum() else "-" for c in title.lower())
    return WORK / "runs" / f"{name}-{seed}.keras"


def cloudmask(*words: object, core: int | None = None) -> None:
    call([*bench.CLOUDMASK, *words], core=core)


def call(words: Sequence[object], *, core: int | None = None) -> None:
    """Run a command line, on a core alone if one is named; CalledProcessError if it fails."""
    line = [str(word) for word in words]
    print(shlex.join(line).replace(f"{bench.ROOT}/", ""), flush=True)
    process = bench.start(words, cores=() if core is None else (core,))
    output, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, line, output[-2000:])


def each(jobs: Sequence[tuple]) -> None:
    """Call jobs (function, *arguments) as function(core, *arguments), one on each core."""
    waiting: queue.SimpleQueue[tuple] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    failed: list[BaseException] = []

    def work(core: int) -> None:
        while not failed:
            try:
                function, *arguments = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                function(core, *arguments)
            except BaseException as error:
                failed.append(error)

    threads = [threading.Thread(target=work, args=(c,)) for c in sorted(os.sched_getaffinity(0))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        print(getattr(failed[0], "output", ""), file=sys.stderr)
        raise failed[0]


if __name__ == "__main__":
    report() if sys.argv[1:] == ["report"] else main()
