"""Ends the Slurm steps of one name, and waits until Slurm knows of none any more.

    python steps.py NAME

srun may end before its step does: Slurm gives ranks KillWait, 30 s by default, to leave. A point
that was given up is killed at once, on all its hosts, and the next one finds their cores free.
Standard library only.
"""

from __future__ import annotations

import subprocess
import sys
import time

GONE_SECONDS = 60.0
CALL_SECONDS = 15.0
LISTED = ("squeue", "--noheader", "--me", "--format=%i %j")


def listed(name: str) -> list[str] | None:
    """Ids of the living steps, and of jobs that srun has made, of that name; None if unknown."""
    found: list[str] = []
    for words in ([*LISTED, "--steps"], [*LISTED]):
        done = subprocess.run(words, capture_output=True, text=True, timeout=CALL_SECONDS)
        if done.returncode:
            return None
        pairs = (line.split(maxsplit=1) for line in done.stdout.splitlines())
        found += [pair[0] for pair in pairs if len(pair) == 2 and pair[1].strip() == name]
    return found


def end(name: str) -> int:
    """0 when nothing of that name is left; 1 when it still was after a while."""
    until = time.monotonic() + GONE_SECONDS
    while time.monotonic() < until:
        try:
            left = listed(name)
            if left == []:
                return 0
            for number in left or []:
                words = ["scancel", "--quiet", "--signal=KILL", number]
                subprocess.run(words, capture_output=True, timeout=CALL_SECONDS)
        except FileNotFoundError as error:
            print(f"steps of {name}: no {error.filename}", file=sys.stderr)
            return 1
        except subprocess.TimeoutExpired:
            pass  # a busy controller: asked again
        time.sleep(0.2)
    print(f"steps of {name} are still there after {GONE_SECONDS:g} s", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(end(sys.argv[1]))
