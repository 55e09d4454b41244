"""A scene, whatever the sensor: physical values, a label per pixel, and where scenes are found.

Read are the CloudMask benchmark's HDF5 (see slstr.py), Sentinel-3 SLSTR products (see safe.py), and
`.npz` with `image`, `label`, `channels` and `classes` for every other sensor.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cloudmask.data.folder import is_patchset

UNKNOWN = 255  # label of a pixel about which nothing is known; it never counts

LabelChoice = Literal["any", "single_moderate", "summary", "probability", "truth"]

HDF_SUFFIXES = (".hdf", ".h5", ".hdf5")
PRODUCT_SUFFIX = ".sen3"  # of a folder, in any case
_PREFIXES = ("S3A", "S3B")
_PRODUCTS = tuple(f"S3{satellite}_SL_1_RBT_" for satellite in "ABCD")
"""an archive keeps those of other instruments beside them, which are no scenes"""


@dataclass(frozen=True, eq=False)
class Scene:
    """One acquisition."""

    name: str
    image: np.ndarray
    """(H, W, C) float32, physical units, NaN = no measurement"""
    channels: tuple[str, ...]
    label: np.ndarray | None
    """(H, W) uint8: i means classes[i], 255 = unknown"""
    classes: tuple[str, ...]
    truth: np.ndarray | None = None
    """like label: the true mask, which only synthetic scenes have"""
    summary: np.ndarray | None = None
    """like label: the operational threshold mask of an SLSTR scene"""
    label_source: str = ""
    latitude: np.ndarray | None = None
    """(H, W) degrees north"""
    longitude: np.ndarray | None = None
    """(H, W) degrees east"""
    confidence: np.ndarray | None = None
    """(H, W) uint16: flags of an SLSTR product, see safe.Confidence"""


class SceneError(ValueError):
    """A scene file that cannot be used: which one, what is wrong, what to do. One line."""

    def __init__(self, path: Path, problem: str, advice: str) -> None:
        super().__init__(f"{path}: {problem}; {advice}")


def find_scenes(paths: Sequence[Path]) -> list[Path]:
    """Scene files among and below `paths`, sorted by name whatever the file system does.

    Folders are searched for S3A*.hdf, S3B*.hdf (.h5, .hdf5), S3?_SL_1_RBT*.SEN3 and *.npz, links
    included; what is named is taken if its suffix is known. ValueError for a path that does not
    exist, for two scenes of the same name, and if nothing is found.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += [path] if is_product(path) else _search(path)
        elif not path.exists():
            raise ValueError(f"{path} does not exist; give scene files or folders that hold them")
        elif path.suffix.lower() not in (*HDF_SUFFIXES, ".npz"):
            raise ValueError(f"{path} is no scene: expected .npz or {', '.join(HDF_SUFFIXES)}")
        else:
            found.append(path)
    if not found:
        under = ", ".join(map(str, paths))
        kinds = "S3A*.hdf, S3B*.hdf, *.SEN3 or *.npz"
        raise ValueError(f"no scenes found under {under}; expected {kinds}")
    by_name: dict[str, Path] = {}
    for path in found:
        other = by_name.setdefault(path.stem, path)
        if other.resolve() != path.resolve():
            raise ValueError(
                f"two scenes are named {path.stem}: {other} and {path}; remove or rename one"
            )
    return [by_name[name] for name in sorted(by_name)]


def missing_pixels(image: np.ndarray) -> np.ndarray:
    """(H, W, C) -> (H, W) bool: NaN in every channel."""
    pixels = image.reshape(-1, image.shape[2])
    missing = np.zeros(len(pixels), bool)
    missing[where_all(pixels, np.isnan, range(image.shape[2]))] = True
    return missing.reshape(image.shape[:2])


def where_all(
    pixels: np.ndarray, test: Callable[[np.ndarray], np.ndarray], channels: Sequence[int]
) -> np.ndarray:
    """(N, C) -> numbers of the pixels that pass the test in all channels.

    Usually few pass in the last channel, and only those are looked at in the others: several times
    as fast as `test(pixels).all(axis=1)`.
    """
    last, *others = reversed(channels)
    found = np.flatnonzero(test(pixels[:, last]))
    for channel in others:
        found = found[test(pixels[found, channel])]
    return found


def is_product(path: Path) -> bool:
    """Whether this is the folder of a Sentinel-3 product, going by its name."""
    return path.suffix.lower() == PRODUCT_SUFFIX


