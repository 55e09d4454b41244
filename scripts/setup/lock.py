#!/usr/bin/env python3
"""Pin every package of every device, with hashes: `make lock` writes the requirements-*.lock files.

Run it after an edit of the dependencies in pyproject.toml. The locks hold for every Python that
pyproject.toml allows; they name no package index, so a site's own mirror works unchanged. A lock
for another TensorFlow holds only what differs from the device's own lock.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

import lockfile

ROOT = Path(__file__).resolve().parents[2]
UV = "uv==0.13.8"
OLDEST_PYTHON = "3.11"

SHARED_EXTRAS = ("products", "geotiff", "report", "fits", "mllog", "seaice", "spark", "dev")
SELECTIONS = {
    "requirements-cpu.lock": [f"--extra={name}" for name in ("train", *SHARED_EXTRAS)],
    "requirements-gpu.lock": [f"--extra={name}" for name in ("train-gpu", *SHARED_EXTRAS)],
    "requirements-build.lock": ["--group=horovod-build"],
    "requirements-build-gpu.lock": ["--group=horovod-build-gpu"],
}


# TensorFlow to come, for `make setup TENSORFLOW=...`. A release candidate asks for a nightly Keras,
# whose files would be those of the released one; that one serves.
NEXT_TENSORFLOW = {"cpu": "tensorflow-cpu==2.22.0rc0", "gpu": "tensorflow[and-cuda]==2.22.0rc0"}
NO_NIGHTLY = "keras-nightly ; python_version < '3'"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # uv goes into a throw-away environment: nothing but this script needs it.
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", UV], check=True)
        for lock, selection in SELECTIONS.items():
            print(f"{lock} ...", flush=True)
            compile_lock(python, ROOT / lock, selection)
        for device, requirement in NEXT_TENSORFLOW.items():
            version = requirement.partition("==")[2]
            lock = f"requirements-{device}-tensorflow-{version}.lock"
            print(f"{lock} ...", flush=True)
            overrides, whole = Path(folder, "overrides"), Path(folder, lock)
            overrides.write_text(f"{requirement}\n{NO_NIGHTLY}\n")
            own = ROOT / f"requirements-{device}.lock"
            shutil.copy(own, whole)
            compile_lock(python, whole, [*SELECTIONS[own.name], f"--override={overrides}"])
            text = lockfile.differing(own.read_text(), whole.read_text())
            (ROOT / lock).write_text(re.sub(r" +# +--override .*\n", "", text))


def compile_lock(python: Path, lock: Path, selection: Sequence[str]) -> None:
    """Write a lock; what it pins already stays unless a dependency or an option says otherwise."""
    sources = [] if selection[0].startswith("--group") else ["pyproject.toml"]
    command = [
        str(python.with_name("uv")),
        *("pip", "compile", "--quiet", "--universal", "--generate-hashes"),
        *("--fork-strategy", "fewest"),
        *("--python-version", OLDEST_PYTHON, "--no-python-downloads"),
        *("--custom-compile-command", "make lock", "--output-file", str(lock)),
        *selection,
        *sources,
        *sys.argv[1:],
    ]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"UV_NO_CONFIG": "1"})


if __name__ == "__main__":
    main()
