"""Which Java Spark runs on: looked at before anything else is done, and told in one line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

OLDEST = 17
NEWEST = {"4.0": 21, "4.1": 21, "4.2": 25, "4.3": 25}
"""Spark -> the newest Java that its documentation names ("Spark runs on Java 17/21", since 4.2
"17/21/25"); of a newer Spark nothing is known"""
_SECONDS = 60


def check(spark: str) -> None:
    """ValueError unless the Java that Spark will start runs this version of Spark."""
    newest = NEWEST.get(".".join(spark.split(".")[:2]))
    wanted = f"Java {OLDEST} or newer" if newest is None else f"Java {OLDEST} to {newest}"
    advice = (
        f"Spark {spark} needs {wanted}; install it and set JAVA_HOME, or use --engine processes"
    )
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if not java or not os.access(java, os.X_OK) or Path(java).is_dir():
        raise ValueError(f"no Java found{f' in JAVA_HOME {home}' if home else ''}: {advice}")
    version = _version(java, advice)
    if version < OLDEST or (newest is not None and version > newest):
        where = f"JAVA_HOME {home}" if home else java
        raise ValueError(f"{where} is Java {version}: {advice}")


def _version(java: str, advice: str) -> int:
    """Its first number; of Java 8 and before, which is 1.8, the second. ValueError."""
    try:
        done = subprocess.run([java, "-version"], capture_output=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{java} does not start ({error}): {advice}") from None
    told = (done.stderr + done.stdout).decode(errors="replace")
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    if done.returncode or not found:
        line = next(filter(None, map(str.strip, told.splitlines())), f"code {done.returncode}")
        raise ValueError(f"{java} does not start ({line[:200]}): {advice}")
    return int(found[1])