def _search(top: Path) -> list[Path]:
    """Scenes below a folder. Patch sets are passed over: their files bear the names of scenes."""
    found, seen = [], set()
    for folder, subfolders, files in os.walk(top, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen or is_patchset(Path(folder)):
            subfolders.clear()
            continue
        seen.add(place)
        found += [Path(folder, name) for name in files if _is_scene(name)]
        found += [Path(folder, name) for name in subfolders if name.startswith(_PRODUCTS)]
        subfolders[:] = [name for name in subfolders if not is_product(Path(name))]
    return found


def _is_scene(name: str) -> bool:
    suffix = Path(name).suffix.lower()
    return suffix == ".npz" or (suffix in HDF_SUFFIXES and name.startswith(_PREFIXES))


def size_and_date(path: Path) -> tuple[int, int]:
    """Bytes of a scene, and nanoseconds of its last change; of all files of a product folder."""
    files = [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path]
    found = [file.stat() for file in files]
    return sum(f.st_size for f in found), max((f.st_mtime_ns for f in found), default=0)


def read_scene(
    path: Path, *, label: LabelChoice = "any", need_label: bool = True, verify: bool = True
) -> Scene:
    """Read a scene file; `label` says which of its masks becomes the label.

    An .npz file has one label, `any`, and perhaps a `truth`. SceneError for everything that is
    wrong with the file. With `need_label=False` a missing or empty label is no error. `verify`
    compares a product with the checksums it comes with.
    """
    if path.suffix.lower() in HDF_SUFFIXES:
        from cloudmask.data import slstr  # which itself makes a Scene

        scene = slstr.read_hdf(path, label=label, need_label=need_label)
    elif is_product(path):
        from cloudmask.data import safe

        scene = safe.read_safe(path, label=label, need_label=need_label, verify=verify)
    elif path.suffix.lower() == ".npz":
        scene = _read_npz(path, label=label, need_label=need_label)
    else:
        kinds = ", ".join((*HDF_SUFFIXES, ".SEN3"))
        raise SceneError(path, "is of no known kind", f"expected .npz or {kinds}")
    if np.isnan(scene.image).all():
        raise SceneError(path, "holds no measurement at all", "leave this scene out")
    if need_label and (scene.label is None or (scene.label == UNKNOWN).all()):
        raise SceneError(path, "no measured pixel has a label", "leave this scene out")
    return scene


def _read_npz(path: Path, *, label: LabelChoice, need_label: bool) -> Scene:
    wanted = {"any": "label"}.get(label, label)
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            names = ("image", "channels", "classes", "truth", "summary", wanted)
            arrays = {name: file[name] for name in names if name in file.files}
            present = ", ".join(file.files)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        problem = f"cannot be read ({' '.join(str(error).split())})"
        raise SceneError(path, problem, "get the file again or write it with numpy.savez") from None
    for name in ("image", *([wanted] if need_label else [])):
        if name not in arrays:
            raise SceneError(path, f"holds no '{name}' (but {present})", "add it to the file")
    image = _npz_image(path, arrays["image"])
    missing = missing_pixels(image)
    channels = _names(path, arrays, "channels", image.shape[2], "band_{}", first=1)
    if len(channels) != image.shape[2]:
        raise SceneError(
            path, f"{image.shape[2]} channels but {len(channels)} names in 'channels'", "name each"
        )
    masks = {name: arrays[name] for name in (wanted, "truth", "summary") if name in arrays}
    for name, mask in masks.items():
        if mask.shape != image.shape[:2]:
            raise SceneError(
                path,
                f"'{name}' has shape {mask.shape}, the image {image.shape}",
                "a mask must be (rows, columns) of the image",
            )
    known = [int(mask[mask != UNKNOWN].max(initial=1)) for mask in masks.values()]
    classes = _names(path, arrays, "classes", max([1, *known]) + 1, "class_{}", first=0)
    labels = {name: _as_label(path, name, mask, len(classes)) for name, mask in masks.items()}
    for mask in labels.values():
        mask[missing] = UNKNOWN
    return Scene(
        name=path.stem,
        image=image,
        channels=channels,
        label=labels.get(wanted),
        classes=classes,
        truth=labels.get("truth"),
        summary=labels.get("summary"),
        label_source=wanted,
    )


def _npz_image(path: Path, image: np.ndarray) -> np.ndarray:
    """(H, W, C) of any number type -> float32, with infinite values as missing ones."""
    if image.ndim != 3 or image.dtype.kind not in "buif" or 0 in image.shape:
        problem = f"'image' is {image.dtype} of shape {image.shape}"
        raise SceneError(path, problem, "store numbers of shape (rows, columns, channels)")
    with np.errstate(over="ignore"):  # float64 beyond float32 is infinite, hence missing
        image = image.astype(np.float32)
    image[~np.isfinite(image)] = np.nan
    return image


def _as_label(path: Path, name: str, array: np.ndarray, classes: int) -> np.ndarray:
    """(H, W) whole numbers -> uint8, checked: 0 to classes - 1, or 255."""
    if array.dtype.kind not in "bui":
        raise SceneError(path, f"{name} is {array.dtype}", "store whole numbers, 255 = unknown")
    wrong = (array != UNKNOWN) & ((array < 0) | (array >= classes))
    if wrong.any():
        raise SceneError(
            path,
            f"{name} holds the value {array[wrong][0]} but there are {classes} classes",
            f"use 0 to {classes - 1}, or 255 for unknown",
        )
    return array.astype(np.uint8)


def _names(
    path: Path, arrays: Mapping[str, np.ndarray], key: str, count: int, default: str, *, first: int
) -> tuple[str, ...]:
    if key not in arrays:
        return tuple(default.format(first + index) for index in range(count))
    names = tuple(str(name) for name in arrays[key].ravel())
    if arrays[key].dtype.kind != "U" or len(set(names)) != len(names):
        raise SceneError(path, f"'{key}' holds {names}", "store different names, as strings")
    return names
