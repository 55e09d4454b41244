"""The rooms of the house: imports point downwards, never in a circle; heavy libraries have a home.

ROOMS is the table. A file belongs to the room with the longest path that fits it; a file of no room
fails. A room imports from itself and from the rooms that it names, which all stand above it in the
table. Imports inside functions and those for type checks count like all others.
"""

import functools
import subprocess
import sys

import pytest
from imports import ROOT, imports, uses

PACKAGES = ("cloudmask", "seaice", "scaling")
C, D = "cloudmask", "cloudmask/data"

# room: files and folders, rooms that it imports from
ROOMS = {
    "ground": (
        [
            f"{C}/{name}.py"
            for name in (
                "files",
                "host",
                "launcher",
                "metrics",
                "record",
                "text",
                "version",
            )
        ]
        + [f"{C}/cli/{name}.py" for name in ("__init__", "absent", "commands", "errors", "flags")]
        + [f"{C}/ledger/"],
        (),
    ),
    "values": (
        [
            f"{D}/{name}.py"
            for name in ("__init__", "acquisition", "classes", "kinds", "place", "scene", "slstr")
        ]
        + [f"{D}/dual.py", f"{D}/tiles.py", f"{D}/prepare/split.py"],
        ("ground",),
    ),
    "options": ([f"{C}/cli/options.py"], ("values",)),
    "ranks": ([f"{D}/parallel.py"], ("ground",)),
    "patchset": ([f"{D}/patchset/"], ("ground", "values")),
    "synthetic": ([f"{D}/synthetic/"], ("ground", "values", "options")),
    "formats": ([f"{D}/formats/"], ("ground", "values")),
    "archive": (
        [f"{D}/{n}.py" for n in ("archive", "entry", "once")],
        ("ground", "values", "patchset", "formats"),
    ),
    "read": ([f"{D}/read.py"], ("ground", "values", "formats")),
    "survey": ([f"{D}/survey.py"], ("ground", "values", "ranks", "archive", "read")),
    "prepare": (
        [f"{D}/prepare/"],
        ("ground", "values", "options", "ranks", "patchset", "archive", "read", "survey"),
    ),
    "model": ([f"{C}/model/"], ("ground",)),
    "describe": ([f"{C}/describe.py"], ("ground", "options", "model")),
    "train": ([f"{C}/train/"], ("ground", "options", "ranks", "patchset", "model")),
    "predict": (
        [f"{C}/predict/"],
        ("ground", "values", "options", "ranks", "archive", "read", "model"),
    ),
    "labels": (
        [f"{C}/labels/"],
        (
            *("ground", "values", "options", "ranks", "patchset", "archive", "read", "survey"),
            *("prepare", "model", "predict"),
        ),
    ),
    "evaluate": (
        [f"{C}/evaluate/"],
        (
            *("ground", "values", "options", "ranks", "patchset", "archive", "read", "survey"),
            *("model", "predict"),
        ),
    ),
    "mlcommons": ([f"{C}/mlcommons/"], ("ground", "options", "model")),
    "report": ([f"{C}/report/"], ("ground", "values", "options", "read", "model", "predict")),
    "front": (
        [f"{C}/__init__.py", f"{C}/__main__.py"],
        [
            *("ground", "values", "options", "patchset", "synthetic", "read"),
            "prepare",
            "predict",
            "labels",
            "evaluate",
            "mlcommons",
            "report",
            "describe",
        ],
    ),
    "entry": (["train_hvd.py"], ("ground", "options", "train")),
    "ice rule": (
        [f"seaice/{name}.py" for name in ("adaptive", "colour", "filter", "infrared", "missing")]
        + ["seaice/opencv.py", "seaice/rule.py", "seaice/survey.py"],
        ("ground", "values"),
    ),
    "ice files": (["seaice/io/"], ("ground", "values", "formats", "predict", "ice rule")),
    "ice": (
        ["seaice/"],
        (
            *("ground", "values", "options", "ranks", "patchset", "synthetic", "prepare"),
            *("predict", "evaluate", "ice rule", "ice files"),
        ),
    ),
    "study options": (["scaling/options.py"], ("ground",)),
    "record": (["scaling/record/"], ("ground",)),
    "inside": (["scaling/measure/inside/"], ("ground",)),
    "measure": (["scaling/measure/"], ("ground", "study options", "record", "inside")),
    "laws": (["scaling/laws/"], ("ground", "study options", "record")),
    "study page": (["scaling/report/"], ("ground", "study options", "record", "laws")),
    "check": (
        ["scaling/check/"],
        ("ground", "study options", "record", "laws", "study page"),
    ),
    "study": (
        ["scaling/"],
        ("ground", "study options", "measure", "laws", "study page", "check"),
    ),
}
# library: the files and folders that may import it, each of which does
HOMES = {
    "mpi4py": {f"{D}/parallel.py"},
    "horovod": {f"{C}/train/ranks.py", "scaling/measure/inside/allreduce.py"},
    "tensorflow": {
        *(f"{C}/model/", f"{C}/train/", f"{C}/predict/model.py", f"{C}/evaluate/patches.py"),
        "scaling/measure/inside/allreduce.py",
    },
    "keras": {f"{C}/model/", f"{C}/train/", f"{C}/predict/model.py"},
    "satpy": {f"{D}/formats/safe/arrays.py"},
    "fsspec": {f"{D}/formats/remote.py"},
    "zarr": {f"{D}/formats/eopf.py"},
    "h5netcdf": {f"{C}/predict/masks/netcdf.py", "seaice/series/netcdf.py"},
    "pyproj": {
        *(f"{C}/predict/masks/place.py", "seaice/ground.py", "seaice/series/overlap.py"),
        *("seaice/io/grid.py", "seaice/io/outlines.py"),
    },
    "rasterio": {f"{C}/predict/masks/geotiff.py", "seaice/io/", "seaice/series/"},
    "xarray": {
        *(f"{D}/formats/safe/arrays.py", f"{C}/predict/model.py", f"{C}/predict/xarrays.py"),
    },
    "mlperf_logging": {f"{C}/mlcommons/command.py"},
    "scipy": {
        f"{C}/model/calibration.py",
        *(f"{C}/labels/{name}.py" for name in ("surroundings", "unsupervised")),
        *(f"scaling/laws/{name}.py" for name in ("fitting", "region", "scatter", "against")),
        *(
            f"scaling/laws/{name}.py"
            for name in ("next_run", "time_to_target", "failures", "run_time")
        ),
    },
    "matplotlib": {f"{C}/report/", "scaling/report/", "seaice/series/chart.py"},
    "jinja2": {f"{C}/report/command.py", "scaling/report/page.py", "seaice/page.py"},
    "tyro": {f"{C}/cli/flags.py", f"{C}/cli/options.py", "scaling/options.py", "seaice/options.py"},
    "pyogrio": {"seaice/io/outlines.py", "seaice/series/regions.py"},
    "shapely": {"seaice/io/outlines.py", "seaice/series/regions.py"},
    "cv2": {"seaice/opencv.py"},
    "pyspark": {"seaice/spark.py", "seaice/spark_session.py"},
    "py4j": {"seaice/spark_session.py"},
}


