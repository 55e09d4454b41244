"""The map on Spark: paths go out, counts come back, masks are written by the workers.

`parallelize(paths).mapPartitions(...)` for files that every worker can open, and Spark's
`binaryFile` reader for objects behind a URI. Nothing but items and outcomes travels: no pictures,
no masks. Without a master the embedded one is used, `local[*]`. The only user of PySpark here.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from cloudmask.cli.errors import missing
from cloudmask.data.parallel import Outcome
from seaice.io import sources
from seaice.io.sources import LeftOut, Listed, Source, is_uri

OLDEST_JAVA = 17
TASKS_PER_CORE = 4  # scenes differ; whoever is done early takes more
_LOCAL = ("local", "local-cluster")


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
    with _context(master) as context:
        started = time.perf_counter()
        tasks = min(len(items), TASKS_PER_CORE * max(2, context.defaultParallelism))
        fetched = isinstance(items[0], Source) and is_uri(items[0].place)
        source = _objects(context, items, tasks) if fetched else context.parallelize(items, tasks)
        context.parallelize(range(tasks), tasks).foreachPartition(functools.partial(_warm, work))
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
        hadoop = context._jvm.org.apache.hadoop.fs
        found = []
        left_out = LeftOut()
        for uri in uris:
            top = hadoop.Path(uri)
            system = top.getFileSystem(context._jsc.hadoopConfiguration())
            if not system.exists(top):
                raise ValueError(f"{uri} does not exist; give objects or folders of them")
            start = system.getFileStatus(top).getPath().toString()
            files, listed_files = system.listFiles(top, True), []
            while files.hasNext():
                status = files.next()
                place = status.getPath().toString()
                below = PurePosixPath(place.removeprefix(start).lstrip("/")).parts
                parts = below or (PurePosixPath(place).name,)
                size, modified = status.getLen(), status.getModificationTime()
                listed_files.append(Listed(place, parts, size, modified))
            found += sources.scenes_of(listed_files, left_out)
        found = sources.unique(found, left_out)
        left_out.tell()
        return found


def _key(item: Any) -> Any:
    return item.place if isinstance(item, Source) else item


def _on_partition(
    work: Callable[[Any], Outcome[Any]], items: Iterable[Any]
) -> Iterator[tuple[Any, Outcome[Any] | None, OSError | None]]:
    """What came of each item: never an exception, which would cost Spark the whole task."""
    for item in items:
        try:
            yield _key(item), work(item), None
        except OSError as error:
            yield _key(item), None, error


def _warm(work: object, items: Iterable[int]) -> None:
    """Bring up a worker; unpickling `work` has loaded the libraries."""
    for _ in items:
        pass


def _objects(context: Any, items: Sequence[Source], tasks: int) -> Any:
    """An RDD of sources with their content, in about so many partitions."""
    from pyspark.sql import SparkSession

    empty = [replace(item, content=b"") for item in items if not item.size_bytes]
    known = {item.place: item for item in items if item.size_bytes}
    parts = [context.parallelize(empty, 1)] if empty else []
    if known:
        session = SparkSession(context)
        size = max(1 << 20, sum(item.size_bytes for item in known.values()) // tasks)
        session.conf.set("spark.sql.files.maxPartitionBytes", str(size))
        session.conf.set("spark.sql.files.openCostInBytes", "0")
        frame = session.read.format("binaryFile").load(list(known)).select("path", "content")
        parts.append(frame.rdd.mapPartitions(functools.partial(_with_content, known)))
    return context.union(parts)


def _with_content(known: dict[str, Source], rows: Iterable[Any]) -> Iterator[Source]:
    for row in rows:
        yield replace(known[row.path], content=bytes(row.content))


@contextlib.contextmanager
def _context(master: str | None) -> Iterator[Any]:
    """A Spark context, quiet and stopped in the end. ValueError for what the user can mend."""
    _check_java()
    # It looks at pandas, which nothing here needs, and finds it too new.
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")
    try:
        from py4j.protocol import Py4JError
        from pyspark import SparkConf, SparkContext
        from pyspark.errors import PySparkException
    except ImportError as error:
        raise ValueError(f"{missing('PySpark', 'spark')} ({error})") from None
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory(prefix="seaice-spark-") as folder, _quiet() as log:
        try:
            conf = SparkConf().setIfMissing("spark.app.name", "seaice")
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
    """The cause in one line: Java's own, if it names one, else the end of the log."""
    java = getattr(error, "java_exception", None)
    text = str(java) if java is not None else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or "JAVA_GATEWAY" in text:
        lines = [*lines, *log.read_text(errors="replace").split("\n")[-3:]]
    return lines[0][:300] if lines else type(error).__name__


def _check_java() -> None:
    """ValueError unless there is a Java that runs Spark 4."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    advice = f"Spark needs Java {OLDEST_JAVA} or newer; install it, or use --engine processes"
    if not java or not os.access(java, os.X_OK):
        raise ValueError(f"no Java found{f' in JAVA_HOME {home}' if home else ''}: {advice}")
    told = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
    version = re.search(r'version "(\d+)', told)
    if version and int(version[1]) < OLDEST_JAVA:
        raise ValueError(f"{java} is Java {version[1]}: {advice}")
