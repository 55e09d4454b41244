"""A session of Spark: checked, set up, quiet, and what went wrong with it in one line."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloudmask import host
from cloudmask.cli.errors import missing
from seaice import java

_LOCAL = ("local", "local-cluster")
_FILES = "org.apache.hadoop.fs.RawLocalFileSystem"


def check() -> None:
    """ValueError unless PySpark is there and Java runs it; nothing is started."""
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # else spark-submit has started Java
        java.check(_pyspark().__version__)


@contextlib.contextmanager
def session(master: str | None) -> Iterator[Any]:
    """A Spark context, quiet and stopped in the end. ValueError for what the user can mend."""
    check()
    from py4j.protocol import Py4JError
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkException

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory(prefix="seaice-spark-") as folder, _quiet() as log:
        try:
            conf = SparkConf().setIfMissing("spark.app.name", "seaice")
            # A second copy of a task that is merely slow would write the same files again.
            conf.set("spark.speculation", "false")
            # The usual one keeps checksums in files whose names Hadoop cannot take a colon in.
            conf.setIfMissing(
                "spark.hadoop.fs.file.impl", "org.apache.hadoop.fs.RawLocalFileSystem"
            )
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
        # Java's own share is 1 GB, and an object is held there several times.
        megabytes = max(1024, host.free_memory_bytes() // 2 // 2**20)
        conf.setIfMissing("spark.driver.memory", f"{megabytes}m")
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
        return lacks(found[1], python)
    if found := re.search(r'Cannot run program "([^"]+)"', text):
        return f"the workers cannot start {found[1]}: PYSPARK_PYTHON must name a Python of theirs"
    if found := re.search(r"PYTHON_VERSION_MISMATCH\] ([^\n]+)", text):
        return f"{found[1].strip()[:200]} PYSPARK_PYTHON must name a Python of the same version"
    if "SparkContext was shut down" in text:
        return (
            "Java ended, perhaps for want of memory; copy large objects to a folder and give that, "
            "or start with spark-submit and more --driver-memory"
        )
    if "ExecutorLostFailure" in text:
        return (
            "executors were lost again and again, perhaps for want of memory; run the same command "
            "again, which does what is left"
        )
    if not lines or "JAVA_GATEWAY" in text:
        lines = [*lines, *log.read_text(errors="replace").split("\n")[-3:]]
    return lines[0][:300] if lines else type(error).__name__


def lacks(packages: str, python: str) -> str:
    return (
        f"the Python of Spark's workers, {python}, lacks {packages}: each worker needs the "
        "packages of pip install '.[seaice]', and PYSPARK_PYTHON must name the Python that has them"
    )
