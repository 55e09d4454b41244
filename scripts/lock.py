#!/usr/bin/env python3
"""Pin every package of every device, with hashes: `make lock` writes the requirements-*.lock files.

Run it after an edit of the dependencies in pyproject.toml. The locks hold for every Python that
pyproject.toml allows; they name no package index, so a site's own mirror works unchanged.
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = "uv==0.13.8"
OLDEST_PYTHON = "3.11"

SHARED_EXTRAS = ("products", "report", "fits", "mllog", "seaice", "spark", "dev")
SELECTIONS = {
    "requirements-cpu.lock": [f"--extra={name}" for name in ("train", *SHARED_EXTRAS)],
    "requirements-gpu.lock": [f"--extra={name}" for name in ("train-gpu", *SHARED_EXTRAS)],
    "requirements-build.lock": ["--group=horovod-build"],
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # uv goes into a throw-away environment: nothing but this script needs it.
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", UV], check=True)
        for lock, selection in SELECTIONS.items():
            sources = [] if selection[0].startswith("--group") else ["pyproject.toml"]
            command = [
                str(python.with_name("uv")),
                *("pip", "compile", "--quiet", "--universal", "--generate-hashes"),
                *("--fork-strategy", "fewest"),
                *("--python-version", OLDEST_PYTHON, "--no-python-downloads"),
                *("--custom-compile-command", "make lock", "--output-file", lock),
                *selection,
                *sources,
                *sys.argv[1:],
            ]
            print(f"{lock} ...", flush=True)
            subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"UV_NO_CONFIG": "1"})


if __name__ == "__main__":
    main()
