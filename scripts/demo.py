"""The whole road in minutes: scenes, patch set, training on two ranks, masks, evaluation, report.

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
UNSEEN, MASKS, REPORT = DEMO / "unseen", DEMO / "masks", DEMO / "report.html"
RESULT = MASKS / "evaluation.json"
RANKS = 2


def stages() -> list[tuple[str, list[object]]]:
    """Name and command line of each stage."""
    cloudmask: list[object] = [sys.executable, "-m", "cloudmask"]
    ranks: list[object] = [BIN / "mpirun", "-n", RANKS]
    if (os.cpu_count() or 1) < RANKS:
        ranks.append("--oversubscribe")
    size = ("--height", "600", "--width", "750")
    train = [sys.executable, "train_hvd.py", "--data", PATCHES, "--out", RUN, "--resume"]
    return [
        ("scenes", [*cloudmask, "synth", "--out", SCENES, "--scenes", "36", *size]),
        (
            "patches",
            [
                *(*ranks, *cloudmask, "prepare", SCENES, "--out", PATCHES),
                *("--patch-size", "128", "--split", "train=0.85,valid=0.15"),
            ],
        ),
        (
            "training",
            [
                *(*ranks, *train, "--epochs", "12", "--no-augment"),
                *("--widths", "16", "32", "64", "128"),
            ],
        ),
        (
            "new scenes",
            [*cloudmask, "synth", "--out", UNSEEN, "--scenes", "8", "--seed", "4", *size],
        ),
        ("masks", [*ranks, *cloudmask, "predict", RUN, UNSEEN, "--out", MASKS]),
        ("evaluation", [*ranks, *cloudmask, "evaluate", MASKS, UNSEEN]),
        ("report", [*cloudmask, "report", MASKS, "--out", REPORT]),
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
    lines = ["", f"On {result['num_scenes']} scenes that the network has not seen:"]
    for pair in result["pairs"]:
        if pair["against"] in ("label", "truth") and pair["of"] in ("network", "label"):
            names = [result["members"][pair[key]] for key in ("of", "against")]
            lines.append(
                f"  {' against '.join(names):<40} accuracy {pair['accuracy']:.3f}   "
                f"(always the commoner class: {pair['majority']:.3f})"
            )
    return [
        *lines,
        f"Trained on {summary['ranks']} ranks at {rate['median']:.1f} patches/s of "
        f"{summary['patch_size']} x {summary['patch_size']} ({summary['precision']}, "
        f"{summary['threads_per_rank']} core each).",
        f"Time: {took}.",
        f"Model: {RUN / 'model.keras'}   masks: {MASKS}",
        f"Report with pictures: open {REPORT} in a browser.",
    ]


if __name__ == "__main__":
    sys.exit(main())
