"""How fast one core reads patches from the page cache: `python -m benchmarks read_patches`.

A patch set of 200 nine-channel patches of 256x256 pixels in ten files is written to a temporary
folder and read in random order, in batches of eight. The limit is the speed at which the same core
copies the same bytes from memory to memory, in the same random order.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench
from cloudmask.data.patchset.encoding import decode
from cloudmask.data.patchset.files import write_patches
from cloudmask.data.patchset.manifest import build_manifest, write_manifest
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.data.scene import Scene
from cloudmask.record import environment

SIZE, CHANNELS, FILES, ROWS, COLS = 256, 9, 10, 4, 5
BATCH = 8
REPEATS = 7
TARGET_PATCHES_PER_SECOND = 2000


def write_patchset(folder: Path) -> None:
    channels = tuple(f"S{number + 1}" for number in range(CHANNELS))
    classes = ("clear", "cloud")
    rng = np.random.default_rng(0)
    entries = []
    for number in range(FILES):
        image = rng.random((ROWS * SIZE, COLS * SIZE, CHANNELS), np.float32)
        label = rng.integers(0, 2, image.shape[:2], np.uint8)
        scene = Scene(f"scene{number}", image, channels, label, classes)
        path = f"train/{scene.name}.h5"
        entries.append(write_patches(folder, path, scene, patch_size=SIZE, stride=SIZE))
    text = build_manifest(
        {"train": entries},
        channels=channels,
        classes=classes,
        patch_size=SIZE,
        stride=SIZE,
        label_source="random",
        options={},
        skipped={},
        failed={},
    )
    write_manifest(folder, text)


def patches_per_second(work: Callable[[np.ndarray], object], count: int) -> list[float]:
    """One figure per pass over all patches; a first pass warms up and does not count."""
    rates = []
    for repeat in range(REPEATS + 1):
        start = time.perf_counter()
        order = np.random.default_rng(repeat).permutation(count)
        for first in range(0, count, BATCH):
            work(order[first : first + BATCH])
        rates.append(count / (time.perf_counter() - start))
    return rates[1:]


def measure(folder: Path) -> dict[str, Any]:
    with PatchReader(open_patchset(folder), "train") as reader:
        count = reader.num_patches
        memory = np.ones((count, reader.patch_bytes), np.uint8)

        def copy(indices: np.ndarray) -> None:
            out = np.empty((len(indices), reader.patch_bytes), np.uint8)
            for row, index in enumerate(indices):
                out[row] = memory[index]

        def read_and_decode(indices: np.ndarray) -> None:
            batch = reader.read(indices)
            decode(batch.image, batch.scale, batch.offset)

        works = {"read": reader.read, "read and decode": read_and_decode, "copy memory": copy}
        rates = {name: patches_per_second(work, count) for name, work in works.items()}
        return {
            "patches": count,
            "patch_bytes": reader.patch_bytes,
            "batch": BATCH,
            "repeats": REPEATS,
            "patches_per_second": {
                name: {"median": statistics.median(r), "least": min(r), "most": max(r)}
                for name, r in rates.items()
            },
            "read_to_copy_ratio": statistics.median(rates["read"])
            / statistics.median(rates["copy memory"]),
        }


def main() -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    with tempfile.TemporaryDirectory() as folder:
        write_patchset(Path(folder))
        result = measure(Path(folder))
    os.sched_setaffinity(0, cores)
    conditions = environment()
    rates, patch_bytes = result["patches_per_second"], result["patch_bytes"]
    print(f"one core of {conditions['cpu']}, {conditions['date']}")
    print(f"{result['patches']} patches of {SIZE}x{SIZE}x{CHANNELS}, page cache, random order")
    for name, rate in rates.items():
        print(
            f"{name:16} {rate['median']:7.0f} patches/s ({rate['least']:.0f} - {rate['most']:.0f})"
            f" {rate['median'] * patch_bytes / 1e9:6.2f} GB/s"
        )
    reached = rates["read"]["median"] >= TARGET_PATCHES_PER_SECOND
    print(
        f"reading is at {result['read_to_copy_ratio']:.2f} of the limit, copying memory; "
        f"{TARGET_PATCHES_PER_SECOND} patches/s are {'reached' if reached else 'NOT reached'}"
    )
    bench.keep("read_patches", **result)
