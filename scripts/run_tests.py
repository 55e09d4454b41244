"""Run every test: those that start ranks beside the others, for they leave half of two cores idle.

Both halves are whole runs of pytest with logs of their own; what the second one says is shown when
the first is done. Words given here are handed to both.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HALVES = ("mpi", "not mpi")
NO_TESTS = 5
"""pytest's exit code where a half has nothing of what was asked for"""


def start(half: str, words: list[str], log: Path) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "pytest", "-m", half, *words]
    with log.open("wb") as file:
        return subprocess.Popen(line, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)


def main(words: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "ranks.log"
        print("test: those that start ranks run beside these; their results follow", flush=True)
        ranks = start(HALVES[0], words, log)
        try:
            line = [sys.executable, "-m", "pytest", "-m", HALVES[1], *words]
            codes = [subprocess.run(line, cwd=ROOT).returncode, ranks.wait()]
        finally:
            if ranks.poll() is None:
                ranks.send_signal(signal.SIGINT)  # pytest then ends what its tests have started
            ranks.wait()
            print("\ntest: those that start ranks", flush=True)
            print(log.read_text(errors="replace"), flush=True)
    found = [code for code in codes if code not in (0, NO_TESTS)]
    return found[0] if found else min(codes)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
