"""Starts the processes of a point and leaves none of them behind, whoever dies first.

    python reaper.py COMMANDS.json < a pipe that the study holds open

COMMANDS.json has "commands"; "grace_seconds", what their launcher may take to end its ranks; and
"farewell", a command that ends what it started elsewhere, or null.

Launchers put ranks into process groups and sessions of their own, so no signal to a group reaches
them all. This process adopts every orphan below it (a Linux "subreaper"): whatever the program
starts stays among its descendants and can be found and ended. It does so when the program has
ended, when one of several has failed, when it is told to (SIGTERM), and when the pipe closes
because the study itself is gone. Where ranks are no descendants, as srun's are not, the farewell
ends them. What it did goes to reaper.json beside COMMANDS.json. Standard
library only.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
KILL_SECONDS = 15.0
FAREWELL_SECONDS = 75.0
LEAVE_SECONDS = 2.0
"""what a launcher that has ended may still need to tidy up"""
ENDED = 128 + signal.SIGTERM
NOT_STARTED = 127

Codes = dict[int, int | None]
"""process id of each program -> its exit code, None while it runs; 128 + n if signal n ended it"""


def main(path: Path) -> int:
    told_to_do = json.loads(path.read_text())
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: told.append(number))
    signal.signal(signal.SIGCHLD, lambda number, frame: None)

    codes: Codes = {}
    try:
        for words in told_to_do["commands"]:
            codes[start(words)] = None
        while None in codes.values() and not told and not any(codes.values()):
            for handle in select.select([0, wake], [], [])[0]:
                if not os.read(handle, 4096) and handle == 0:
                    told.append(signal.SIGHUP)
            reap(codes)
    except OSError as error:
        print(f"cannot start {error.filename}: {error.strerror}", file=sys.stderr, flush=True)
        told.append(0)
        code = NOT_STARTED
    else:
        code = ENDED if told else next((code for code in codes.values() if code), 0)
    asked, gone = bool(told) or None in codes.values(), True
    if asked:
        reap(codes)
        # Launchers are asked first, so that they end their ranks on other hosts too. A stopped
        # rank takes no request, but SIGKILL needs none.
        send([pid for pid, code in codes.items() if code is None], signal.SIGTERM)
    if code and told_to_do["farewell"]:
        gone = say_farewell(told_to_do["farewell"])
    left = kill_all(codes, wait=told_to_do["grace_seconds"] if asked else LEAVE_SECONDS)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    note = {
        "exit_code": code,
        "exit_codes": list(codes.values()),
        "killed": left,
        "gone": gone,
        "cpu_seconds": used.ru_utime + used.ru_stime,
    }
    path.with_name("reaper.json").write_text(json.dumps(note) + "\n")
    return code


def start(words: list[str]) -> int:
    """Start a program with an empty standard input; returns its process id. Raises OSError."""
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    defaults = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD]
    return os.posix_spawnp(
        words[0], words, os.environ, file_actions=[null], setsigdef=defaults, setsigmask=[]
    )


def descendants(root: int) -> list[int]:
    """Ids of the processes below `root`, without zombies, from /proc."""
    children: dict[int, list[int]] = {}
    zombies = set()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            text = Path(entry.path, "stat").read_text()
        except OSError:
            continue
        # The name in brackets may hold blanks and brackets itself.
        state, parent = text.rpartition(")")[2].split()[:2]
        children.setdefault(int(parent), []).append(int(entry.name))
        if state in "ZX":
            zombies.add(int(entry.name))
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return [pid for pid in found if pid not in zombies]


def reap(codes: Codes) -> None:
    """Collect every child that has ended, adopted ones too."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in codes:
            code = os.waitstatus_to_exitcode(status)
            codes[pid] = code if code >= 0 else 128 - code


def send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def say_farewell(words: list[str]) -> bool:
    """Run the command that ends what runs elsewhere; returns whether it says that all is gone."""
    pid, until = start(words), time.monotonic() + FAREWELL_SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.02)
    send([pid], signal.SIGKILL)
    return False


def kill_all(codes: Codes, *, wait: float) -> int:
    """Give the descendants `wait` seconds to leave, then kill those that have not."""
    killed: set[int] = set()
    patient = time.monotonic() + wait
    until = patient + KILL_SECONDS
    while (left := descendants(os.getpid())) and time.monotonic() < until:
        if time.monotonic() > patient:
            killed.update(left)
            send(left, signal.SIGKILL)
        time.sleep(0.02)
        reap(codes)
    reap(codes)
    return len(killed)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
