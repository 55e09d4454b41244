"""The floors of seaice, and that its help needs none of its libraries."""

import subprocess
import sys

import pytest
from test_layers import HEAVY, ROOT, modules, uses

LIBRARIES = ("cv2", "skimage", "tifffile", "pyspark", "py4j")


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        ("cv2", {"seaice/opencv.py"}),
        ("pyspark", {"seaice/spark.py"}),
        ("py4j", {"seaice/spark.py"}),
        ("tifffile", {"seaice/geotiff.py"}),
    ],
)
def test_each_library_has_one_home(package, homes):
    assert {path for path, names in modules("seaice").items() if uses(names, package)} == homes


def test_labelling_needs_neither_networks_nor_their_ranks():
    for path, names in modules("seaice").items():
        for package in ("tensorflow", "keras", "horovod", "mpi4py", "cloudmask.train"):
            assert not uses(names, package), f"{path} imports {package}"


def test_the_pure_core_knows_no_files():
    for name in ("colour", "filter", "missing", "adaptive", "label"):
        names = modules("seaice")[f"seaice/{name}.py"]
        assert not any(uses(names, module) for module in ("os", "pathlib", "cloudmask"))


def test_cloudmask_knows_nothing_of_sea_ice():
    for path, names in modules("cloudmask").items():
        assert not uses(names, "seaice"), path


BLOCKED = """
import runpy, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is not installed here", name=name)

sys.meta_path.insert(0, Blocker())
from cloudmask import command
from seaice.__main__ import COMMANDS, main
assert not main(["--help"])
for name in COMMANDS:
    try:
        main([name, "--help"])
    except SystemExit as stop:
        assert not stop.code
sys.exit(errors.run(main, sys.argv[1:], program="seaice"))
"""


@pytest.mark.parametrize(
    ("libraries", "words", "said"),
    [
        (LIBRARIES, (), "OpenCV cannot be imported"),
        (("pyspark", "py4j"), ("--engine", "spark"), "PySpark cannot be imported"),
    ],
)
def test_help_needs_no_library_and_work_says_what_to_install(tmp_path, libraries, words, said):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"not looked at")
    code = f"BLOCKED = {(*HEAVY, *libraries)}\n{BLOCKED}"
    label = ["label", tmp_path, "--out", tmp_path / "out", *words]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, label)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert f"{said} " in done.stderr
    assert "pip install 'cloudmask[seaice]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    for name in ("synth", "label", "prepare", "scenes", "evaluate"):
        assert f"usage: seaice {name} [-h]" in done.stdout
