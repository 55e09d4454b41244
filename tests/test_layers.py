"""The floors of the code: imports point downwards, and each heavy dependency has one home."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("tensorflow", "keras", "horovod", "mpi4py")
EXTRAS = ("satpy", "xarray", "netCDF4", "h5netcdf", "scipy", "matplotlib", "jinja2", "tensorboard")
EXTRAS += ("mlperf_logging",)

# Each may import from floors below its own and, within a package, from its neighbours.
FLOORS = [
    {"config", "metrics", "runlog", "command"},
    {"agreement", "calibration"},
    {"mllog_entries"},
    {"mllog"},
    {"data", "model"},
    {"keras_file"},
    {"train"},
    {"predict", "evaluate_patches", "evaluate_scenes", "report"},
    {"evaluate"},
    {"__main__"},
]
SAME_FLOOR = {("command", "config")}


def modules(folder):
    """Path below the root -> what it imports: (module names, those only needed for types)."""
    paths = sorted((ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): imports(path) for path in paths}


def imports(path):
    """Modules that a file imports anywhere, inside functions too, but not for type checks alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def uses(names, package):
    return any(name == package or name.startswith(f"{package}.") for name in names)


def part_of(name):
    """cloudmask.train.step.decode -> train; cloudmask.__version__ -> nothing."""
    words = name.split(".")
    known = set.union(*FLOORS)
    return words[1] if words[0] == "cloudmask" and len(words) > 1 and words[1] in known else None


def test_every_part_of_the_package_has_a_floor():
    inside = (ROOT / "cloudmask").iterdir()
    parts = {path.stem for path in inside if path.suffix == ".py" or path.is_dir()}
    assert parts - {"__init__", "__pycache__", "presets"} <= set.union(*FLOORS)


def test_imports_point_downwards():
    floor_of = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
    for path, names in modules("cloudmask").items():
        mine = Path(path).parts[1].removesuffix(".py")
        for other in {part_of(name) for name in names} - {None, mine}:
            allowed = floor_of[other] < floor_of[mine] or (mine, other) in SAME_FLOOR
            assert allowed, f"{path} imports {other}"


@pytest.mark.parametrize(
    ("package", "home"),
    [("mpi4py", "cloudmask/data/parallel.py"), ("horovod", "cloudmask/train/ranks.py")],
)
def test_each_heavy_dependency_has_one_home(package, home):
    users = [path for path, names in modules("cloudmask").items() if uses(names, package)]
    assert users == [home]
    assert not uses(imports(ROOT / "train_hvd.py"), package)


def test_data_never_imports_a_network():
    for path, names in modules("cloudmask/data").items():
        for package in ("tensorflow", "keras", "horovod"):
            assert not uses(names, package), f"{path} imports {package}"


def test_networks_know_neither_ranks_nor_files():
    for path, names in modules("cloudmask/model").items():
        for package in ("horovod", "mpi4py", "h5py", "cloudmask.data", "cloudmask.train"):
            assert not uses(names, package), f"{path} imports {package}"


def test_metrics_take_numpy_alone():
    names = imports(ROOT / "cloudmask" / "metrics.py")
    outside = {name.split(".")[0] for name in names} - sys.stdlib_module_names
    assert outside == {"numpy"}


def test_the_study_reads_files_and_imports_nothing_of_the_program():
    for path, names in modules("scaling").items():
        assert not uses(names, "cloudmask"), path


def test_networks_and_training_name_no_sensor():
    for folder in ("cloudmask/model", "cloudmask/train"):
        for path in (ROOT / folder).glob("*.py"):
            text = path.read_text().lower()
            for word in ("slstr", "sentinel", "sea ice", "seaice", "landsat"):
                assert word not in text, f"{path.name} names {word}"


def test_the_entry_is_a_table_of_contents():
    assert len((ROOT / "train_hvd.py").read_text().splitlines()) < 60


BLOCKED = """
import importlib, pkgutil, runpy, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is not installed here", name=name)

sys.meta_path.insert(0, Blocker())

def main(path, words, run=runpy.run_path):
    sys.argv = [path, *words]
    try:
        run(path, run_name="__main__")
    except SystemExit as stop:
        assert not stop.code, (path, words, stop.code)

import cloudmask, cloudmask.data
for module in pkgutil.walk_packages(cloudmask.data.__path__, "cloudmask.data."):
    importlib.import_module(module.name)
from cloudmask.__main__ import COMMANDS
main("cloudmask", ["--help"], runpy.run_module)
for command in COMMANDS:
    main("cloudmask", [command, "--help"], runpy.run_module)
main("train_hvd.py", ["--help"])
assert not [name for name in sys.modules if name.partition(".")[0] in BLOCKED]
"""


@pytest.mark.parametrize("extras", [(), EXTRAS])
def test_data_and_help_work_where_nothing_heavy_is_installed(extras):
    code = f"BLOCKED = {(*HEAVY, *extras)}\n{BLOCKED}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore::RuntimeWarning", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "usage: cloudmask COMMAND" in done.stdout
    for program in ("cloudmask prepare", "cloudmask evaluate", "train_hvd.py"):
        assert f"usage: {program} [-h]" in done.stdout
