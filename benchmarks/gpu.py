"""What one GPU trains: a table of rates, and the whole work of the published benchmark.

`python -m benchmarks.gpu table` and `python -m benchmarks.gpu whole [OPTION OF train_hvd.py...]`.
Each row is a run of train_hvd.py on one GPU without Horovod, and stands in the record as soon as it
has ended. The whole work is 15,520 patches for 30 epochs and 3,880 for validation. The patches
repeat those of a few synthetic scenes, by hard links, so no figure says anything of quality, and
files come from the page cache.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import bench
from cloudmask.data.patchset.manifest import build_manifest, read_manifest, write_manifest
from cloudmask.data.patchset.model import MANIFEST, FileEntry
from cloudmask.record import nvidia_smi

PEAK_TFLOPS = {"bfloat16": 989.0, "tf32": 495.0, "float32": 67.0}
"""dense, by the data sheet of the H100 SXM and the H200"""
PUBLISHED = ("--preset", "reference")
DEFAULT = ("--lr-decay", "none")
KEEP = "keep-layout"
"""no option of train_hvd.py: TensorFlow is told to leave the order of dimensions as written"""
ROWS: tuple[tuple[str, str, int, int, tuple[str, ...]], ...] = (
    ("default, bfloat16", "bfloat16", 32, 300, (*DEFAULT, "--cache", "device")),
    ("default, bfloat16, xla", "bfloat16", 32, 300, (*DEFAULT, "--cache", "device", "--xla")),
    ("default, bfloat16", "bfloat16", 64, 200, (*DEFAULT, "--cache", "device")),
    ("default, bfloat16, xla", "bfloat16", 64, 200, (*DEFAULT, "--cache", "device", "--xla")),
    ("default, bfloat16, as written", "bfloat16", 32, 300, (*DEFAULT, "--cache", "device", KEEP)),
    ("published, bfloat16", "bfloat16", 32, 300, (*PUBLISHED, "--cache", "device")),
    ("published, tf32", "tf32", 32, 150, (*PUBLISHED, "--cache", "device")),
    ("published, float32", "float32", 32, 80, (*PUBLISHED, "--cache", "device")),
    ("default, bfloat16, from memory", "bfloat16", 32, 300, (*DEFAULT, "--cache", "memory")),
    ("default, bfloat16, from files", "bfloat16", 32, 200, (*DEFAULT, "--cache", "none")),
    ("published, tf32, xla", "tf32", 32, 150, (*PUBLISHED, "--cache", "device", "--xla")),
    ("published, float32, xla", "float32", 32, 80, (*PUBLISHED, "--cache", "device", "--xla")),
    ("default, float32", "float32", 64, 60, (*DEFAULT, "--cache", "device")),
)
"""title, precision, batch, steps, options; the most telling first"""
AS_WRITTEN = """
import sys, tensorflow as tf, train_hvd
tf.config.optimizer.set_experimental_options({"layout_optimizer": False})
sys.exit(train_hvd.main(sys.argv[1:]))
"""
SECONDS = 120
"""a row may take, with its start"""
SCENES, VALID_SCENES = 20, 4
WHOLE_TRAIN, WHOLE_VALID, TABLE_TRAIN = 776, 194, 64
"""files of 20 patches"""


def main(words: list[str]) -> int:
    if words[:1] not in (["table"], ["whole"]):
        print("benchmarks.gpu: say table, or whole and options of train_hvd.py", file=sys.stderr)
        return 2
    if not nvidia_smi("name"):
        print("benchmarks.gpu: nvidia-smi names no GPU; run it where there is one", file=sys.stderr)
        return 1
    whole(words[1:]) if words[0] == "whole" else table()
    return 0


def table() -> None:
    data = repeated(TABLE_TRAIN, 0)
    rows: list[dict[str, Any]] = []
    for title, precision, batch, steps, options in ROWS:
        words = ["--precision", precision, "--batch-size", batch, "--max-steps", steps]
        row: dict[str, Any] = {"row": title, "precision": precision, "batch": batch, "steps": steps}
        row |= train(data, [*words, "--epochs", 1000, *options], seconds=SECONDS)
        if "patches_per_second" in row:
            rate = row["patches_per_second"]["median"]
            row["tflops"] = rate * row["flops_per_patch"] / 1e12
            row["share_of_peak"] = row["tflops"] / PEAK_TFLOPS[precision]
            print(f"  {title}, batch {batch}: {rate:.0f} patches/s, {row['tflops']:.0f} TFLOP/s")
        else:
            print(f"  {title}, batch {batch}: {row['failed']}")
        rows.append(row)
        keep("gpu", rows=rows)


def whole(options: list[str]) -> None:
    data = repeated(WHOLE_TRAIN, WHOLE_VALID)
    words = [*PUBLISHED, "--batch-size", 32, "--cache", "device", *options]
    row = train(data, words, seconds=600)
    print(json.dumps(row))
    keep("gpu_whole", row=row, options=options)


def train(data: Path, words: list[Any], *, seconds: int) -> dict[str, Any]:
    """What a run says of its speed; `failed` with its last lines if it did not end well."""
    out = bench.fresh(bench.WORK / "gpu")
    out.rmdir()
    program = bench.TRAIN
    if KEEP in words:
        words = [word for word in words if word != KEEP]
        program = [sys.executable, "-c", AS_WRITTEN]
    line = [*program, "--data", data, "--out", out, "--no-horovod", "--no-verify"]
    line += ["--no-tensorboard", *words]
    try:
        done = subprocess.run(
            [str(word) for word in line],
            cwd=bench.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        last = error.stdout[-1500:] if error.stdout else b""
        return {"failed": f"not done after {seconds} s: {last!r}"}
    if done.returncode:
        return {"failed": done.stdout[-1500:]}
    summary = bench.summary(out)
    names = ("device", "seconds", "patches_per_second", "per_step", "steps_run", "settings")
    return {name: summary[name] for name in (*names, "flops_per_patch")}


def repeated(train_files: int, valid_files: int) -> Path:
    """A patch set that names the files of a few scenes under many names."""
    original = bench.WORK / f"gpu-patches-{SCENES}"
    folder = bench.scenes(SCENES)[0].parent
    bench.run([*bench.CLOUDMASK, "prepare", folder, "--out", original, "--split", "train=1"])
    found: list[FileEntry] = list(read_manifest(original).splits["train"].files)
    out = bench.WORK / f"gpu-patches-{train_files}-{valid_files}"
    if (out / MANIFEST).exists():
        return out
    bench.fresh(out)
    sources = {"train": found[VALID_SCENES:], "valid": found[:VALID_SCENES]}
    counts = {"train": train_files, "valid": valid_files}
    splits = {
        split: [
            link(original, out, split, sources[split][number % len(sources[split])], number)
            for number in range(count)
        ]
        for split, count in counts.items()
        if count
    }
    facts = json.loads((original / MANIFEST).read_text())
    names = ("channels", "classes", "patch_size", "stride", "label_source", "options")
    kept = {name: facts[name] for name in names}
    write_manifest(out, build_manifest(splits, **kept, skipped={}, failed={}))
    return out


def link(original: Path, out: Path, split: str, entry: FileEntry, number: int) -> FileEntry:
    name = f"{entry.scene}_{number:04d}"
    path = f"{split}/{name}.h5"
    (out / path).parent.mkdir(exist_ok=True)
    os.link(original / entry.path, out / path)
    return dataclasses.replace(entry, path=path, scene=name)


def keep(name: str, **figures: Any) -> None:
    """The record, and a copy of it where OUT says, for a machine that is not kept."""
    patch = "256 x 256 x 9 int16"
    path = bench.keep(name, **figures, patch=patch)
    if "OUT" in os.environ:
        shutil.copy(path, os.environ["OUT"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
