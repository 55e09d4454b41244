"""The map on Spark: paths go out, counts come back, masks are written by the workers.

`parallelize(paths).mapPartitions(...)` for files that every worker can open, and Spark's
`binaryFile` reader for objects behind a URI. Nothing but items and outcomes travels: no pictures,
no masks. Without a master the embedded one is used, `local[*]`. Nobody else here uses PySpark.

Spark runs a task again where an executor was lost. What such a task has done before stands on the
disk, whole, and the work finds it there by its record: so it is not done twice.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from cloudmask.data.parallel import Outcome
from seaice.io import sources
from seaice.io.listing import LeftOut, Listed
from seaice.io.sources import Source, is_uri
from seaice.spark_session import lacks, session

TASKS_PER_CORE = 4  # scenes differ; whoever is done early takes more
MOST_BYTES = 2**31 - 1 - 2**20  # of an object: what a Java array holds, less what is around it
NEEDED = ("cv2", "numpy", "pyproj", "rasterio")
"""packages without which no scene is worked on"""


def default_master(workers: int | None) -> str | None:
    """spark-submit's own if it started us (None), else the embedded one."""
    if workers is None and "PYSPARK_GATEWAY_PORT" in os.environ:
        return None
    return f"local[{workers or '*'}]"


def outcomes(
    work: Callable[[Any], Outcome[Any]],
    items: Sequence[Any],
    *,
    master: str | None,
    seconds: dict[str, float],
) -> Iterator[Outcome[Any]]:
    """What `work` makes of the items, in their order; an OSError of a worker is raised here.

    `seconds` fills with start_up (the session), load (items sent out, workers started and their
    libraries loaded) and map_reduce.
    """
    if not items:
        return
    began = time.perf_counter()
    with session(master) as context:
        started = time.perf_counter()
        tasks = min(len(items), TASKS_PER_CORE * max(2, context.defaultParallelism))
        warm = functools.partial(_warm, work)
        _complain(context.parallelize(range(tasks), tasks).mapPartitions(warm).collect())
        fetched = isinstance(items[0], Source) and is_uri(items[0].place)
        source = _objects(context, items, tasks) if fetched else context.parallelize(items, tasks)
        loaded = time.perf_counter()
        numbered = source.mapPartitions(functools.partial(_on_partition, work)).collect()
        seconds["start_up"] = started - began
        seconds["load"] = loaded - started
        seconds["map_reduce"] = time.perf_counter() - loaded
    order = {_key(item): index for index, item in enumerate(items)}
    for _, outcome, problem in sorted(numbered, key=lambda found: order[found[0]]):
        if problem is not None:
            raise problem
        yield outcome


def listed(uris: Sequence[str], master: str | None) -> list[Source]:
    """Pictures behind the URIs, without their content. ValueError.

    Hadoop is asked, as `binaryFile` passes over empty files, and those are to be told of.
    """
    with session(master) as context:
        found, left_out = [], LeftOut()
        for uri in uris:
            found += sources.scenes_of(_files(context, uri), left_out)
        found = sources.unique(found, left_out)
        left_out.tell()
        return found


def _files(context: Any, uri: str) -> Iterator[Listed]:
    """All objects below a URI, or that one."""
    system, top = _opened(context, uri)
    start = system.getFileStatus(top).getPath().toString()
    files = system.listFiles(top, True)
    while files.hasNext():
        status = files.next()
        place = status.getPath().toString()
        below = PurePosixPath(place.removeprefix(start).lstrip("/")).parts
        parts = below or (PurePosixPath(place).name,)
        yield Listed(place, parts, status.getLen(), status.getModificationTime())


def _opened(context: Any, uri: str) -> tuple[Any, Any]:
    """The file system of a URI and its path there. ValueError if it does not exist.

    Hadoop takes a name as it stands. A `file:` URI of another program has %20 for a blank.
    """
    hadoop = context._jvm.org.apache.hadoop.fs
    spellings = dict.fromkeys((uri, unquote(uri)))
    for spelling in spellings:
        top = hadoop.Path(spelling)
        system = top.getFileSystem(context._jsc.hadoopConfiguration())
        if system.exists(top):
            return system, top
    raise ValueError(f"{uri} does not exist; give objects or folders of them")


def _key(item: Any) -> Any:
    return item.place if isinstance(item, Source) else item


def _on_partition(
    work: Callable[[Any], Outcome[Any]], items: Iterable[Any]
) -> Iterator[tuple[Any, Outcome[Any] | None, OSError | None]]:
    """What came of each item: never an exception, which would cost Spark the whole task."""
    for item in items:
        if isinstance(item, Source) and is_uri(item.place) and item.content is None:
            gigabytes = item.size_bytes / 1e9
            too_large = f"{item.place} has {gigabytes:.1f} GB; Spark hands over 2 at most: copy it"
            yield _key(item), Outcome(error=f"{too_large} to a folder"), None
            continue
        try:
            yield _key(item), work(item), None
        except OSError as error:
            yield _key(item), None, error


def _warm(work: object, items: Iterable[int]) -> Iterator[tuple[str, str]]:
    """Bring up a worker: unpickling `work` has loaded the libraries. Its Python and what it lacks.

    Packages that are loaded when they are needed would else fail scene by scene.
    """
    for _ in items:
        pass
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            yield sys.executable, name


def _complain(lacking: Sequence[tuple[str, str]]) -> None:
    """ValueError if workers lack packages."""
    if lacking:
        pythons = ", ".join(sorted({python for python, _ in lacking}))
        raise ValueError(lacks(", ".join(sorted({name for _, name in lacking})), pythons))


def _objects(context: Any, items: Sequence[Source], tasks: int) -> Any:
    """An RDD of sources with their content, in about so many partitions.

    Empty objects, which `binaryFile` passes over, and those that are too large come without.
    """
    from pyspark.sql import SparkSession

    apart = [item for item in items if not 0 < item.size_bytes <= MOST_BYTES]
    bare = [replace(item, content=None if item.size_bytes else b"") for item in apart]
    known = {item.place: item for item in items if 0 < item.size_bytes <= MOST_BYTES}
    parts = [context.parallelize(bare, 1)] if bare else []
    if known:
        sql = SparkSession(context)
        size = max(1 << 20, sum(item.size_bytes for item in known.values()) // tasks)
        sql.conf.set("spark.sql.files.maxPartitionBytes", str(size))
        sql.conf.set("spark.sql.files.openCostInBytes", "0")
        # These are names: neither patterns (and no escapes name them all: a colon in a folder) nor
        # folders whose names tell of columns (year=2019).
        options = {"__globPaths__": "false", "recursiveFileLookup": "true"}
        reader = sql.read.format("binaryFile").options(**options)
        frame = reader.load(list(known)).select("path", "content")
        parts.append(frame.rdd.mapPartitions(functools.partial(_with_content, known)))
    return context.union(parts)


def _with_content(known: dict[str, Source], rows: Iterable[Any]) -> Iterator[Source]:
    for row in rows:
        yield replace(known[row.path], content=bytes(row.content))
