"""Sentinel-3 SLSTR: its channels, classes, and what its flags mean. Values alone, no files."""

from __future__ import annotations

import enum

CHANNELS = ("S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9")
CLASSES = ("clear", "cloud")
NUM_REFS = 6


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
