"""python -m benchmarks [--dirty] [--old FOLDER] [NAME...]: run all benchmarks, or the named ones.

--dirty: measure, and keep records, although the checkout has changes that its commit does not hold.
--old: a checkout of an older version (git worktree add), which label_seaice times in turns with
this one.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from benchmarks import bench

NAMES = (
    *("read_patches", "feed", "prepare", "archive_scale", "peers"),
    *("whole_scenes", "scene_folder", "harness_cost", "row_cost", "exposed_communication"),
    *(
        "label_seaice",
        "tile_seaice",
        "spark_seaice",
        "degenerate_seaice",
        "intervals",
        "many_scenes",
    ),
    *("noise_scale", "noise_cost", "simulated_studies", "simulated_seconds"),
    *("better_masks", "real_masks", "seaice_networks", "bohai_seaice"),
)


def main(words: list[str]) -> int:
    names = [word for word in words if word != "--dirty"]
    if len(names) < len(words):
        os.environ[bench.DIRTY] = "1"
    if "--old" in names:
        at = names.index("--old")
        old = names[at + 1 : at + 2]
        if not old or not (Path(old[0]) / "seaice").is_dir():
            print(f"benchmarks: --old {' '.join(old)}: name a checkout", file=sys.stderr)
            return 2
        os.environ[bench.OLD] = str(Path(old[0]).absolute())
        del names[at : at + 2]
    for name in names:
        if name not in NAMES:
            print(f"benchmarks: no '{name}'; there are: {', '.join(NAMES)}", file=sys.stderr)
            return 2
    if not bench.is_reproducible() and bench.DIRTY not in os.environ:
        print(f"benchmarks: {bench.WHY_NOT}", file=sys.stderr)
        return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name in names or NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"\n{name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
        module.main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
