"""Reads the energy counters of one host once a second, from outside the program that runs.

    python energy.py FILE [PARENT]

FILE gets a line of JSON for every reading, the first one at once and the last one at the end: when
the standard input closes or, where the process PARENT has started this one, when that is gone. A
FILE that is there already is another's.
Read are NVML's total energy of every GPU of the host, and the packages of Linux's powercap tree
(Intel's RAPL, which AMD's processors have under the same name). Their parts would count twice, and
so would the whole platform ("psys") and the same packages by another way ("intel-rapl-mmio").
A counter that cannot be read is left out and told of; nothing is estimated. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

POWERCAP = "CLOUDMASK_POWERCAP"
"""environment variable with another folder than the kernel's, as a test has it"""
TREE = "/sys/class/powercap"
NVML = "libnvidia-ml.so.1"
SECONDS = 1.0
PR_SET_PDEATHSIG = 1
UUID_BYTES = 96

Reading = tuple[dict[str, float], dict[str, float]]
"""joules of each counter since its own beginning, and watts of those that tell them"""


class Gpus:
    """NVML, which comes with the driver; OSError where there is none."""

    def __init__(self) -> None:
        self.without: set[str] = set()
        """GPUs that have no counter"""
        self._library = ctypes.CDLL(NVML)
        if self._library.nvmlInit_v2():
            raise OSError("NVML does not start")

    def read(self) -> Reading:
        """Of each GPU that there is now; one that gives no answer is left out."""
        joules, watts = {}, {}
        count = ctypes.c_uint()
        if self._library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return {}, {}
        for number in range(count.value):
            device, energy, power = ctypes.c_void_p(), ctypes.c_ulonglong(), ctypes.c_uint()
            if self._library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(device)):
                continue
            uuid = ctypes.create_string_buffer(UUID_BYTES)
            self._library.nvmlDeviceGetUUID(device, uuid, UUID_BYTES)
            name = f"gpu {uuid.value.decode(errors='replace') or number}"
            if self._library.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(energy)):
                self.without.add(name)
            else:
                joules[name] = energy.value / 1e3
            if not self._library.nvmlDeviceGetPowerUsage(device, ctypes.byref(power)):
                watts[name] = power.value / 1e3
        return joules, watts


class Packages:
    """The processors' packages in the powercap tree: all of them, or none."""

    def __init__(self, tree: Path) -> None:
        self.ranges: dict[str, float] = {}
        """joules after which a counter begins again at 0"""
        self.without: set[str] = set()
        self.refused = False
        """whether there are counters that this user may not read"""
        self._files: dict[str, Path] = {}
        for folder in sorted(tree.glob("intel-rapl:*")):
            try:
                name = (folder / "name").read_text().strip()
                if not name.startswith("package"):
                    continue
                int((folder / "energy_uj").read_text())
                self.ranges[f"cpu {name}"] = int((folder / "max_energy_range_uj").read_text()) / 1e6
                self._files[f"cpu {name}"] = folder / "energy_uj"
            except (OSError, ValueError) as error:
                self.refused = isinstance(error, PermissionError)
                self._files.clear()
                break

    def read(self) -> Reading:
        found = {}
        for name, file in self._files.items():
            with contextlib.suppress(OSError, ValueError):
                found[name] = int(file.read_text()) / 1e6
        return found, {}


def open_counters() -> tuple[list[Any], dict[str, Any]]:
    """What can be read here, and what is to be told of it once."""
    packages = Packages(Path(os.environ.get(POWERCAP, TREE)))
    readers: list[Any] = [packages]
    with contextlib.suppress(OSError, AttributeError):
        readers.append(Gpus())
    refused = ["powercap"] if packages.refused else []
    return readers, {"host": os.uname().nodename, "ranges": packages.ranges, "refused": refused}


def main(words: list[str]) -> int:
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the study's to obey
    ends = [wake, 0]
    if words[1:]:
        ends = [wake]
        with contextlib.suppress(OSError):  # not on the cores of the rank: on all that are allowed
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != int(words[1]):
            return 0
    if Path(words[0]).exists():  # a launcher does not tell which rank of a host is the first
        return 0
    readers, head = open_counters()
    with Path(words[0]).open("x", encoding="utf-8") as file:
        following, last = time.monotonic(), False
        while True:
            joules: dict[str, float] = {}
            watts: dict[str, float] = {}
            for reader in readers:
                for into, found in zip((joules, watts), reader.read(), strict=True):
                    into.update(found)
            without = sorted(name for reader in readers for name in reader.without)
            line = {"at": time.time(), "joules": joules, "watts": watts, "without": without}
            file.write(json.dumps(head | line | {"cpu_seconds": time.process_time()}) + "\n")
            file.flush()
            head = {}
            if last or not (joules or len(readers) > 1):
                return 0  # where nothing can be read, one line says so
            following += SECONDS
            if following < time.monotonic():  # this process was stopped for a while
                following = time.monotonic() + SECONDS
            last = bool(select.select(ends, [], [], max(0.0, following - time.monotonic()))[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
