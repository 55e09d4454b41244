"""What of seaice runs where its libraries, or those of flags, are not installed."""

import subprocess
import sys

import pytest
from imports import ROOT

LIBRARIES = ("cv2", "skimage", "rasterio", "pyspark", "py4j", "jinja2")
HEAVY = ("tensorflow", "keras", "horovod", "mpi4py", "h5netcdf")


BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is not installed here", name=name)

sys.meta_path.insert(0, Blocker())
"""
HELP = """
from cloudmask.cli import errors
from seaice.__main__ import COMMANDS, main
assert not main(["--help"])
for name in COMMANDS:
    try:
        main([name, "--help"])
    except SystemExit as stop:
        assert not stop.code
sys.exit(errors.run(main, sys.argv[1:], program="seaice"))
"""


def without(libraries, code, *words):
    """Run Python code where some libraries cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", f"BLOCKED = {libraries}\n{BLOCKER}{code}", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_the_map_function_needs_no_command_line():
    """Executors of Spark get the sources as an archive, and need not have what reads flags."""
    code = "from seaice import engines, one_scene, spark"
    done = without(("tyro", "yaml", *HEAVY), code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("libraries", "words", "said"),
    [
        (LIBRARIES, (), "OpenCV is not installed: pip install '.[seaice]'"),
        (("rasterio",), (), "rasterio is not installed: pip install '.[seaice]'"),
        (
            ("pyspark", "py4j"),
            ("--engine", "spark"),
            "PySpark is not installed: pip install '.[spark]'",
        ),
    ],
)
def test_help_needs_no_library_and_work_says_what_to_install(tmp_path, libraries, words, said):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"not looked at")
    label = ["label", tmp_path, "--out", tmp_path / "out", *words]
    done = without((*HEAVY, *libraries), HELP, *label)
    assert done.returncode == 1, done.stderr
    assert f"error: {said} " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    for name in ("synth", "label", "prepare", "scenes", "evaluate"):
        assert f"usage: seaice {name} [-h]" in done.stdout
