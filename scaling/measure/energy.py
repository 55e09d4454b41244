"""The energy of a point: of all hosts that its ranks ran on, or not measured at all.

This host's counters are read by a process of the study's own, those of other hosts by one that the
first rank there has started (inside/energy.py). What counts is what every host could tell: a host
without readings, a counter that went missing, came, or began anew, and a gap in which a counter may
have begun again unseen make the whole "not measured", with the reason. Nothing is estimated.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudmask import host
from scaling.measure.launch import INSIDE

MOST_WATTS = 5000.0
"""more than any GPU or processor package takes: a counter that would say so has begun anew"""
LATE_SECONDS = 15.0
"""how long after the start of a point a host's first reading may be, and its last before the end"""
START_SECONDS, END_SECONDS = 5.0, 5.0
"""what the reading process may take to begin and to end"""
SACCT_TIMES, SACCT_SECONDS = 3, 10
NO_VALUE = 2**32 - 2  # what Slurm writes for a figure that it does not have, or more
KINDS = {"gpu": "nvml", "cpu package": "powercap"}  # -> where its counter is


@dataclass
class Host:
    """What the readings of one host add up to."""

    name: str
    began: float = 0.0
    ended: float = 0.0
    readings: int = 0
    joules: dict[str, float] = field(default_factory=dict)
    """of each device"""
    power_joules: dict[str, float] = field(default_factory=dict)
    """the same as mean power times time, of devices that told their power in every reading"""
    refused: list[str] = field(default_factory=list)
    problem: str | None = None
    cpu_seconds: float = 0.0
    """that reading took"""

    def kinds(self) -> dict[str, float]:
        """Joules by kind of device."""
        found: dict[str, float] = {}
        for device, joules in self.joules.items():
            kind = "gpu" if device.startswith("gpu ") else "cpu package"
            found[kind] = found.get(kind, 0.0) + joules
        return found


def add_up(lines: Sequence[dict[str, Any]]) -> Host:
    """The readings of a host, in the order of time; the first one names it and its counters."""
    first = lines[0]
    found = Host(first["host"], first["at"], first["at"], refused=list(first["refused"]))
    found.joules = dict.fromkeys(first["joules"], 0.0)
    steady = set(found.joules).intersection(*(line["watts"] for line in lines))
    found.power_joules = dict.fromkeys(sorted(steady), 0.0)
    for before, after in itertools.pairwise(lines):
        seconds = after["at"] - before["at"]
        for device in found.power_joules:
            mean = (before["watts"][device] + after["watts"][device]) / 2
            found.power_joules[device] += mean * seconds
        gone = before["joules"].keys() ^ after["joules"].keys()
        if gone:
            found.problem = f"{min(gone)} was not there all the time"
            break
        for device, value in after["joules"].items():
            step = _step(value - before["joules"][device], first["ranges"].get(device), seconds)
            if step is None:
                found.problem = f"the counter of {device} began anew"
                break
            found.joules[device] += step
    last = lines[-1]
    found.ended, found.readings, found.cpu_seconds = last["at"], len(lines), last["cpu_seconds"]
    if last["without"]:
        found.problem = f"{last['without'][0]} has no counter"
    elif not found.joules:
        found.problem = "no counter readable"
    elif len(lines) < 2 and not found.problem:
        found.problem = "one reading alone"
    return found


