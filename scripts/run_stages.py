"""What the demos have in common: stages, each an ordinary command line, run in their order."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cloudmask import host

BIN = Path(sys.executable).parent
RANKS = 2

Words = list[object]
Stage = tuple[str, Words]

CLOUDMASK: Words = [sys.executable, "-m", "cloudmask"]
TRAIN: Words = [sys.executable, "train_hvd.py"]
ON_RANKS: Words = [BIN / "mpirun", "-n", RANKS]
if host.num_cores() < RANKS:
    ON_RANKS.append("--oversubscribe")


def run(stages: Sequence[Stage], *, program: str) -> dict[str, float]:
    """Print and run each stage; what each took, s, by name. SystemExit at the first that fails."""
    seconds = {}
    for name, words in stages:
        line = [str(word) for word in words]
        shown = [Path(word).name if word.startswith(str(BIN)) else word for word in line]
        print(f"\n[{name}] {' '.join(shown)}", flush=True)
        began = time.monotonic()
        try:
            code = subprocess.run(line).returncode
        except KeyboardInterrupt:
            print(f"\n{program}: broken off; the same command goes on", file=sys.stderr)
            sys.exit(130)
        seconds[name] = time.monotonic() - began
        if code:
            print(f"{program}: {name} failed (exit code {code}); see above", file=sys.stderr)
            sys.exit(code)
    return seconds
