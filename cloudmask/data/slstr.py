"""Sentinel-3 SLSTR: its channels, classes, and what its flags mean. Values alone, no files."""

from __future__ import annotations

import enum

import numpy as np

CHANNELS = ("S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9")
CLASSES = ("clear", "cloud")
NUM_REFS = 6
SOLAR, THERMAL = CHANNELS[:NUM_REFS], CHANNELS[NUM_REFS:]
"""reflectances, and brightness temperatures in K"""


class Bayes(enum.IntFlag):
    """Bits of the Bayesian mask, `bayes_in` of a product and `bayes` of the benchmark's files."""

    SINGLE_LOW = 1
    SINGLE_MODERATE = 2
    DUAL_LOW = 4
    DUAL_MODERATE = 8


NOT_COMPUTED = 255
"""the Bayesian mask where there is none"""


def bayes_cloud(bayes: np.ndarray, choice: str) -> np.ndarray:
    """Bits -> where it is cloud: by any of them, or by the one that `choice` names."""
    return (bayes & int(Bayes.SINGLE_MODERATE) if choice == "single_moderate" else bayes) > 0


class Confidence(enum.IntFlag):
    """Bits of `confidence_in`, and so of `Scene.confidence`."""

    COASTLINE = 1
    OCEAN = 2
    TIDAL = 4
    LAND = 8
    INLAND_WATER = 16
    UNFILLED = 32
    COSMETIC = 256
    DUPLICATE = 512
    DAY = 1024
    TWILIGHT = 2048
    SUN_GLINT = 4096
    SNOW = 8192
    SUMMARY_CLOUD = 16384
    SUMMARY_POINTING = 32768
