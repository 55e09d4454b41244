"""What the setup scripts share: a line per stage, commands with a log and a time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

SHOWN_LOG_LINES = 25
POLL_SECONDS = 0.5
PROGRESS_SECONDS = 20.0
GRACE_SECONDS = 10.0
_started = time.monotonic()


# A program and its arguments.
Command = Sequence[str | Path]


class Failure(Exception):
    """Something the user can act on; its text is all they see."""


def say(text: str) -> None:
    """Print one line, behind the seconds since the start."""
    print(f"[{time.monotonic() - _started:4.0f} s] {text}", flush=True)


@contextlib.contextmanager
def running(
    command: Command, *, log: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a session of its own, output appended to `log`; it never outlives the block.

    The session is what makes an interrupt clean: the terminal's Ctrl-C reaches this process alone,
    which then stops the command with all its children, be they compilers or ranks.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(f"\n$ {' '.join(map(str, command))}\n".encode())
        output.flush()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask first: mpirun and horovodrun end their ranks, which live in other sessions."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(
    command: Command,
    *,
    what: str,
    log: Path,
    environment: Mapping[str, str],
    limit_seconds: float = float("inf"),
    progress: Callable[[str], str | None] = lambda _: None,
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Run a command to its end; raise Failure with the end of its log when it fails or hangs.

    progress: turns the log so far into a line worth showing, asked every PROGRESS_SECONDS.
    watch: asked every POLL_SECONDS; what it raises ends the command.
    """
    with running(command, log=log, environment=environment) as process:
        finish(
            process,
            what=what,
            log=log,
            limit_seconds=limit_seconds,
            progress=progress,
            watch=watch,
        )


def finish(
    process: subprocess.Popen[bytes],
    *,
    what: str,
    log: Path,
    limit_seconds: float = float("inf"),
    progress: Callable[[str], str | None] = lambda _: None,
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Wait for the end of a command that is `running`; otherwise as `run`."""
    deadline = time.monotonic() + limit_seconds
    due, shown = time.monotonic() + PROGRESS_SECONDS, None
    while process.poll() is None:
        watch()
        if time.monotonic() >= deadline:
            problem = f"{what} was stopped after {limit_seconds:.0f} s without an end"
            raise Failure(with_log(problem, log))
        if time.monotonic() >= due:
            due += PROGRESS_SECONDS
            line = progress(log.read_text(errors="replace"))
            if line and line != shown:
                say(line)
                shown = line
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
    check(process, what=what, log=log)


def check(process: subprocess.Popen[bytes], *, what: str, log: Path) -> None:
    """Failure when a command has failed by now."""
    if process.poll():
        raise Failure(with_log(f"{what} failed (exit status {process.poll()})", log))


def with_log(problem: str, log: Path) -> str:
    """A problem, followed by the end of the log it is explained in."""
    lines = log.read_text(errors="replace").rstrip().splitlines()[-SHOWN_LOG_LINES:]
    return "\n".join([f"{problem}; the end of {log}:", *(f"    {line}" for line in lines)])


def extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Extract an archive whose sum has been checked.

    The filter refuses members that would land outside the folder. Python before 3.11.4, such as
    Debian 12's, has none and relies on the checked sum alone.
    """
    archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
    archive.extractall(folder)
