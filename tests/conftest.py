"""Scenes of a few thousand pixels in the layouts that are read, and ways to start ranks."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest


def _scene_arrays(height, width, seed):
    """Sea of 290 K, cloud of 250 K over a random half of it, two columns at each side missing."""
    rng = np.random.default_rng(seed)
    cloud = rng.random((height, width)) < 0.5
    bts = np.where(cloud, 250.0, 290.0)[..., None] + rng.normal(0, 2, (height, width, 3))
    refs = np.where(cloud, 0.7, 0.1)[..., None] + rng.normal(0, 0.02, (height, width, 6))
    bayes = np.where(cloud, rng.choice([1, 2, 3, 8], (height, width)), 0)[..., None]
    arrays = {
        "bts": bts.astype(np.float32),
        "refs": refs,  # float64, as some of the benchmark's arrays are
        "bayes": bayes.astype(np.uint8),
        "summary": cloud[..., None].astype(np.uint8),
        "truth": cloud[..., None].astype(np.uint8),
    }
    for array in arrays.values():
        array[:, :2] = array[:, -2:] = 0
    return arrays


@pytest.fixture
def write_hdf():
    """write(path, height=64, width=80, seed=0, **changes): changed datasets, None to leave out."""

    def write(path, height=64, width=80, seed=0, **changes):
        arrays = _scene_arrays(height, width, seed) | changes
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                if array is not None:
                    file[name] = array
        return path

    return write


@pytest.fixture
def scene_arrays():
    """The datasets of a benchmark file, by name, to change before they are written."""
    return _scene_arrays


@pytest.fixture
def archive(tmp_path, write_hdf):
    """Ten scenes in a day and a night folder, as downloaded."""
    folder = tmp_path / "scenes"
    for number in range(10):
        half = "day" if number % 3 else "night"
        write_hdf(folder / half / f"S3A_{number:02d}.hdf", seed=number)
    return folder


@pytest.fixture
def real_data():
    folder = os.environ.get("CLOUDMASK_REAL_DATA")
    if not folder:
        pytest.skip("CLOUDMASK_REAL_DATA does not name the folder with the real data")
    return Path(folder)


@pytest.fixture
def plain_environment():
    """This process's environment without the traces of a launcher, so that ranks can be started."""
    launchers = ("OMPI_", "PMIX_", "PMI_", "HOROVOD_", "SLURM_")
    kept = {key: text for key, text in os.environ.items() if not key.startswith(launchers)}
    root = Path(__file__).resolve().parents[1]
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), kept.get("PYTHONPATH")]))
    return kept


@pytest.fixture
def start(plain_environment):
    """start(code, *words, ranks=None): a Python process, or so many ranks of it, to wait for."""
    started = []

    def launch(code, *words, ranks=None, **environment):
        command = [sys.executable, "-c", code, *map(str, words)]
        settings = dict(plain_environment)
        if ranks is not None:
            mpirun = Path(sys.executable).parent / "mpirun"
            if not mpirun.exists():
                pytest.fail(f"{mpirun} is missing; make setup installs Open MPI there")
            command = [str(mpirun), "--oversubscribe", "-n", str(ranks), *command]
            settings["OMPI_ALLOW_RUN_AS_ROOT"] = settings["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
        process = subprocess.Popen(
            command,
            env=settings | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield launch
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def tree():
    """tree(folder): bytes of every file by relative path, without prepare's own notes."""

    def read(folder):
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        names = [path.relative_to(folder).as_posix() for path in paths]
        return {
            name: path.read_bytes()
            for name, path in zip(names, paths, strict=True)
            if not name.startswith(".prepare/")
        }

    return read
