"""Arrays of a Sentinel-3 SLSTR product: through satpy, or as they stand in the files.

satpy's reader `slstr_l1b` unpacks measurements. It is handed the files it is to read and no others:
with every file it is given it opens neighbours, which a partial product may lack, and each time it
is set up takes a tenth of a second. Every file is opened with h5py before, as one that is truncated
is then found by name and in one place. Flags are read with h5py: they are bits, and no unpacking
may touch them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cloudmask.cli.errors import missing
from cloudmask.data.formats.claims import LARGEST_ARRAY, check_dataset
from cloudmask.data.scene import SceneError, reason
from cloudmask.files import check_heaps, open_hdf5

AGAIN = "download the product again"
Kind = Literal["radiance_an", "BT_in", "radiance_ao", "BT_io"]
"""of a band's file: what it holds, on which grid (a: 500 m, i: 1 km), of which view"""


class Bands:
    """Measurements of one view as satpy gives them, read one by one as they are asked for."""

    def __init__(
        self,
        product: Path,
        bands: Sequence[str],
        *,
        kind: Kind,
        gains: Mapping[str, float] | None = None,
    ) -> None:
        """`gains` multiply the radiances of the bands they name, in place of satpy's own.

        SceneError if satpy is not installed or cannot open the files.
        """
        self._product = product
        self._files = {band: f"{band}_{kind}.nc" for band in bands}
        try:
            from satpy.dataset.dataid import DataQuery
            from satpy.scene import Scene as SatpyScene
        except ImportError as error:
            problem = f"cannot be read ({error})"
            raise SceneError(product, problem, missing("satpy", "products")) from None
        grid: dict[str, Any] = {"stripe": "i", "resolution": 1000}
        if kind in ("radiance_an", "radiance_ao"):
            grid = {"stripe": "a", "resolution": 500, "calibration": "radiance"}
        view = "nadir" if kind.endswith("n") else "oblique"
        queries = {band: DataQuery(name=band, view=view, **grid) for band in bands}
        calibration = {f"{band}_{view}": gain for band, gain in (gains or {}).items()}
        with _quiet(), _reading(product, " or ".join(self._files.values())):
            scene = SatpyScene(
                filenames=[str(product / file) for file in self._files.values()],
                reader="slstr_l1b",
                reader_kwargs={"user_calibration": calibration},
            )
            scene.load(list(queries.values()))
            self._arrays = {band: scene[query] for band, query in queries.items() if query in scene}

    def read(self, band: str, shape: tuple[int, int]) -> np.ndarray:
        """`shape` float64: mW m-2 sr-1 nm-1 or K, NaN where the file has its fill. SceneError."""
        if band not in self._arrays:
            raise SceneError(self._product, f"{self._files[band]} holds no {band}", AGAIN)
        with _quiet(), _reading(self._product, self._files[band]):
            return _checked(self._product, band, self._arrays[band], shape).to_numpy()


def check_readable(product: Path, files: Sequence[str]) -> None:
    """SceneError that names the first file that is no whole NetCDF-4 file."""
    for file in files:
        with _reading(product, file):
            check_heaps(product / file)
        with _opened(product, file):
            pass


def is_there(product: Path, file: str) -> bool:
    """Whether the product has this file at all."""
    return (product / file).is_file()


def holds(product: Path, file: str, name: str) -> bool:
    """Whether the file has a variable of this name. SceneError."""
    with _opened(product, file) as opened:
        return name in opened


def read_raw(
    product: Path, file: str, name: str, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """A variable as it stands in the file, packed. SceneError.

    Before it is read its shape is known to be `shape`; where none is given, it has no more numbers
    than a variable of a product can have, and no more than can be made of its bytes in the file.
    """
    with _opened(product, file) as opened:
        if name not in opened:
            raise SceneError(product, f"{file} holds no {name}", AGAIN)
        variable = _checked(product, name, opened[name], shape)
        check_dataset(name, variable)
        if variable.size > LARGEST_ARRAY:
            raise ValueError(f"'{name}' has shape {variable.shape}, no product is so large")
        return variable[...]


def read_decoded(product: Path, file: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A variable unpacked after the CF conventions, NaN = fill value. SceneError."""
    with _quiet(), _reading(product, file):
        import xarray

        with xarray.open_dataset(product / file, decode_times=False) as dataset:
            return _checked(product, name, dataset[name], shape).to_numpy()


def read_attribute(product: Path, file: str, name: str) -> float:
    """A number that belongs to the file as a whole. SceneError."""
    with _opened(product, file) as opened:
        return np.ravel(opened.attrs[name]).item()


def _checked(product: Path, name: str, array: Any, shape: tuple[int, ...] | None) -> Any:
    """The same array, which need not be in memory. SceneError."""
    if shape is not None and array.shape != shape:
        raise SceneError(product, f"{name} has shape {array.shape}, expected {shape}", AGAIN)
    return array


@contextmanager
def _opened(product: Path, file: str) -> Iterator[Any]:
    with _reading(product, file), open_hdf5(product / file) as opened:
        yield opened


@contextmanager
def _reading(product: Path, where: str) -> Iterator[None]:
    """What h5py, xarray and satpy raise for damaged files becomes a SceneError."""
    try:
        yield
    except SceneError:
        raise
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        what = f"{type(error).__name__}: {reason(error)}"
        problem = f"{where} cannot be read, truncated or damaged ({what})"
        raise SceneError(product, problem, AGAIN) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """satpy logs whatever it was not given; what is needed is checked by who asks for it.

    Read in this thread: where many scenes are read, there is a process for every core.
    """
    import dask

    logger = logging.getLogger("satpy")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), dask.config.set(scheduler="synchronous"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
