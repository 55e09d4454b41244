"""`scaling` knows summary.json and nothing else of the training: it imports nothing of it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "scaling"
MODULES = sorted(PACKAGE.glob("*.py"))
# One home for each heavy library, so that `run` starts fast and needs none of them.
HOMES = {
    "scipy": {"laws"},
    "matplotlib": {"costs", "panels", "pictures", "plotting", "speed"},
    "jinja2": {"report"},
    "tyro": {"command", "settings"},
    "tqdm": {"study"},
    "tensorflow": {"allreduce"},
    "horovod": {"allreduce"},
}
ALONE = ("guard", "rank", "allreduce")


def _imported(path):
    """Top-level names that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_module_stays_on_its_floor(path):
    names = _imported(path)
    assert not names & {"cloudmask", "seaice", "train_hvd", "benchmarks"}
    for library, homes in HOMES.items():
        assert library not in names or path.stem in homes
    if path.stem in ALONE:
        assert "scaling" not in names


@pytest.mark.slow
def test_nothing_of_the_training_is_loaded_by_any_command():
    code = (
        "import sys\n"
        "import scaling.study, scaling.fits, scaling.report, scaling.target\n"
        "print([name for name in ('cloudmask', 'tensorflow', 'horovod') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
