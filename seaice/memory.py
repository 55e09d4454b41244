"""How many workers the memory of this host holds, each with the largest scene there is."""

from __future__ import annotations

from collections.abc import Sequence

from cloudmask import host
from seaice.io.picture import Reading, open_scene
from seaice.io.sources import Source, is_uri

BYTES_PER_PIXEL = 9
"""of the work on a scene, the most of `label`, `scenes` and `prepare`; an .npz is held in memory
with its picture; measured by `python -m benchmarks tile_seaice`"""
BYTES_OF_PROGRAM = 300 * 2**20
"""of a process with its libraries, and with the blocks in hand"""
LOOKED_AT = 16
"""largest files whose headers are looked at"""


def bytes_of_worker(sources: Sequence[Source], reading: Reading) -> int:
    """What a worker takes at the scene of the most pixels, as far as the largest files tell.

    What cannot be read is left to whoever works on it.
    """
    largest = sorted(sources, key=lambda source: source.size_bytes)[-LOOKED_AT:]
    pixels = max((_pixels(source, reading) for source in largest), default=0)
    return BYTES_OF_PROGRAM + BYTES_PER_PIXEL * pixels


def _pixels(source: Source, reading: Reading) -> int:
    if is_uri(source.place):
        return 0
    if source.place.endswith(".npz"):  # no header alone can be read
        return source.size_bytes // 3
    try:
        with open_scene(source, reading) as scene:
            return scene.shape[0] * scene.shape[1]
    except (OSError, ValueError):
        return 0


def fitting(wanted: int, each: int, *, free: int | None = None) -> int:
    """Of `wanted` workers that take `each` bytes, as many as fit into free memory; 1 or more."""
    free = host.free_memory_bytes() if free is None else free
    return max(1, min(wanted, free // each))


def told(workers: int, each: int, *, free: int | None = None) -> str:
    """How much so many workers take of how much."""
    free = host.free_memory_bytes() if free is None else free
    gib = [f"{value / 2**30:.1f} GiB" for value in (each, free)]
    return f"{workers} x {gib[0]} for the largest scene, and {gib[1]} of memory is free"
