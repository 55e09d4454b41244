"""Cloud and sea-ice masks from satellite scenes: U-Nets trained on many ranks with Horovod.

    model = cloudmask.load("run")
    scene = cloudmask.read_scene("scene.hdf", need_label=False)
    mask = model.predict(scene.image, channels=scene.channels)

Nothing is imported before it is used: TensorFlow comes with the first `load`.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from cloudmask.version import __version__

if TYPE_CHECKING:
    from cloudmask.data.patchset.open import open_patchset
    from cloudmask.data.read import read_scene
    from cloudmask.data.slstr import Reading
    from cloudmask.predict.masks import Mask
    from cloudmask.predict.model import Model, load

# HDF5 reads this when it is loaded. Its locks fail on file systems that have none (NFS, Lustre),
# and nobody writes into a file that is read here. A single open could do without; but xarray and
# satpy open files as well, with two copies of HDF5. Who says TRUE has locks.
if os.environ.get("HDF5_USE_FILE_LOCKING", "BEST_EFFORT") == "BEST_EFFORT":
    os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"

__all__ = ["Mask", "Model", "Reading", "__version__", "load", "open_patchset", "read_scene"]

_HOMES = {
    "Mask": "cloudmask.predict.masks",
    "Model": "cloudmask.predict.model",
    "Reading": "cloudmask.data.slstr",
    "load": "cloudmask.predict.model",
    "open_patchset": "cloudmask.data.patchset.open",
    "read_scene": "cloudmask.data.read",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cloudmask' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
