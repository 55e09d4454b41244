"""python -m benchmarks [NAME...]: run all benchmarks, or the named ones, one after the other."""

from __future__ import annotations

import importlib
import os
import sys

NAMES = (
    *("read_patches", "feed", "prepare", "archive_scale", "peers"),
    *("whole_scenes", "scene_folder", "harness_cost", "exposed_communication"),
    *("label_seaice", "spark_seaice", "degenerate_seaice", "intervals", "many_scenes"),
    "simulated_studies",
)


def main(names: list[str]) -> int:
    for name in names:
        if name not in NAMES:
            print(f"benchmarks: no '{name}'; there are: {', '.join(NAMES)}", file=sys.stderr)
            return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name in names or NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"\n{name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
        module.main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
