"""Make models/synthetic.keras, from which `make demo` starts: a network of better_masks.

    python -m benchmarks.pretrained

It is that of the row "A + looks" and the first seed. It learned from what cloud and clear sky look
like where both views of 128 synthetic scenes see them; it has seen no truth, none of the demo's
scenes, and no real scene. Beside it a JSON file says so.
"""

from __future__ import annotations

import os

from benchmarks import bench, better_masks
from cloudmask.files import sha256_of, write_json, write_whole

MODEL = bench.ROOT / "models" / "synthetic.keras"
ROW, SEED = "looks", better_masks.SEEDS[0]


def main() -> None:
    better_masks.make_scenes()
    better_masks.make_patches()
    better_masks.train(min(os.sched_getaffinity(0)), ROW, SEED)
    run = better_masks.run_of(ROW, SEED)
    summary = bench.summary(run)
    write_whole(MODEL, (run / "model.keras").read_bytes())
    count, seed = better_masks.ARCHIVES["train"]
    size = f"{better_masks.HEIGHT} x {better_masks.WIDTH}"
    card = {
        "model": MODEL.name,
        "sha256": sha256_of(MODEL),
        "learned_from": "the looks of the classes of the Bayesian mask where both views see them, "
        f"in {count} synthetic scenes of {size} (cloudmask synth --seed {seed} --extras skin; "
        "cloudmask label --method densities)",
        "use": "a start for training on synthetic scenes (--init); it has never seen a real one",
        "made_by": "python -m benchmarks.pretrained",
        "validation": {
            name: summary["best"][name] for name in ("epoch", "loss", "accuracy", "majority")
        },
        **{name: summary[name] for name in ("epochs_run", "precision", "ranks", "seed", "date")},
    }
    write_json(MODEL.with_suffix(".json"), card)
    print(f"{MODEL.relative_to(bench.ROOT)}: {MODEL.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
