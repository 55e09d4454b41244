"""A scene from whatever it is stored in. The only place that knows all formats."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from cloudmask.data import dual
from cloudmask.data.formats import stored
from cloudmask.data.formats.benchmark import read_dual_columns, read_hdf
from cloudmask.data.formats.npz import read_npz
from cloudmask.data.formats.safe.product import read_safe
from cloudmask.data.formats.scratch import ScratchError
from cloudmask.data.kinds import HDF_SUFFIXES, MANIFEST_NAME, Form, form_of, scene_name, spelled_out
from cloudmask.data.place import Place, Url, place_of, printable
from cloudmask.data.scene import LabelChoice, Scene, SceneError, StoredScene, reason
from cloudmask.data.slstr import Reading
from cloudmask.metrics import UNKNOWN


def read_scene(
    path: str | os.PathLike[str] | Url,
    *,
    label: LabelChoice = "any",
    need_label: bool = True,
    verify: bool = True,
    reading: Reading = Reading(),  # noqa: B008 (a frozen value)
    strips: dual.Strips | None = None,
) -> Scene:
    """Read a scene: an HDF5 file of the benchmark, a .SEN3 product, or an .npz file.

    A product is a folder, its manifest, a .SEN3.zip or an EOPF .zarr, and may lie at a URL.

    `image` is (H, W, C) float32 in physical units (of SLSTR: reflectances S1..S6 and brightness
    temperatures S7..S9 in K), NaN where nothing was measured; `label` is (H, W) uint8 with indices
    into `classes`, 255 where it is not known. `Scene` tells the rest.

    `label` says which mask of the file becomes the label (an .npz file has one, `any`, and perhaps
    a `truth`); with `need_label=False` a missing or empty one is no error. `verify` compares a
    product with the checksums it comes with; `reading` says what of it counts, which for a model
    is its `reading`. `strips` are the columns that the oblique view sees, for the label
    `dual` of the benchmark's files; without them they are those of the file's own bits.

    SceneError, a ValueError of one line that names the file, for everything that is wrong with it.
    Content that makes no sense can end in any exception, of a library or of ours: it is the
    SceneError's cause.
    """
    place = spelled_out(place_of(path))
    with _telling(place):
        scene = _read(
            place,
            label=label,
            need_label=need_label,
            verify=verify,
            reading=reading,
            strips=strips,
        )
    if np.isnan(scene.image).all():
        raise SceneError(place, "holds no measurement at all", "leave this scene out")
    if need_label and (scene.label is None or (scene.label == UNKNOWN).all()):
        raise SceneError(place, "no measured pixel has a label", "leave this scene out")
    return replace(scene, name=scene_name(place))


def read_stored(
    path: str | os.PathLike[str] | Url, *, label: LabelChoice | None = None
) -> StoredScene | None:
    """A large .npz scene of whole numbers, whose image stays in its file, with a label if one is
    asked for; None for all others, and for what is wrong: `read_scene` tells what."""
    place = spelled_out(place_of(path))
    if isinstance(place, Url) or form_of(place) != "npz" or not place.is_file():
        return None
    found = stored.read_stored(place, label=label)
    return found and replace(found, name=scene_name(place))


def read_strip(path: Path) -> tuple[int, dual.Columns | None]:
    """Width of one of the benchmark's files, and the columns in which its bits tell of two views.

    SceneError.
    """
    with _telling(path):
        _looked_at(path, "hdf")
        return read_dual_columns(path)


@contextmanager
def _telling(place: Place) -> Iterator[None]:
    """Whatever is wrong with a place becomes a SceneError."""
    try:
        yield
    except (SceneError, ScratchError, ImportError):
        raise
    except MemoryError:
        problem = "would need more memory than there is, as a damaged file may claim"
        raise SceneError(place, problem, "get it again, or give more memory") from None
    except OSError as error:
        problem = f"cannot be read ({error.strerror or reason(error)})"
        raise SceneError(place, problem, "get it again, or leave it out") from None
    except Exception as error:
        what = ": ".join(filter(None, (type(error).__name__, reason(error))))
        raise SceneError(
            place, f"cannot be read, it is damaged ({what})", "get it again"
        ) from error


def _read(
    place: Place,
    *,
    label: LabelChoice,
    need_label: bool,
    verify: bool,
    reading: Reading,
    strips: dual.Strips | None,
) -> Scene:
    form = form_of(place)
    if isinstance(place, Path):
        form = _looked_at(place, form)
    if form == "product":
        return read_safe(place, label=label, need_label=need_label, verify=verify, reading=reading)
    if form is None or isinstance(place, Url):
        kinds = ", ".join((*HDF_SUFFIXES, ".SEN3, .SEN3.zip, .zarr"))
        raise SceneError(place, "is of no known kind", f"expected .npz or {kinds}")
    if form == "hdf" and reading.oblique:
        problem = "holds no oblique view, which the benchmark's files never do"
        raise SceneError(place, problem, "give products, or leave --oblique out")
    if form == "hdf":
        return read_hdf(
            place,
            label=label,
            need_label=need_label,
            strips=strips,
            skin_temperature=reading.skin_temperature,
        )
    if label == "dual":
        problem = "is no SLSTR scene, and --label dual is the strip that its oblique view sees"
        raise SceneError(place, problem, "choose another --label or leave this scene out")
    return read_npz(place, label=label, need_label=need_label)


def _looked_at(path: Path, form: Form | None) -> Form | None:
    """The form, seen what is there. SceneError for what no reader should open; OSError."""
    if printable(path) != str(path):
        raise SceneError(path, "has a name that is no UTF-8", "rename it")
    if form is None and path.is_dir():
        with os.scandir(path) as entries:  # which raises where a search had to stop
            return "product" if any(entry.name == MANIFEST_NAME for entry in entries) else None
    if form is not None and stat.S_IFMT(path.stat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
        raise SceneError(path, "is neither a file nor a folder", "leave it out")
    return form
