"""The whole road in minutes: scenes, patch set, training on two ranks, masks, evaluation, report.

Run by `make demo`. Every stage is an ordinary command line, printed before it runs, so each can be
taken from here and changed. A second run reuses what the first has left in demo/.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from run_stages import CLOUDMASK, ON_RANKS, TRAIN, Stage, run

START = Path("models/synthetic.keras")
DEMO = Path("demo")
SCENES, PATCHES, RUN = DEMO / "scenes", DEMO / "patches", DEMO / "run"
UNSEEN, MASKS, REPORT = DEMO / "unseen", DEMO / "masks", DEMO / "report.html"
RESULT = MASKS / "evaluation.json"
NUM_SCENES, EPOCHS = 24, 3


def stages() -> list[Stage]:
    """Name and command line of each stage."""
    size = ("--height", "600", "--width", "750", "--extras", "skin")
    cut = ("--patch-size", "128", "--split", "train=0.85,valid=0.15", "--skin-temperature")
    label = ("--method", "densities", "--out", PATCHES, *cut)
    start = ("--init", START, "--epochs", EPOCHS, "--lr", "3e-4")
    network = ("--no-augment", "--widths", "16", "32", "64", "128")
    eyes = ("--decorrelate", "--missing-channel")
    train = [
        *ON_RANKS,
        *TRAIN,
        "--data",
        PATCHES,
        "--out",
        RUN,
        "--resume",
        *start,
        *network,
        *eyes,
    ]
    return [
        ("scenes", [*CLOUDMASK, "synth", "--out", SCENES, "--scenes", NUM_SCENES, *size]),
        ("patches", [*ON_RANKS, *CLOUDMASK, "label", SCENES, *label]),
        ("training", train),
        (
            "new scenes",
            [*CLOUDMASK, "synth", "--out", UNSEEN, "--scenes", "8", "--seed", "4", *size],
        ),
        ("masks", [*ON_RANKS, *CLOUDMASK, "predict", RUN, UNSEEN, "--out", MASKS]),
        ("evaluation", [*ON_RANKS, *CLOUDMASK, "evaluate", MASKS, UNSEEN]),
        ("report", [*CLOUDMASK, "report", RUN, MASKS, "--out", REPORT]),
    ]


def main() -> None:
    seconds = run(stages(), program="demo")
    result = json.loads(RESULT.read_text())
    summary = json.loads((RUN / "summary.json").read_text())
    print("\n".join(closing_lines(result, summary, seconds)))


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
        ("Bayesian mask", of_truth["label"]["accuracy"], "what its labels are made from"),
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
        "Its labels are made from the Bayesian mask: what cloud and clear sky look like where two",
        "views see them. It has never seen the truth. See docs/labels.md.",
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
    main()
