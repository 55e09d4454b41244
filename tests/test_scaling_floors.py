"""What of `scaling` runs without the libraries that other parts of it need."""

import subprocess
import sys

import pytest
from imports import ROOT


@pytest.mark.parametrize("name", ["reaper", "inside/rank", "inside/allreduce"])
def test_what_starts_inside_a_rank_needs_the_standard_library_alone_to_begin(name):
    code = f"import runpy; runpy.run_path({str(ROOT / 'scaling/measure' / name)!r} + '.py')"
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
