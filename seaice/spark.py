"""The map on Spark: paths go out, counts come back, masks are written by the workers.

`parallelize(paths).mapPartitions(...)` for files that every worker can open, and Spark's
`binaryFile` reader for objects behind a URI. Nothing but items and outcomes travels: no pictures,
no masks. Without a master the embedded one is used, `local[*]`. The only user of PySpark here.

Spark runs a task again where an executor was lost. What such a task has done before stands on the
disk, whole, and the work finds it there by its record: so it is not done twice.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from cloudmask.cli.errors import missing
from cloudmask.data.parallel import Outcome
from seaice import java
from seaice.io import sources
from seaice.io.sources import LeftOut, Listed, Source, is_uri

TASKS_PER_CORE = 4  # scenes differ; whoever is done early takes more
MOST_BYTES = 2**31 - 1 - 2**20  # of an object: what a Java array holds, less what is around it
NEEDED = ("cv2", "numpy", "pyproj", "rasterio")
"""packages without which no scene is worked on"""
_LOCAL = ("local", "local-cluster")
_HADOOP = "org.apache.hadoop.fs"


def default_master(workers: int | None) -> str | None:
    """spark-submit's own if it started us (None), else the embedded one."""
    if workers is None and "PYSPARK_GATEWAY_PORT" in os.environ:
        return None
    return f"local[{workers or '*'}]"


def check() -> None:
    """ValueError unless PySpark is there and Java runs it; nothing is started."""
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # else spark-submit has started Java
        java.check(_pyspark().__version__)


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
    with _context(master) as context:
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
    with _context(master) as context:
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
        raise ValueError(_lacks(", ".join(sorted({name for _, name in lacking})), pythons))


def _lacks(packages: str, python: str) -> str:
    return (
        f"the Python of Spark's workers, {python}, lacks {packages}: each worker needs the "
        "packages of pip install '.[seaice]', and PYSPARK_PYTHON must name the Python that has them"
    )


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
        session = SparkSession(context)
        size = max(1 << 20, sum(item.size_bytes for item in known.values()) // tasks)
        session.conf.set("spark.sql.files.maxPartitionBytes", str(size))
        session.conf.set("spark.sql.files.openCostInBytes", "0")
        # These are names, not patterns; an escaped pattern cannot name them all (a colon, say).
        reader = session.read.format("binaryFile").option("__globPaths__", "false")
        frame = reader.load(list(known)).select("path", "content")
        parts.append(frame.rdd.mapPartitions(functools.partial(_with_content, known)))
    return context.union(parts)


def _with_content(known: dict[str, Source], rows: Iterable[Any]) -> Iterator[Source]:
    for row in rows:
        yield replace(known[row.path], content=bytes(row.content))


@contextlib.contextmanager
def _context(master: str | None) -> Iterator[Any]:
    """A Spark context, quiet and stopped in the end. ValueError for what the user can mend."""
    check()
    from py4j.protocol import Py4JError
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkException

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory(prefix="seaice-spark-") as folder, _quiet() as log:
        try:
            conf = SparkConf().setIfMissing("spark.app.name", "seaice")
            # A second copy of a task that is merely slow would write the same files at the same time.
            conf.set("spark.speculation", "false")
            # The usual one keeps checksums in files whose names Hadoop cannot take a colon in.
            conf.setIfMissing("spark.hadoop.fs.file.impl", f"{_HADOOP}.RawLocalFileSystem")
            if master is not None:
                _set_up(conf, master, folder)
            context = SparkContext(conf=conf)
        except (Py4JError, PySparkException, RuntimeError) as error:
            raise ValueError(f"Spark does not start: {_first_line(error, log)}") from None
        application = str(context.applicationId)
        try:
            context.setLogLevel("OFF")
            yield context
        except (Py4JError, PySparkException) as error:
            raise ValueError(f"Spark gave up: {_first_line(error, log)}") from None
        finally:
            context.stop()
            if str(master).startswith("local-cluster"):
                _remove_work(application)


def _pyspark() -> Any:
    # It looks at pandas, which nothing here needs, and finds it too new.
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")
    try:
        import pyspark
    except ImportError as error:
        raise ValueError(f"{missing('PySpark', 'spark')} ({error})") from None
    return pyspark


def _set_up(conf: Any, master: str, folder: str) -> None:
    """Settings for a master that we choose; spark-submit brings its own."""
    conf.setMaster(master).set("spark.ui.enabled", "false")
    conf.set("spark.ui.showConsoleProgress", "false")
    if re.split(r"[\[:]", master)[0] in _LOCAL:
        conf.set("spark.driver.host", "127.0.0.1").set("spark.driver.bindAddress", "127.0.0.1")
        conf.set("spark.local.dir", folder)
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    conf.set("spark.executorEnv.PYTHONPATH", path)


def _remove_work(application: str) -> None:
    """What executors of a local cluster leave below the installed PySpark: it cannot be moved."""
    import pyspark

    work = Path(pyspark.__file__).parent / "work"
    shutil.rmtree(work / application, ignore_errors=True)
    with contextlib.suppress(OSError):
        work.rmdir()


@contextlib.contextmanager
def _quiet() -> Iterator[Path]:
    """Let the JVM write its log to a file rather than to the terminal."""
    with tempfile.NamedTemporaryFile(prefix="seaice-spark-", suffix=".log") as told:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(told.fileno(), 2)
        python, sys.stderr = sys.stderr, os.fdopen(os.dup(kept), "w", buffering=1)
        try:
            yield Path(told.name)
        finally:
            sys.stderr.close()
            sys.stderr = python
            os.dup2(kept, 2)
            os.close(kept)


def _first_line(error: Exception, log: Path) -> str:
    """The cause in one line: what the workers met, else Java's own, else the end of the log."""
    java_error = getattr(error, "java_exception", None)
    text = str(java_error) if java_error is not None else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    python = os.environ.get("PYSPARK_PYTHON", sys.executable)
    if found := re.search(r"ModuleNotFoundError: No module named '([\w.]+)'", text):
        return _lacks(found[1], python)
    if found := re.search(r'Cannot run program "([^"]+)"', text):
        return f"the workers cannot start {found[1]}: PYSPARK_PYTHON must name a Python of theirs"
    if found := re.search(r"PYTHON_VERSION_MISMATCH\] ([^\n]+)", text):
        return f"{found[1].strip()[:200]} PYSPARK_PYTHON must name a Python of the same version"
    if "ExecutorLostFailure" in text:
        return (
            "executors were lost again and again, perhaps for want of memory; run the same command "
            "again, which does what is left"
        )
    if not lines or "JAVA_GATEWAY" in text:
        lines = [*lines, *log.read_text(errors="replace").split("\n")[-3:]]
    return lines[0][:300] if lines else type(error).__name__