def _step(joules: float, whole: float | None, seconds: float) -> float | None:
    """From one reading to the next, of a counter that begins again after `whole` joules; None if
    that cannot be known."""
    most = MOST_WATTS * max(seconds, 0.5)
    if whole is not None and most > whole:
        return None  # it may have begun again more than once
    if joules < 0 and whole is not None:
        joules += whole
    return joules if 0 <= joules <= most else None


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of readings; one that was cut short is left out."""
    found = []
    with contextlib.suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict)]


class Meter:
    """This host's readings from before a point to its end."""

    def __init__(self, file: Path, idle_seconds: float) -> None:
        self._file, self._idle_seconds = file, idle_seconds
        self.began = 0.0
        """when the idle time was over, and the point began"""

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Around a point: begin to read, wait for the idle time to pass, and read to the end."""
        script = str(INSIDE / "energy.py")
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", script, str(self._file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert process.stdin is not None
        try:
            until = time.monotonic() + START_SECONDS
            while not read(self._file) and process.poll() is None and time.monotonic() < until:
                time.sleep(0.02)
            if process.poll() is None:
                time.sleep(self._idle_seconds)
            self.began = time.time()
            yield
        finally:
            process.stdin.close()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:  # in a driver that answers no more
                process.kill()
                process.wait()

    def result(
        self,
        notes: Path,
        *,
        hosts: Sequence[str],
        ended: float,
        gpus: bool = False,
        steps: Collection[str] = (),
    ) -> dict[str, Any]:
        """`energy` of a row, for ranks on these hosts, perhaps on GPUs, in these steps of Slurm:
        see docs/formats.md. Slurm's own figure stands for ours where no counter can be read. Never
        raises: the point has run."""
        found: dict[str, Host] = {}
        idle_watts = None
        for path in [self._file, *sorted(notes.glob("energy-*.jsonl"))]:
            lines = read(path)
            if not lines or lines[0].get("host") not in hosts:
                continue
            name = str(lines[0]["host"])
            try:
                if path == self._file:
                    before = [line for line in lines if line["at"] <= self.began]
                    if self._idle_seconds and list(hosts) == [host.name()] and len(before) > 1:
                        idle_watts = _watts(add_up(before))
                    # The last reading before the point is its first; the head stands in line 1.
                    lines = [lines[0] | before[-1], *lines[len(before) :]] if before else lines
                one = add_up(lines)
            except (KeyError, TypeError, AttributeError):
                one = Host(name, problem="a reading lacks what it must tell")
            if not one.problem and gpus and "gpu" not in one.kinds():
                one.problem = "GPUs that NVML does not know"
            elif not one.problem and one.began - self.began > LATE_SECONDS:
                one.problem = "its first reading is too long after the start"
            elif not one.problem and ended - one.ended > LATE_SECONDS:
                one.problem = "its last reading is too long before the end"
            found[name] = one
        total = summed(found, hosts, idle_watts)
        total["slurm_joules"] = slurm_joules(steps)
        if total["joules"] is None and total["slurm_joules"]:
            total |= {"joules": total["slurm_joules"], "source": ["slurm"]}
        return total


def _watts(idle: Host) -> float | None:
    seconds = idle.ended - idle.began
    return sum(idle.joules.values()) / seconds if idle.problem is None and seconds > 0 else None


def summed(
    found: dict[str, Host], hosts: Sequence[str], idle_watts: float | None = None
) -> dict[str, Any]:
    """All hosts together: joules only where each has told of the same kinds of devices."""
    problems = [f"{name}: {one.problem}" for name, one in found.items() if one.problem]
    problems += [] if hosts else ["no rank began"]
    problems += [f"{name}: no readings" for name in hosts if name not in found]
    kinds = {tuple(sorted(one.kinds())) for one in found.values()}
    if len(kinds) > 1 and not problems:
        problems.append("hosts with other counters than others")
    whole = bool(found) and not problems
    by: dict[str, float] = {}
    for one in found.values() if whole else ():
        for kind, joules in one.kinds().items():
            by[kind] = by.get(kind, 0.0) + joules
    told = [one for one in found.values() if one.problem is None]
    counted = sum(one.joules[device] for one in told for device in one.power_joules)
    power = sum(sum(one.power_joules.values()) for one in told)
    return {
        "joules": round(sum(by.values()), 3) if whole else None,
        "by": {kind: round(joules, 3) for kind, joules in by.items()},
        "hosts": len(hosts),
        "covered": [f"{one.name}: {device}" for one in told for device in sorted(one.joules)],
        "samples": min((one.readings for one in found.values()), default=0),
        "seconds": round(max((one.ended - one.began for one in told), default=0.0), 3),
        "source": [KINDS[kind] for kind in by],
        "idle_watts": round(idle_watts, 3) if idle_watts is not None and whole else None,
        "problems": problems,
        "refused": sorted({name for one in found.values() for name in one.refused}),
        "power_to_counters": round(power / counted, 4) if counted > 0 and power else None,
        "reading_cpu_seconds": round(sum(one.cpu_seconds for one in found.values()), 3),
    }


def slurm_joules(steps: Collection[str]) -> float | None:
    """What Slurm's accounting says of a step; None where it measures no energy, or is not there."""
    told = [_consumed(step) for step in steps]
    return sum(filter(None, told)) if told and all(told) else None


def _consumed(step: str) -> float | None:
    words = ["sacct", "-n", "-P", "-j", step, "-o", "ConsumedEnergyRaw"]
    for _ in range(SACCT_TIMES):  # the step may have ended a moment before
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=SACCT_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            return None
        lines = done.stdout.split()
        if lines or done.returncode:
            usable = len(lines) == 1 and lines[0].isdigit() and 0 < int(lines[0]) < NO_VALUE
            return float(lines[0]) if usable and not done.returncode else None
        time.sleep(1)
    return None
