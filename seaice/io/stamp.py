"""The stamp of `.npz` scenes that were made here of pictures: the array `key`.

What bears it is made again when its picture changes, is removed when that is gone, and is no scene
of an archive beside the picture itself.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

KEY = "seaice-{version}-{digest}"
_OURS = re.compile(r"seaice-\d+-[0-9a-f]{64}")


def of(path: Path) -> str | None:
    """The array `key` of a file; None where there is none, or it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return str(file["key"])
    except (
        *(OSError, ValueError, zipfile.BadZipFile, zlib.error, LookupError, EOFError),
        *(RuntimeError, TypeError, AttributeError),
    ):
        return None


def is_ours(path: Path) -> bool:
    return _OURS.fullmatch(of(path) or "") is not None
