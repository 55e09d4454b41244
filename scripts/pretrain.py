"""Make models/synthetic.keras, from which `make demo` starts: trained on other synthetic scenes.

    python scripts/pretrain.py [WORK_FOLDER]

The model learns the Bayesian mask of 96 synthetic scenes of an archive that the demo never uses.
It has seen neither the demo's scenes nor any truth. Beside it a JSON file says how it was made. Two
cores with bfloat16 take some fifteen minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from cloudmask.files import sha256_of, write_json, write_whole

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models" / "synthetic.keras"
RANKS = 2
SEED, SCENES, HEIGHT, WIDTH = 100, 96, 600, 750


def stages(work: Path) -> list[list[str]]:
    """Command lines, in their order."""
    cloudmask = [sys.executable, "-m", "cloudmask"]
    ranks = [str(Path(sys.executable).parent / "mpirun"), "-n", str(RANKS)]
    scenes, patches, run = (str(work / name) for name in ("scenes", "patches", "run"))
    size = ["--height", str(HEIGHT), "--width", str(WIDTH)]
    prepare = ["--patch-size", "128", "--split", "train=0.9,valid=0.1"]
    train = ["--epochs", "20", "--no-augment", "--widths", "16", "32", "64", "128"]
    return [
        [*cloudmask, "synth", "--out", scenes, "--scenes", f"{SCENES}", "--seed", f"{SEED}", *size],
        [*ranks, *cloudmask, "prepare", scenes, "--out", patches, *prepare],
        [
            *ranks,
            sys.executable,
            "train_hvd.py",
            "--data",
            patches,
            "--out",
            run,
            "--resume",
            *train,
        ],
    ]


def main(words: list[str]) -> int:
    work = Path(words[0] if words else "runs/pretrain").absolute()
    for line in stages(work):
        print(f"\n{' '.join(line)}", flush=True)
        code = subprocess.run(line, cwd=ROOT).returncode
        if code:
            return code
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
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
