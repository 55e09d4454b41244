"""What a file of an archive is, by its name: a scene, a product, or something that is neither."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".jp2", ".npz")
"""of scenes in one file"""
PRODUCT = re.compile(
    r"(?P<name>S2[A-D]_MSI(?P<level>L1C|L2A)_(?P<date>\d{8}T\d{6})_N(?P<baseline>\d{4})_R\d{3}"
    r"_T(?P<tile>\d{2}[A-Z]{3})_\d{8}T\d{6}(_[A-Za-z0-9]+)?)(?P<ends>\.SAFE|\.zip|\.SAFE\.zip)?"
)
"""of Sentinel-2 since December 2016, after the product specification; then one tile a product"""
SCENE = ""
LONGEST_KEY = 200
"""bytes: a file name has 255 at most, and suffixes and what is written aside take some of them"""

_OF_TILE = r"T\d{2}[A-Z]{3}_\d{8}T\d{6}"
_FOLDERS = {
    "QI_DATA": "masks in QI_DATA",
    "AUX_DATA": "files in AUX_DATA",
    "HTML": "files in HTML",
    "preview": "previews",
}
_NAMES = (
    (rf"(.+-ql|quicklook|thumbnail|preview)\.(jpe?g|png)|{_OF_TILE}_PVI\.jp2", "quicklooks"),
    (r"banner_\d+\.png|star_bg\.jpg", "banners"),
    (rf"MSK_.+|{_OF_TILE}_(SCL|CLD|SNW)(_\d0m)?\.jp2", "masks"),
    (rf"{_OF_TILE}_(AOT|WVP|B\d[\dA])(_\d0m)?\.jp2", "single bands without their product"),
    (r".+\.nc", "masks .nc"),
    (r".+\.(aux\.xml|ovr|msk|[a-z]{2}w|wld|prj|rpb|imd)", "sidecars"),
    (r".+\.zip", "zip files not named as Sentinel-2 products"),
)


def kind(parts: Sequence[str]) -> str | None:
    """SCENE, what else it is in the plural, or None for what nobody takes for a scene.

    `parts` are the folders below the archive's top and the name of the file.
    """
    for folder in parts[:-1]:
        if folder.endswith(".SAFE"):
            return "files of .SAFE folders, which are read from disks alone"
        if folder in _FOLDERS:
            return _FOLDERS[folder]
    name = parts[-1]
    for pattern, told in _NAMES:
        if re.fullmatch(pattern, name, re.IGNORECASE) and not PRODUCT.fullmatch(name):
            return told
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in SUFFIXES or PRODUCT.fullmatch(name):
        return SCENE
    if name.startswith("."):
        return None
    return f"{suffix} files" if suffix else "files without a suffix"


def key(parts: Sequence[str]) -> str:
    """The name of a scene: its path in the archive, without suffix, with __ for /.

    Where that is longer than LONGEST_KEY bytes, its end is replaced by a hash of all of it.
    """
    known = PRODUCT.fullmatch(parts[-1])
    if known is not None:
        return _fitting(known["name"])
    name = PurePosixPath(parts[-1])
    known_suffix = name.suffix.lower() in (*SUFFIXES, ".safe", ".zip")
    return _fitting("__".join([*parts[:-1], name.stem if known_suffix else name.name]))


def _fitting(name: str) -> str:
    content = name.encode("utf-8", "surrogateescape")
    if len(content) <= LONGEST_KEY:
        return name
    end = "-" + hashlib.sha256(content).hexdigest()[:16]
    return content[: LONGEST_KEY - len(end)].decode("utf-8", "ignore") + end
