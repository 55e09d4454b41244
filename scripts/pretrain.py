"""Make models/synthetic.keras, from which `make demo` starts: trained on other synthetic scenes.

    python scripts/pretrain.py [WORK_FOLDER]

The model learns the Bayesian mask of 96 synthetic scenes of an archive that the demo never uses.
It has seen neither the demo's scenes nor any truth. Beside it a JSON file says how it was made. Two
cores with bfloat16 take some fifteen minutes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from run_stages import CLOUDMASK, ON_RANKS, TRAIN, Stage, run

from cloudmask.files import sha256_of, write_json, write_whole

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models" / "synthetic.keras"
SEED, SCENES, HEIGHT, WIDTH = 100, 96, 600, 750


def stages(work: Path) -> list[Stage]:
    """Name and command line of each stage."""
    scenes, patches, run_folder = (work / name for name in ("scenes", "patches", "run"))
    made = ("--scenes", SCENES, "--seed", SEED, "--height", HEIGHT, "--width", WIDTH)
    cut = ("--patch-size", "128", "--split", "train=0.9,valid=0.1")
    train = ("--epochs", "20", "--no-augment", "--widths", "16", "32", "64", "128")
    return [
        ("scenes", [*CLOUDMASK, "synth", "--out", scenes, *made]),
        ("patches", [*ON_RANKS, *CLOUDMASK, "prepare", scenes, "--out", patches, *cut]),
        (
            "training",
            [*ON_RANKS, *TRAIN, "--data", patches, "--out", run_folder, "--resume", *train],
        ),
    ]


def main(words: list[str]) -> None:
    work = Path(words[0] if words else "runs/pretrain").absolute()
    os.chdir(ROOT)
    run(stages(work), program="pretrain")
    summary = json.loads((work / "run" / "summary.json").read_text())
    write_whole(MODEL, (work / "run" / "model.keras").read_bytes())
    card = {
        "model": MODEL.name,
        "sha256": sha256_of(MODEL),
        "learned_from": f"the Bayesian mask of {SCENES} synthetic scenes of {HEIGHT} x {WIDTH} "
        f"(cloudmask synth --seed {SEED})",
        "use": "a start for training on synthetic scenes (--init); it has never seen a real one",
        "made_by": "python scripts/pretrain.py",
        "validation": {
            name: summary["best"][name] for name in ("epoch", "loss", "accuracy", "majority")
        },
        **{name: summary[name] for name in ("epochs_run", "precision", "ranks", "seed", "date")},
    }
    write_json(MODEL.with_suffix(".json"), card)
    print(f"\n{MODEL}: {MODEL.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
