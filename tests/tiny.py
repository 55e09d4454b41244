"""Tiny patch sets, and trainings of a few seconds in real processes, for the training's tests."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cloudmask import __main__ as cli
from cloudmask.data.patchset import open_patchset

ROOT = Path(__file__).resolve().parents[1]
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