@functools.cache
def modules():
    """Dotted name -> path below the root, of everything that is installed."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    found = {}
    for path in [*paths, ROOT / "train_hvd.py"]:
        place = path.relative_to(ROOT)
        words = place.with_suffix("").parts
        found[".".join(words[:-1] if words[-1] == "__init__" else words)] = place.as_posix()
    return found


@functools.cache
def names(place):
    """Full dotted names of everything that a file imports."""
    return frozenset(imports(ROOT / place, types=True))


@functools.cache
def arrows(place):
    """Paths of this project that a file imports: a module, else the one that holds the name."""
    found = set()
    for name in names(place):
        while name and name not in modules():
            name = name.rpartition(".")[0]
        if name:
            found.add(modules()[name])
    return frozenset(found - {place})


def room_of(place):
    fits = [
        (len(start), room)
        for room, (starts, _) in ROOMS.items()
        for start in starts
        if place == start or (start.endswith("/") and place.startswith(start))
    ]
    return max(fits)[1] if fits else None


def circles():
    """Groups of modules that import each other, directly or by others (Tarjan's algorithm)."""
    order, low, stack, found = {}, {}, [], []

    def visit(place):
        order[place] = low[place] = len(order)
        stack.append(place)
        for other in sorted(arrows(place)):
            if other not in order:
                visit(other)
                low[place] = min(low[place], low[other])
            elif other in stack:
                low[place] = min(low[place], order[other])
        if low[place] == order[place]:
            at = stack.index(place)
            group, stack[at:] = stack[at:], []
            if len(group) > 1:
                found.append(sorted(group))

    for place in modules().values():
        if place not in order:
            visit(place)
    return found


def test_every_file_stands_in_a_room_and_no_room_is_empty():
    rooms = {place: room_of(place) for place in modules().values()}
    assert [place for place, room in rooms.items() if room is None] == []
    assert set(rooms.values()) == set(ROOMS)


def test_the_table_itself_points_downwards():
    above = []
    for room, (_, others) in ROOMS.items():
        assert set(others) <= set(above), f"{room} names a room that does not stand above it"
        above.append(room)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_stay_within_what_the_table_allows(room):
    allowed = {room, *ROOMS[room][1]}
    wrong = [
        f"{place} -> {other} ({room_of(other)})"
        for place in modules().values()
        if room_of(place) == room
        for other in sorted(arrows(place))
        if room_of(other) not in allowed
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle():
    assert circles() == []


@pytest.mark.parametrize("library", HOMES)
def test_each_heavy_library_has_its_homes_and_no_others(library):
    users = [place for place in modules().values() if uses(names(place), library)]
    for home in HOMES[library]:
        assert any(place.startswith(home) for place in users), f"{home} does without it"
    homes = tuple(HOMES[library])
    assert [place for place in users if not place.startswith(homes)] == []


def test_networks_know_no_files_but_their_own():
    for place in modules().values():
        if place.startswith("cloudmask/model/") and place != "cloudmask/model/keras_file.py":
            assert not uses(names(place), "cloudmask.files"), place


def test_the_ground_floor_takes_small_libraries_alone():
    small = {"cloudmask", "h5py", "numpy", "tyro", "yaml"} | sys.stdlib_module_names
    for place in modules().values():
        if room_of(place) == "ground":
            assert {name.partition(".")[0] for name in names(place)} <= small, place


def test_networks_and_training_name_no_sensor():
    for folder in ("cloudmask/model", "cloudmask/train"):
        for path in (ROOT / folder).glob("*.py"):
            text = path.read_text().lower()
            for word in ("slstr", "sentinel", "sea ice", "seaice", "landsat"):
                assert word not in text, f"{path.name} names {word}"


def test_the_entry_is_a_table_of_contents():
    assert len((ROOT / "train_hvd.py").read_text().splitlines()) < 60


HEAVY = ("tensorflow", "keras", "horovod", "mpi4py")
EXTRAS = ("satpy", "xarray", "netCDF4", "h5netcdf", "scipy", "matplotlib", "jinja2", "tensorboard")
EXTRAS += ("zarr", "fsspec", "mlperf_logging", "cv2", "skimage", "tifffile", "pyspark", "py4j")
EXTRAS += ("pyproj", "rasterio", "pyogrio", "shapely")
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
for program in ("cloudmask", "seaice", "scaling"):
    main(program, ["--help"], runpy.run_module)
    for command in importlib.import_module(f"{program}.__main__").COMMANDS:
        main(program, [command, "--help"], runpy.run_module)
main("train_hvd.py", ["--help"])
assert not [name for name in sys.modules if name.partition(".")[0] in BLOCKED]
"""


@pytest.mark.parametrize("extras", [(), EXTRAS], ids=["no network", "nothing but the core"])
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
    for program in ("cloudmask prepare", "cloudmask evaluate", "train_hvd.py", "seaice label"):
        assert f"usage: {program} [-h]" in done.stdout
    assert "usage: cloudmask COMMAND" in done.stdout
