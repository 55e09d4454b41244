"""Communication that computing does not hide, between two hosts, against the allreduce by itself.

Two hosts of this machine's namespaces are joined by links of a known rate. On each link a study of
two ranks is run, of an emulated device (every gradient is there at once: nothing can hide) and of
the real network (the backward pass hides what it can), and Horovod's allreduce is measured by
itself. From that alone follows what a step must wait where nothing is hidden; the study's report
shows both. Needs root, for the hosts.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from typing import Any

from benchmarks import bench
from scaling.laws import exposed
from scaling.options import ReportConfig
from scaling.record import store
from scaling.report import command, tables

RATES = ("1gbit", "100mbit")
REPEATS, STEPS, BATCH, PATCH = 3, 30, 2, 128
TARGET = exposed.AGREED
DEVICES: dict[str, tuple[str, ...]] = {"emulated": ("--emulate", "0.5"), "real": ()}


def main() -> None:
    sys.path.insert(0, str(bench.ROOT / "tests"))  # the hosts are a test bed
    cluster = importlib.import_module("cluster")
    if lacking := cluster.missing():
        raise SystemExit(f"exposed_communication: {lacking}")
    data = patches()
    found: list[dict[str, Any]] = []
    for rate in RATES:
        with cluster.hosts(2, rate=rate) as bed:
            for device, options in DEVICES.items():
                study = bench.WORK / "exposed" / f"{rate}-{device}"
                shutil.rmtree(study, ignore_errors=True)
                ended = bed.run(study_words(study, data, options, bed.names), seconds=900)
                if ended.code:
                    raise SystemExit(f"exposed_communication: {ended.out}{ended.err}")
                found.append({"rate": rate, "device": device, **compare(study)})
                print(f"  {rate}, {device}: {told(found[-1])}", flush=True)
    worst = max(abs(one["difference"]) for one in found if one["device"] == "emulated")
    print(f"largest difference, nothing hidden: {100 * worst:.0f} % (target: {100 * TARGET:.0f} %)")
    print("limit: the links; 7.8 MB take 62 ms at 1 Gbit/s, 624 ms at 100 Mbit/s, once each way")
    bench.keep(
        "exposed_communication",
        found=found,
        repeats=REPEATS,
        steps=STEPS,
        batch_per_rank=BATCH,
        patch_size=PATCH,
        launcher="horovodrun --gloo",
        targets={"difference": TARGET},
    )


def patches() -> str:
    """Patches so small that a step of the real network does not hide everything."""
    folder, out = bench.scenes()[0].parent, bench.WORK / f"patches-{PATCH}"
    words = [*bench.CLOUDMASK, "prepare", folder, "--out", out]
    bench.run([*words, "--patch-size", PATCH, "--split", "train=1"])
    return str(out)


def study_words(study: Any, data: str, options: tuple[str, ...], hosts: list[str]) -> list[object]:
    """A study of weak scaling with a rank on each host, which inside/rank.py binds."""
    words: list[object] = [sys.executable, "-m", "scaling", "run", "--out", study, "--ranks", 2]
    words += ["--modes", "weak", "--repeats", REPEATS, "--batch-per-rank", BATCH, "--alone", ""]
    words += ["--launcher", "horovodrun", "--hosts", ",".join(f"{name}:1" for name in hosts)]
    words += ["--env", "HOROVOD_GLOO_IFACE=eth0", "--"]
    words += [*bench.TRAIN, "--data", data, "--max-steps", STEPS, "--no-tensorboard", *options]
    return words


def compare(folder: Any) -> dict[str, Any]:
    """What the study's report, which is written too, says of measured and modelled time."""
    study = store.read(folder)
    command.report(ReportConfig((folder,), folder / "report"))
    (one,) = exposed.compare(study)
    (row,) = tables.exposed_table([one]).rows
    assert " | ".join(row) in (folder / "report" / "report.md").read_text()
    return {
        "measured_seconds": one.measured.value,
        "measured_range": [one.measured.low, one.measured.high],
        "expected_seconds": list(one.expected),
        "messages": list(one.messages),
        "difference": one.difference,
        "verdict": one.verdict,
    }


def told(one: dict[str, Any]) -> str:
    low, high = one["measured_range"]
    least, most = one["expected_seconds"]
    return (
        f"measured {1e3 * one['measured_seconds']:.1f} ms ({1e3 * low:.1f} - {1e3 * high:.1f}), "
        f"expected {1e3 * least:.1f} to {1e3 * most:.1f} ms ({100 * one['difference']:+.0f} %): "
        f"{one['verdict']}"
    )
