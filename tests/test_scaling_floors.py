"""`scaling` knows summary.json and nothing else of the training; its folders import one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "scaling"
MODULES = sorted(PACKAGE.rglob("*.py"))
GROUND = {"cli.commands", "cli.errors", "cli.flags", "files", "host", "record", "text"}
"""what may be had of cloudmask"""
FLOORS = {
    "options": set(),
    "record": set(),
    "measure.inside": set(),
    "measure": {"options", "record"},
    "laws": {"options", "record"},
    "report": {"options", "record", "laws"},
    "check": {"options", "record", "laws"},
    "__main__": {"options", "measure", "laws", "report", "check"},
    "": set(),
}
"""folder, or module beside them -> what of scaling it may import besides itself"""
# One home for each heavy library, so that `run` starts fast and needs none of them.
HOMES = {
    "scipy": {"laws.laws"},
    "matplotlib": {f"report.{n}" for n in ("figures", "panels", "speedup", "step_time", "style")},
    "jinja2": {"report.page"},
    "tyro": {"options"},
    "tqdm": {"measure.study"},
    "tensorflow": {"measure.inside.allreduce"},
    "horovod": {"measure.inside.allreduce"},
}


def name_of(path):
    words = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def floor_of(name):
    return next((floor for floor in FLOORS if floor and f"{name}.".startswith(f"{floor}.")), "")


def imported(path):
    """Full names that a module imports, wherever in it; `from a import b` is a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_stays_on_its_floor(path):
    name, names = name_of(path), imported(path)
    tops = {full.partition(".")[0] for full in names}
    assert not tops & {"seaice", "train_hvd", "benchmarks"}
    for library, homes in HOMES.items():
        assert library not in tops or name in homes
    floor = floor_of(name)
    for full in names:
        top, _, rest = full.partition(".")
        if top == "scaling":
            assert floor_of(rest) in FLOORS[floor] | {floor}, full
        if top == "cloudmask":
            assert any(f"{rest}.".startswith(f"{ground}.") for ground in GROUND), full


@pytest.mark.parametrize("name", ["guard", "rank", "allreduce"])
def test_what_starts_inside_a_rank_needs_the_standard_library_alone_to_begin(name):
    code = f"import runpy; runpy.run_path({str(PACKAGE / 'measure/inside' / name)!r} + '.py')"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_nothing_of_the_training_is_loaded_by_any_command():
    code = (
        "import sys\n"
        "import scaling.measure.study, scaling.laws.command, scaling.report.command\n"
        "import scaling.check.command\n"
        "heavy = ('tensorflow', 'horovod', 'h5py', 'cloudmask.data', 'cloudmask.train')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
