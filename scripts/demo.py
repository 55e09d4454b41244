"""The whole road in minutes: scenes, patch set, training on two ranks, masks, evaluation, report.

Run by `make demo`. Every stage is an ordinary command line, printed before it runs, so each can be
taken from here and changed. A second run reuses what the first has left in demo/.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cloudmask import host

BIN = Path(sys.executable).parent
START = Path("models/synthetic.keras")
DEMO = Path("demo")
SCENES, PATCHES, RUN = DEMO / "scenes", DEMO / "patches", DEMO / "run"
UNSEEN, MASKS, REPORT = DEMO / "unseen", DEMO / "masks", DEMO / "report.html"
RESULT = MASKS / "evaluation.json"
RANKS, NUM_SCENES, EPOCHS = 2, 24, 3


def stages() -> list[tuple[str, list[object]]]:
    """Name and command line of each stage."""
    cloudmask: list[object] = [sys.executable, "-m", "cloudmask"]
    ranks: list[object] = [BIN / "mpirun", "-n", RANKS]
    if host.num_cores() < RANKS:
        ranks.append("--oversubscribe")
    size = ("--height", "600", "--width", "750")
    train = [sys.executable, "train_hvd.py", "--data", PATCHES, "--out", RUN, "--resume"]
    return [
        ("scenes", [*cloudmask, "synth", "--out", SCENES, "--scenes", NUM_SCENES, *size]),
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
                *(*ranks, *train, "--init", START, "--epochs", EPOCHS, "--lr", "3e-4"),
                *("--no-augment", "--widths", "16", "32", "64", "128"),
            ],
        ),
        (
            "new scenes",
            [*cloudmask, "synth", "--out", UNSEEN, "--scenes", "8", "--seed", "4", *size],
        ),
        ("masks", [*ranks, *cloudmask, "predict", RUN, UNSEEN, "--out", MASKS]),
        ("evaluation", [*ranks, *cloudmask, "evaluate", MASKS, UNSEEN]),
        ("report", [*cloudmask, "report", RUN, MASKS, "--out", REPORT]),
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
    result = json.loads(RESULT.read_text())
    summary = json.loads((RUN / "summary.json").read_text())
    print("\n".join(closing_lines(result, summary, seconds)))
    return 0


def closing_lines(
    result: dict[str, Any], summary: dict[str, Any], seconds: dict[str, float]
) -> list[str]:
    """What was done, how good it is and beside what, how long it took, where to look."""
    of_truth = {pair["of"]: pair for pair in result["pairs"] if pair["against"] == "truth"}
    network = of_truth["network"]
    parts = {name: part["truth"]["accuracy"] for name, part in result["regions"].items()}
    rows = [
        ("the same answer everywhere", network["majority"], "the commoner of clear and cloud"),
        ("simple thresholds", of_truth["summary"]["accuracy"], "as the operational summary mask"),
        ("Bayesian mask", of_truth["label"]["accuracy"], "what the network learned from"),
        ("network", network["accuracy"], f"day {parts['day']:.3f}, night {parts['night']:.3f}"),
    ]
    rate = summary["patches_per_second"]["median"]
    return [
        "",
        f"The network started from {START}, went on for {EPOCHS} epochs on {NUM_SCENES} synthetic",
        f"scenes, and then saw {result['num_scenes']} new ones. Their true clouds are known, "
        "so this is the share of pixels that",
        "each mask has right:",
        "",
        *(f"  {name:<28} {share:.3f}   {note}" for name, share, note in rows),
        "",
        "It learned from the Bayesian mask alone, so it comes near that mask and rarely beats it.",
        "Synthetic scenes show that everything works; they say nothing of real ones.",
        "",
        f"Training: {summary['ranks']} ranks, {rate:.1f} patches/s of 128 x 128 "
        f"({summary['precision']}, {summary['threads_per_rank']} core each).",
        f"Time: {', '.join(f'{name} {spent:.0f} s' for name, spent in seconds.items())}; "
        f"{sum(seconds.values()):.0f} s in all.",
        f"Model: {RUN / 'model.keras'}   masks: {MASKS}",
        f"Next: open {REPORT} in a browser.",
    ]


if __name__ == "__main__":
    sys.exit(main())
