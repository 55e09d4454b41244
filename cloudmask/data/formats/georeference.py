"""Where and when a scene was taken, as a file of any sensor may say it; checked.

What cannot be used is left out with a warning: image and label are worth as much without it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.data.scene import SceneError
from cloudmask.record import warn

KEYS = ("crs", "transform", "latitude", "longitude", "start", "stop")
"""of a file, and fields of a Scene"""

_EPSG = re.compile(r"EPSG:\d+", re.IGNORECASE)
_PROJ = re.compile(r"\+proj=[!-~]+( +\+[!-~]+)*")
_WKT = re.compile(r"[A-Z_]*(CRS|CS)\[.*\]", re.DOTALL)


def places(path: Path, arrays: Mapping[str, np.ndarray], shape: tuple[int, int]) -> dict[str, Any]:
    """Those of KEYS that are there, as a Scene of `shape` pixels has them.

    A grid has a crs and a transform, a swath latitude and longitude; a scene may have all four. Of
    each pair both are left out, with a line that tells why, if one cannot be used.
    """
    found: dict[str, Any] = {}
    for one, other, needed, read in _PAIRS:
        held = {name: arrays[name] for name in (one, other) if name in arrays}
        try:
            for name in needed:
                if held and name not in held:
                    raise SceneError(path, f"holds {_quoted(held)} but no '{name}'", "add it")
            if held:
                found |= read(path, held, shape)
        except SceneError as error:
            warn(f"{path}: {error.problem}, it is read without {_quoted(held)}; {error.advice}")
    return found


def _quoted(names: Iterable[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)


def _grid(path: Path, held: Mapping[str, np.ndarray], _: tuple[int, int]) -> dict[str, Any]:
    return {"crs": _crs(path, held["crs"]), "transform": _transform(path, held["transform"])}


def _swath(path: Path, held: Mapping[str, np.ndarray], shape: tuple[int, int]) -> dict[str, Any]:
    rows, columns = held["latitude"], held["longitude"]
    if rows.shape == shape[:1] and columns.shape == shape[1:]:  # axes of a grid of degrees
        rows, columns = np.broadcast_arrays(rows[:, None], columns)
    return {
        "latitude": _degrees(path, "latitude", rows, shape, 90, 90),
        "longitude": _degrees(path, "longitude", columns, shape, 180, 360),
    }


def _times(path: Path, held: Mapping[str, np.ndarray], _: tuple[int, int]) -> dict[str, Any]:
    moments = {name: _moment(path, name, array) for name, array in held.items()}
    if len(moments) == 2 and moments["stop"] < moments["start"]:
        raise SceneError(path, "'stop' is before 'start'", "store the times as they were")
    return {name: moment.isoformat().replace("+00:00", "Z") for name, moment in moments.items()}


_Read = Callable[[Path, Mapping[str, np.ndarray], tuple[int, int]], dict[str, Any]]
_PAIRS: tuple[tuple[str, str, tuple[str, ...], _Read], ...] = (
    ("crs", "transform", ("crs", "transform"), _grid),
    ("latitude", "longitude", ("latitude", "longitude"), _swath),
    ("start", "stop", ("start",), _times),
)
"""keys that go together, those that must be there if one is, and how they are read"""


def _text(path: Path, name: str, array: np.ndarray, example: str) -> str:
    if array.dtype.kind != "U" or array.size != 1:
        problem = f"'{name}' is {array.dtype} of shape {array.shape}"
        raise SceneError(path, problem, f"store it as one text, such as {example}")
    return str(array.reshape(())).strip()


def _crs(path: Path, array: np.ndarray) -> str:
    text = _text(path, "crs", array, "EPSG:32633")
    if _EPSG.fullmatch(text):
        return text.upper()
    if _PROJ.fullmatch(text):
        return text
    if not _WKT.fullmatch(text) or text.count("[") != text.count("]"):
        short = text if len(text) <= 40 else f"{text[:40]}..."
        raise SceneError(path, f"'crs' is '{short}'", "store EPSG:NUMBER, or its WKT")
    return text


def _transform(path: Path, array: np.ndarray) -> tuple[float, ...]:
    """Six numbers a, b, c, d, e, f, or the matrix of nine that ends in 0, 0, 1."""
    advice = "store a, b, c, d, e, f of x = a * column + b * row + c, y = d * column + e * row + f"
    values = array.ravel()
    if array.dtype.kind not in "iuf" or values.size not in (6, 9):
        problem = f"'transform' is {array.dtype} of shape {array.shape}"
        raise SceneError(path, problem, advice)
    a, b, c, d, e, f, *rest = values.astype(float).tolist()
    if not np.isfinite(values).all() or rest not in ([], [0, 0, 1]) or a * e == b * d:
        problem = f"'transform' is {', '.join(f'{value:g}' for value in values.tolist())}"
        raise SceneError(path, f"{problem}, which places no pixels", advice)
    return a, b, c, d, e, f


def _degrees(
    path: Path, name: str, array: np.ndarray, shape: tuple[int, int], below: int, above: int
) -> np.ndarray:
    """`shape` float32 from -below to above; NaN where the place is not known.

    One value outside may stand for that, however often.
    """
    if array.dtype.kind not in "iuf" or array.shape != shape:
        problem = f"'{name}' is {array.dtype} of shape {array.shape}, the image has {shape} pixels"
        raise SceneError(path, problem, "store degrees for every pixel")
    with np.errstate(over="ignore"):
        degrees = array.astype(np.float32)
    wrong = (degrees < -below) | (degrees > above)
    several = wrong.any() and bool((degrees[wrong] != degrees[wrong][0]).any())
    first = degrees[wrong][0] if wrong.any() else np.nan
    degrees[wrong] = np.nan
    if several or np.isnan(degrees).all():
        what = f"holds {first:g}" if wrong.any() else "holds no place"
        advice = f"store degrees from -{below} to {above}, NaN where it is not known"
        raise SceneError(path, f"'{name}' {what}", advice)
    return degrees


def _moment(path: Path, name: str, array: np.ndarray) -> datetime.datetime:
    """In UTC, which a time without a zone is in."""
    example = "2017-03-13T11:00:00Z"
    if array.dtype.kind == "M" and array.size == 1:
        array = np.datetime_as_string(array.reshape(()).astype("datetime64[us]"))
    text = _text(path, name, np.asarray(array), example)
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return moment.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise SceneError(
            path, f"'{name}' is '{text[:40]}'", f"store a time like {example}"
        ) from None
