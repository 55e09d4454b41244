"""The whole road in minutes: scenes, patch set, training on two ranks, evaluation.

Run by `make demo`. Every stage is an ordinary command line, printed before it runs, so each can be
taken from here and changed. A second run reuses what the first has left in demo/.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
DEMO = Path("demo")
SCENES, PATCHES, RUN = DEMO / "scenes", DEMO / "patches", DEMO / "run"
RESULT = RUN / "evaluation-test.json"
RANKS = 2


def stages() -> list[tuple[str, list[object]]]:
    """Name and command line of each stage."""
    cloudmask: list[object] = [sys.executable, "-m", "cloudmask"]
    ranks: list[object] = [BIN / "mpirun", "-n", RANKS]
    if (os.cpu_count() or 1) < RANKS:
        ranks.append("--oversubscribe")
    train = [sys.executable, "train_hvd.py", "--data", PATCHES, "--out", RUN, "--resume"]
    return [
        (
            "scenes",
            [
                *(*cloudmask, "synth", "--out", SCENES, "--scenes", "36"),
                *("--height", "600", "--width", "750"),
            ],
        ),
        (
            "patches",
            [
                *(*ranks, *cloudmask, "prepare", SCENES, "--out", PATCHES),
                *("--patch-size", "128", "--split", "train=0.7,valid=0.1,test=0.2"),
            ],
        ),
        ("training", [*ranks, *train, "--epochs", "5"]),
        ("evaluation", [*ranks, *cloudmask, "evaluate", RUN, PATCHES, "--split", "test"]),
    ]


def main() -> int:
    seconds = {}
    for name, words in stages():
        line = [str(word) for word in words]
        shown = [Path(word).name if word.startswith(str(BIN)) else word for word in line]
        print(f"\n[{name}] {' '.join(shown)}", flush=True)
        began = time.monotonic()
        code = subprocess.run(line).returncode
        seconds[name] = time.monotonic() - began
        if code:
            print(f"demo: {name} failed (exit code {code}); see above", file=sys.stderr)
            return code
    print("\n".join(closing_lines(seconds)))
    return 0


def closing_lines(seconds: dict[str, float]) -> list[str]:
    """A short table: how good, how long, where."""
    result = json.loads(RESULT.read_text())
    summary = json.loads((RUN / "summary.json").read_text())
    rate = summary["patches_per_second"]
    took = ", ".join(f"{name} {spent:.0f} s" for name, spent in seconds.items())
    return [
        "",
        f"On {result['patches']} patches of scenes the network has not seen, "
        "against the Bayesian mask:",
        f"  accuracy       {result['accuracy']:.3f}   "
        f"(always the commoner class: {result['majority']:.3f})",
        f"  mean IoU       {result['mean_iou']:.3f}",
        f"  kappa          {result['kappa']:.3f}",
        f"Trained on {summary['ranks']} ranks at {rate['median']:.1f} patches/s of "
        f"{summary['patch_size']} x {summary['patch_size']} ({summary['precision']}, "
        f"{summary['threads_per_rank']} core each).",
        f"Time: {took}.",
        f"Scenes: {SCENES}   patch set: {PATCHES}   run: {RUN}   model: {RUN / 'model.keras'}",
    ]


if __name__ == "__main__":
    sys.exit(main())
