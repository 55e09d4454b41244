"""A program that leaves what a training leaves, in seconds, and can go wrong in every way.

Ranks meet in files, not in MPI, so it runs under any launcher. Its rates follow Amdahl's law with
noise by the seed; it does not take the time it tells.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

NAMES = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "HOROVOD_RANK", "SLURM_PROCID")
SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "HOROVOD_SIZE", "SLURM_STEP_NUM_TASKS")
SERIAL, ONE_RANK_RATE, NOISE = 0.05, 5.0, 0.02
FASTER = {"copies": 1.04, "alone": 1.02}


def number(names, default):
    return next((int(os.environ[name]) for name in names if name in os.environ), default)


def summary(options, rank, size):
    batch = options.global_batch or options.batch * size
    step = batch / ONE_RANK_RATE * (SERIAL + (1 - SERIAL) / size)
    noise = random.Random(f"{options.seed} {size} {options.salt}").gauss(0, NOISE)
    step *= 1 + noise
    steps = options.steps - 1
    parts = {
        "data_wait_seconds": 0.01,
        "compute_seconds": 0.85,
        "exposed_communication_seconds": 0.1,
    }
    per_step = {
        name: {"mean_rank": share * step, "slowest_rank": share * step * 1.02}
        for name, share in {"step_seconds": 1.0, **parts}.items()
    }
    return {
        "format": "cloudmask-summary",
        "version": 1,
        "status": "finished",
        "date": "2024-01-01T00:00:00+00:00",
        "commit": "0" * 40,
        "versions": {"tensorflow": "2.21.0", "horovod": "0.28.1"},
        "settings": {"HOROVOD_CYCLE_TIME": os.environ.get("HOROVOD_CYCLE_TIME", "")},
        "ranks": size,
        "hosts": ["here"],
        "device": "CPU",
        "threads_per_rank": 1,
        "seed": options.seed,
        "precision": "float32",
        "learning_rate": 0.001,
        "config": {"shuffle": "shard", "cache": "none", "target_accuracy": 0.9},
        "global_batch": batch,
        "batch_per_rank": batch // size,
        "patch_size": 256,
        "channels": ["a"] * 9,
        "parameters": 1948609,
        "gradient_bytes": 7794436,
        "training_patches": 80,
        "validation_patches": 20,
        "epochs_run": 2,
        "steps_run": options.steps,
        "patches_trained": options.steps * batch,
        "warmup_steps": 1,
        "steps": steps,
        "patches_per_second": {
            "overall": batch / step,
            "median": batch / step,
            "p05": 0.95 * batch / step,
            "p95": 1.05 * batch / step,
        },
        "per_step": per_step,
        "seconds": {
            "startup": 8.0,
            "first_epoch": 80 / batch * step + 4,
            "steady_epoch": 80 / batch * step,
            "validation": 4.0,
            "checkpoints": 1.0,
            "total": 17.0 + 160 / batch * step,
        },
        "history": [
            {"epoch": 1, "valid": {"accuracy": 0.8}},
            {"epoch": 2, "valid": {"accuracy": 0.9}},
        ],
        "best": {"accuracy": 0.9, "majority": 0.7},
        "target": {"accuracy": 0.9, "epoch": 2, "seconds": 40.0},
    }


def living(folder):
    """Command lines of the processes, zombies and this one left out, that name this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if str(folder) in words and state not in "ZX":
                found.append(words)
    return found


