"""What a host is made of: its processor, the cores and the GPUs that a process here may use.

    python hardware.py [--unbound]

prints one line of JSON that begins with MARK. The study starts it through its launcher, once on
each host that ranks will run on, since the host that a study is started on may be another kind.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MARK = '{"scaling-host": '
CHECKOUT = Path(__file__).resolve().parents[3]


def here() -> dict[str, Any]:
    """host, cpu, cores, threads_per_core, gpus (names)."""
    from cloudmask import host, record

    cores = host.physical_cores(host.allowed_cores())
    numbers = host.core_numbers(range(host.all_cores() or 1))
    return {
        "host": host.name(),
        "cpu": host.cpu_model(),
        "cores": len(cores),
        "threads_per_core": max(map(numbers.count, set(numbers))),
        "gpus": visible_gpus(
            [(name, uuid) for name, uuid in record.nvidia_smi("name,uuid")],
            os.environ.get("CUDA_VISIBLE_DEVICES"),
        ),
    }


def visible_gpus(found: Sequence[tuple[str, str]], visible: str | None) -> list[str]:
    """Names of the GPUs (name, UUID) that CUDA shows a process under CUDA_VISIBLE_DEVICES.

    CUDA's rule (CUDA C++ Programming Guide, "CUDA Environment Variables"): numbers, or beginnings
    of UUIDs; the first that names no GPU, as -1 or NoDevFiles do, hides all that come after it.
    "MIG-..." is a part of a GPU, which nvidia-smi lists as a whole: one device for each such word.
    """
    if visible is None:
        return [name for name, _ in found]
    words = list(map(str.strip, visible.split(",")))
    if found and words[0].startswith("MIG-"):
        parts = dict.fromkeys(itertools.takewhile(lambda word: word.startswith("MIG-"), words))
        whole = " / ".join(sorted({name for name, _ in found}))
        return [f"{whole} (MIG)".strip() for _ in parts]
    shown: list[int] = []
    for word in words:
        if word.isdigit():
            places = [int(word)] if int(word) < len(found) else []
        else:
            places = [n for n, (_, uuid) in enumerate(found) if word and uuid.startswith(word)]
        if len(places) != 1 or places[0] in shown:
            break
        shown += places
    return [found[place][0] for place in shown]


if __name__ == "__main__":
    sys.path.append(str(CHECKOUT))
    if "--unbound" in sys.argv:  # the kernel takes of these what is there and allowed
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    print(f"{MARK}{json.dumps(here())}}}", flush=True)
