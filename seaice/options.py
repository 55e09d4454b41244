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
class ReadingOptions:
    """How the values of a scene are taken; for one archive, the same in every command."""

    bands: Places | None = None
    """numbers or names of red, green, blue (and near infrared, 1.6 um), where the file does not
    tell them"""
    nodata: str = "border"
    """what is missing beside what a file declares: border (black that reaches it; 0 in all bands of
    16 bit, unless the file declares another value), zero (0 in all bands, anywhere), none, or a
    value"""
    stretch: tuple[float, float] | None = None
    """values that become 0 and 255, for bands that are not 8-bit; reflectance of a product, whose
    own true-colour image it replaces"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelConfig(ReadingOptions, EngineOptions):
    """Label scenes by colour: thick ice 0, thin ice 1, open water 2, unknown 255."""

    scenes: Annotated[Places, tyro.conf.Positional]
    """pictures (PNG, JPEG, TIFF, GeoTIFF, .npz), folders of them, or URIs (engine spark)"""
    out: Path
    """folder for labels, pictures and records"""
    rule: Literal["colour", "infrared"] = "colour"
    """colour: by brightness, as published; infrared: by reflectance in green, red, near infrared
    and at 1.6 um, where a scene has them: clouds become unknown"""
    thresholds: str = "paper"
    """paper: at most 30 water, at least 205 thick; adaptive: the same after the scene's exposure
    was estimated; or a YAML file with water_max and thick_min"""
    filter: Literal["published", "guarded", "none"] = "guarded"
    """against thin cloud and shadow: published: step by step as published, on the whole scene;
    guarded: the colour rule stands where that one degenerates"""
    pixel_metres: float | None = None
    """size of a pixel, for areas of scenes without a place on the ground"""
    land: Path | None = None
    """land becomes unknown: a folder of masks NAME.png or .tif, not zero on land; one GeoTIFF like
    that; or polygons in one vector file (GeoJSON, GeoPackage, shapefile, FlatGeobuf), where a pixel
    is land if its centre is"""
    clouds: str = "none"
    """clouds become unknown: none; scl, as Sentinel-2 products of level 2A have them; or like
    --land, also masks of `cloudmask predict`"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SynthConfig(EngineOptions):
    """Write seeded sea-ice scenes with their truth: OUT/scenes and OUT/truth."""

    out: Path
    """folder for scenes and truth"""
    scenes: int = 12
    """number of scenes"""
    height: int = 2048
    """rows of a scene"""
    width: int = 2048
    """columns of a scene"""
    exposure: tuple[float, float] = (1.0, 1.0)
    """range that the exposure of each scene is drawn from"""
    family: Literal["plain", "varied"] = "plain"
    """plain: one colour of snow, of young ice and of water; varied: brightness and whiteness drawn
    from ranges, and melt ponds, dirty ice, low sun or turbid water"""
    seed: int = 0
    """the same seed gives the same scenes"""
    crs: str | None = None
    """place the scenes on the ground, as GeoTIFFs with their date: EPSG:32622"""
    origin: tuple[float, float] = (500_000.0, 7_800_000.0)
    """x and y of the upper left corner, in units of the CRS"""
    pixel_size: float = 10.0
    """of scenes on the ground, in units of the CRS"""
    days: int = 1
    """share the scenes out over so many dates, ten days apart; those of a date lie side by side
    and overlap by a tenth"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScenesConfig(ReadingOptions, EngineOptions):
    """Turn pictures into scenes (.npz) that `cloudmask predict` and `cloudmask prepare` read."""

    scenes: Annotated[Places, tyro.conf.Positional]
    """pictures, or folders of them"""
    out: Path
    """folder for the scenes"""
    labels: Path | None = None
    """folder that `label` wrote, or of masks NAME.png: becomes the scenes' label"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareConfig(ReadingOptions, EngineOptions):
    """Cut labelled scenes into a patch set, split by scene; the scenes are kept in OUT-scenes."""

    scenes: Annotated[Places, tyro.conf.Positional]
    """pictures, or folders of them"""
    labels: Path
    """folder that `label` wrote, or of masks NAME.png"""
    out: Path
    """folder for the patch set"""
    patch_size: int = 256
    """rows and columns of a patch"""
    stride: int | None = None
    """distance between patches in pixels (default: the patch size, no overlap)"""
    split: str = "train=0.8,valid=0.2"
    """names and shares of the splits; a scene goes whole into one of them"""
    seed: int = 42
    """seed of the split"""
    strict: bool = False
    """stop at the first broken scene instead of leaving it out"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig(ReadingOptions):
    """Score class maps against several references, side by side, and by cloud cover."""

    predictions: Places
    """NAME=FOLDER of masks of `cloudmask predict`, or of labels; one row each"""
    against: Places
    """NAME=FOLDER of labels, truth or manual masks NAME.png; one column each"""
    out: Path
    """folder for evaluation.json and index.html"""
    scenes: Path | None = None
    """folder of the pictures, for the page; --bands, --nodata and --stretch are for them"""
    patchset: Path | None = None
    """only the scenes of one split of this patch set"""
    split: str = "valid"
    """which split of it"""
    pixel_metres: float | None = None
    """size of a pixel, for areas of maps that do not tell it"""
    shown: int = 4
    """scenes shown on the page"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeriesConfig(EngineOptions):
    """Ice concentration and class areas by date, tile and region, overlaps counted once."""

    labels: Annotated[Places, tyro.conf.Positional]
    """folders that `label` wrote, or of masks of `cloudmask predict` (.nc, .tif), or such files"""
    out: Path
    """folder for series.csv, series.nc, series.png and series.svg"""
    regions: Path | None = None
    """polygons: GeoJSON, GeoPackage or shapefile"""
    region_field: str = "name"
    """field of the regions' names"""
    by: Literal["date", "month"] = "date"
    """length of a period"""
    min_coverage: float = 0.5
    """share of what was seen, of a region: of all of it, that must have a class; below it, a row is
    flagged low"""
    date_from_name: str | None = None
    """regular expression with one group, for class maps without a date: '_(\\d{8})_'"""
