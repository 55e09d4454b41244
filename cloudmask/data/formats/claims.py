"""What a file claims to hold, checked before memory is taken: a header can ask for any size."""

from __future__ import annotations

from typing import Any

LARGEST_ARRAY = 2**27
"""numbers in an array of a product; those of real ones have some 7 million"""
SMALL = 2**26
"""bytes of an array that is read whatever it is made of"""
_DENSEST = 1100
"""bytes that one byte of an HDF5 file may become: gzip packs 1032 into one"""


def check_dataset(name: str, dataset: Any) -> None:
    """ValueError for an HDF5 dataset that is larger than its stored bytes can make it."""
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > max(SMALL, _DENSEST * stored):
        raise ValueError(f"'{name}' would have {dataset.nbytes} bytes, made of {stored}")
