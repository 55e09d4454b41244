"""The sea-ice road in minutes: scenes, labels on every engine, two ranks, a series, a page.

Run by `make demo-seaice`. Every stage is an ordinary command line, printed before it runs. A second
run reuses what the first has left in demo/seaice/. Spark is left out where there is no Java.
"""

from __future__ import annotations

import filecmp
import shutil
import sys
from pathlib import Path

from run_stages import CLOUDMASK, ON_RANKS, TRAIN, Stage, Words, run

DEMO = Path("demo") / "seaice"
ICE, PATCHES, RUN = DEMO / "ice", DEMO / "patches", DEMO / "run"
SCENES, MASKS, REPORT = ICE / "scenes", DEMO / "masks", DEMO / "report"
ENGINES = ("serial", "processes", "mpi", "spark")


def stages(engines: tuple[str, ...]) -> list[Stage]:
    """Name and command line of each stage."""
    seaice: Words = [sys.executable, "-m", "seaice"]
    size: Words = ["--height", 512, "--width", 512]
    # One place on twelve dates: neighbours would share ground between training and test.
    place: Words = ["--crs", "EPSG:32622", "--days", 12]
    synth = [*seaice, "synth", "--out", ICE, "--scenes", 12, *size, *place]
    synth += ["--engine", "processes"]
    found: list[Stage] = [("scenes", synth)]
    for engine in engines:
        words = [*seaice, "label", SCENES, "--out", DEMO / f"labels-{engine}", "--engine", engine]
        found.append((f"labels, {engine}", [*ON_RANKS, *words] if engine == "mpi" else words))
    filtered, raw = DEMO / "labels-serial", DEMO / "labels-raw"
    split: Words = ["--patch-size", 128, "--split", "train=0.6,valid=0.15,test=0.25"]
    train: Words = [*TRAIN, "--data", PATCHES, "--out", RUN, "--resume"]
    smaller: Words = ["--widths", 16, 32, 64, "--dropout", 0.1, 0.1, 0.2]
    shorter: Words = ["--batch-size", 4, "--epochs", 10]
    references: Words = [f"filtered={filtered}", f"raw={raw}", f"truth={ICE / 'truth'}"]
    compared: Words = [f"network={MASKS}", f"labels={filtered}"]
    return [
        *found,
        ("raw labels", [*seaice, "label", SCENES, "--out", raw, "--filter", "none"]),
        ("patches", [*seaice, "prepare", SCENES, "--labels", filtered, "--out", PATCHES, *split]),
        ("training", [*ON_RANKS, *train, "--preset", "seaice", *smaller, *shorter]),
        ("masks", [*ON_RANKS, *CLOUDMASK, "predict", RUN, f"{PATCHES}-scenes", "--out", MASKS]),
        *(
            (
                f"series of {name}",
                [*seaice, "series", folder, "--out", DEMO / f"series-{name}"],
            )
            for name, folder in (("labels", filtered), ("masks", MASKS))
        ),
        (
            "page",
            [
                *(*seaice, "evaluate", "--predictions", *compared, "--against", *references),
                *("--patchset", PATCHES, "--split", "test", "--scenes", SCENES),
                *("--out", REPORT),
            ],
        ),
    ]


def main() -> int:
    engines = ENGINES if shutil.which("java") else ENGINES[:-1]
    if engines != ENGINES:
        print("demo: no Java here, so Spark is left out")
    seconds = run(stages(engines), program="demo")
    differing = [engine for engine in engines if not same_labels(engine)]
    if differing:
        print(f"demo: other labels on {', '.join(differing)} than serial", file=sys.stderr)
        return 1
    took = ", ".join(f"{name} {spent:.0f} s" for name, spent in seconds.items())
    print(f"\nThe same labels, byte for byte, on {', '.join(engines)}.")
    print(f"Time: {took}.")
    print(f"Series: {DEMO / 'series-labels' / 'series.png'}")
    print(f"Page: {REPORT / 'index.html'}   model: {RUN / 'model.keras'}   labels: {DEMO}")
    return 0


def same_labels(engine: str) -> bool:
    """Whether an engine wrote the label files that one process wrote."""
    first, other = (DEMO / f"labels-{name}" / "labels" for name in ("serial", engine))
    names = sorted(path.name for path in first.iterdir())
    same, _, _ = filecmp.cmpfiles(first, other, names, shallow=False)
    return sorted(same) == names == sorted(path.name for path in other.iterdir())


if __name__ == "__main__":
    sys.exit(main())
