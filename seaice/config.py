"""One frozen dataclass per command; flags and YAML files are generated from their fields."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

Places = tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Where the work is done: the same for every command that works scene by scene."""

    engine: Literal["serial", "processes", "mpi", "spark"] = "serial"
    """one process; several; the ranks that mpirun starts; or Spark"""
    workers: int | None = None
    """processes, or threads of Spark's local master (default: the cores there are)"""
    master: str | None = None
    """Spark's master: local[*], local-cluster[2,1,2048], spark://HOST:7077 (default: that of
    spark-submit, else local[*])"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelConfig(EngineOptions):
    """Label scenes by colour: thick ice 0, thin ice 1, open water 2, unknown 255."""

    scenes: Annotated[Places, tyro.conf.Positional]
    """pictures (PNG, JPEG, TIFF, GeoTIFF, .npz), folders of them, or URIs (engine spark)"""
    out: Path
    """folder for labels, pictures and records"""
    thresholds: str = "paper"
    """paper: at most 30 water, at least 205 thick; adaptive: the same after the scene's exposure
    was estimated; or a YAML file with water_max and thick_min"""
    filter: Literal["paper", "none"] = "paper"
    """against thin cloud and shadow, guarded where it degenerates"""
    stretch: tuple[float, float] | None = None
    """values that become 0 and 255, for bands that are not 8-bit"""
    pixel_metres: float | None = None
    """size of a pixel, for areas where the file does not tell it"""
    land: Path | None = None
    """folder of land masks NAME.png, not zero on land"""
