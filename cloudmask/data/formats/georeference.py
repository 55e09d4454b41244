"""Where and when a scene was taken, as a file of any sensor may say it; checked."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.data.scene import SceneError

KEYS = ("crs", "transform", "latitude", "longitude", "start", "stop")
"""of a file, and fields of a Scene"""

_EPSG = re.compile(r"EPSG:\d+", re.IGNORECASE)
_WKT = re.compile(r"[A-Z_]*(CRS|CS)\[.*\]", re.DOTALL)


def places(path: Path, arrays: Mapping[str, np.ndarray], shape: tuple[int, int]) -> dict[str, Any]:
    """Those of KEYS that are there, as a Scene of `shape` pixels has them. SceneError.

    A grid has a crs and a transform, a swath latitude and longitude; a scene may have all four.
    """
    found: dict[str, Any] = {}
    for one, other in (("crs", "transform"), ("latitude", "longitude"), ("start", "stop")):
        if one in arrays and other not in arrays and one != "start":
            raise SceneError(path, f"holds '{one}' but no '{other}'", "store both or neither")
        if other in arrays and one not in arrays:
            raise SceneError(path, f"holds '{other}' but no '{one}'", "store both or neither")
    if "crs" in arrays:
        found["crs"] = _crs(path, arrays["crs"])
        found["transform"] = _transform(path, arrays["transform"])
    if "latitude" in arrays:
        found["latitude"] = _degrees(path, "latitude", arrays["latitude"], shape, 90, 90)
        found["longitude"] = _degrees(path, "longitude", arrays["longitude"], shape, 180, 360)
    moments = {name: _moment(path, name, arrays[name]) for name in KEYS[4:] if name in arrays}
    if len(moments) == 2 and moments["stop"] < moments["start"]:
        raise SceneError(path, "'stop' is before 'start'", "store the times as they were")
    for name, moment in moments.items():
        found[name] = moment.isoformat().replace("+00:00", "Z")
    return found


def _text(path: Path, name: str, array: np.ndarray, example: str) -> str:
    if array.dtype.kind != "U" or array.size != 1:
        problem = f"'{name}' is {array.dtype} of shape {array.shape}"
        raise SceneError(path, problem, f"store it as one text, such as {example}")
    return str(array.reshape(())).strip()


def _crs(path: Path, array: np.ndarray) -> str:
    text = _text(path, "crs", array, "EPSG:32633")
    if _EPSG.fullmatch(text):
        return text.upper()
    if not _WKT.fullmatch(text) or text.count("[") != text.count("]"):
        short = text if len(text) <= 40 else f"{text[:40]}..."
        raise SceneError(path, f"'crs' is '{short}'", "store EPSG:NUMBER, or the WKT of the grid")
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
    """`shape` float32 from -below to above; NaN where the place is not known."""
    if array.dtype.kind not in "iuf" or array.shape != shape:
        problem = f"'{name}' is {array.dtype} of shape {array.shape}, the image has {shape} pixels"
        raise SceneError(path, problem, "store degrees for every pixel")
    degrees = array.astype(np.float32)
    wrong = (degrees < -below) | (degrees > above)
    if wrong.any() or np.isnan(degrees).all():
        what = f"holds {degrees[wrong][0]:g}" if wrong.any() else "holds no place"
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