def write_study(
    folder,
    *,
    ranks=(1, 2),
    modes=("strong", "weak"),
    repeats=6,
    copies=True,
    alone=False,
    program="fake",
    **rest,
):
    """A finished study without running anything: rows made from summaries, as `run` makes them."""
    from scaling.record import summaries

    rows = []
    for mode in modes:
        for size in ranks:
            for seed in range(repeats):
                whole = 4 * (max(ranks) if mode == "strong" else size)
                kinds = ["ranks"]
                kinds += ["copies"] if copies and size > 1 else []
                kinds += ["alone"] if alone and size == 1 else []
                for kind in kinds:
                    options = argparse.Namespace(
                        global_batch=whole, batch=None, seed=seed, salt=f"{mode}{kind}", steps=41
                    )
                    made = summary(options, 0, size)
                    made["patches_per_second"]["overall"] *= FASTER.get(kind, 1)
                    wall = made["seconds"]["total"] + 1 + 0.2 * size  # the launcher's own
                    row = {
                        "point": f"{mode}-{kind}-n{size:04d}-r{seed + 1:02d}",
                        **{"attempt": 1, "mode": mode, "kind": kind, "ranks": size},
                        **{"repeat": seed + 1, "status": "ok", "error": None, "exit_code": 0},
                        **{"ended": "2024-01-02T03:04:05+00:00", "wall_seconds": wall},
                        "rank_hours": size * wall / 3600,
                        **{"processes_killed": 0, "last_step": 41, "launcher": "openmpi"},
                        **{"binding": "1 core per rank", "cores_per_rank": 1, "seed": seed},
                        **{"oversubscribed": False, "dataset": "fixed", "page_cache": "as-found"},
                        **{"cores": [[n] for n in range(size)], "hardware": ["A processor"]},
                    }
                    rows.append(row | summaries.measures(made) | rest)
    for size in ranks:
        if size > 1:
            first = {**rows[0], "kind": "allreduce", "mode": "any", "ranks": size}
            first["point"] = f"any-allreduce-n{size:04d}-r01"
            first["allreduce"] = [
                {"bytes": m, "seconds": (2e-4 + m / 4e9 * 2 / size) * (size - 1) * (1 + m % 7 / 99)}
                for m in (4**power for power in range(5, 13))
            ]
            rows.append(first)
    header = {
        "format": "scaling-study",
        "version": 1,
        "created": "2024-01-02T03:00:00+00:00",
        "program": ["python", program],
        "launcher": "openmpi",
        "cores_per_rank": 1,
        "gpus_per_rank": 0,
        "environment": {"HOROVOD_CYCLE_TIME": "10"},
        "dataset": "fixed",
        "page_cache": "as-found",
        "seed": 0,
        "hardware": {"title": "A processor, 32 cores"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(header))
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--global-batch", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--spin", type=float, default=0.0, help="seconds to compute in a step")
    parser.add_argument("--salt", default="")
    parser.add_argument("--fault", default="")
    parser.add_argument("--fault-seed", type=int, help="only in the run with this seed")
    parser.add_argument("--alone", action="store_true")
    options = parser.parse_args()
    rank, size = number(NAMES, 0), number(SIZES, 1)
    wrong = options.fault if options.fault_seed in (None, options.seed) else ""
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"rank {rank} of {size} begins", flush=True)
    if wrong == "never":
        time.sleep(600)
    for step in range(1, options.steps + 1):
        time.sleep(options.pause)
        end = time.process_time() + options.spin
        while time.process_time() < end:
            pass
        if step == 3 and rank == size - 1:
            if wrong == "raise":
                raise RuntimeError("the third step went wrong")
            if wrong == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if wrong == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            if wrong == "exit":
                sys.exit(4)
        (options.out / f"at-{rank}-{step}").touch()
        while any(not (options.out / f"at-{other}-{step}").exists() for other in range(size)):
            time.sleep(0.01)
        if rank == 0:
            with (options.out / "events.jsonl").open("a") as file:
                file.write(json.dumps({"event": "step", "step": step}) + "\n")
    if rank == 0 and wrong != "no-summary":
        record = summary(options, rank, size)
        if wrong == "shared-core":
            places = [{"rank": other, "host": "here", "cores": [0]} for other in range(size)]
            record["placement"] = [place | {"threads": 1} for place in places]
        if wrong == "version":
            record["version"] = 99
        if wrong == "failed":
            record = {"status": "failed", "error": "the disk is full", "rank": 0}
        (options.out / "summary.json").write_text(json.dumps(record))
    if wrong == "failed" and rank == 0:  # the launcher would end it before it has told why
        sys.exit(1)


if __name__ == "__main__":
    main()
