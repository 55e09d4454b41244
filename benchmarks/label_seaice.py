"""Labelling sea-ice scenes of 2048 x 2048: one core, what decoding takes of it, two processes.

The scenes are links to a few synthetic ones, so they come from the page cache. Files are written
as always: aside, flushed to this disk, renamed.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from pathlib import Path

from benchmarks import bench

SIZE, ORIGINALS, SCENES, REPEATS = 2048, 4, 64, 3


def main() -> None:
    originals = synthetic_scenes()
    core = one_core(originals[0])
    folder = bench.linked(originals, SCENES, hard=True)
    checkouts = {"": bench.ROOT}
    if bench.OLD in os.environ:
        checkouts["old "] = Path(os.environ[bench.OLD])
    seconds: dict[str, list[float]] = {}
    share = []
    for _ in range(REPEATS):
        for engine in ("serial", "processes"):
            for version, checkout in checkouts.items():
                summary = label(folder, "--engine", engine, checkout=checkout)
                seconds.setdefault(f"{version}{engine}", []).append(summary["wall"])
                parts = [summary["seconds"][key] for key in ("decode", "label", "write")]
                if engine == "serial" and not version:
                    share.append(parts[0] / sum(parts))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"one core, one scene of {SIZE} x {SIZE}")
    for name, values in core.items():
        print(f"  {name:<28} {1e3 * statistics.median(values):6.1f} ms")
    print(f"{SCENES} scenes, start-up included")
    for name, values in seconds.items():
        print(f"  {name:<14} {bench.spread(values)} s")
    ratio = median["serial"] / median["processes"]
    print(f"  ratio          {ratio:.2f} (target 1.8)")
    print(f"  decoding is {statistics.median(share):.0%} of a scene's time, writing included")
    old = {}
    if len(checkouts) > 1:
        old = {
            "old_commit": bench.commit_of(checkouts["old "]),
            "old_serial_seconds": seconds["old serial"],
            "old_processes_2_seconds": seconds["old processes"],
        }
        print(f"  serial, to the old version's: {median['serial'] / median['old serial']:.2f}")
    bench.keep(
        "label_seaice",
        scenes=SCENES,
        size=SIZE,
        one_core_seconds=core,
        serial_seconds=seconds["serial"],
        processes_2_seconds=seconds["processes"],
        ratio=ratio,
        decoding_share=share,
        **old,
    )


def synthetic_scenes() -> list[Path]:
    """A few scenes of full size, made once."""
    out = bench.WORK / "ice"
    words = ["--scenes", ORIGINALS, "--height", SIZE, "--width", SIZE]
    bench.run([sys.executable, "-m", "seaice", "synth", "--out", out, *words])
    return sorted((out / "scenes").glob("*.png"))[:ORIGINALS]


def label(folder: Path, *words: object, checkout: Path = bench.ROOT) -> dict:
    """summary.json of a fresh labelling by a checkout, and its wall time in seconds."""
    out = bench.WORK / "ice-labels"
    shutil.rmtree(out, ignore_errors=True)
    os.sync()
    start = f"PYTHONPATH={checkout}"
    line = ["env", start, sys.executable, "-m", "seaice", "label", folder, "--out", out, *words]
    wall = bench.seconds(lambda: bench.run(line, cwd=checkout))
    return bench.summary(out) | {"wall": wall}


def one_core(path: Path, repeats: int = 7) -> dict[str, list[float]]:
    """Seconds of each step of one scene, on one thread."""
    from cloudmask.data.tiles import Window
    from seaice import adaptive, colour
    from seaice.io import sources
    from seaice.io.picture import Picture, Reading, open_scene
    from seaice.rule import Rule, label_scene
    from seaice.survey import Survey

    (source,) = sources.find([str(path)], apart_from=path.parent / "none")

    def read() -> Picture:
        with open_scene(source, Reading()) as scene:
            return scene.picture()

    picture = read()
    known = ~picture.missing
    raw = colour.classify(colour.brightness(picture.image))
    steps = {
        "decode": read,
        "colour rule": lambda: colour.classify(colour.brightness(picture.image)),
        "filter": lambda: Survey(raw.shape).add(
            picture.image, raw, picture.missing, colour.PAPER, Window(0, len(raw), 0, len(raw))
        ),
        "colour rule and filter": lambda: label_scene(picture.image, picture.missing, Rule()),
        "exposure": lambda: adaptive.estimate(picture.image, known),
    }
    seconds: dict[str, list[float]] = {}
    for name, step in steps.items():
        step()
        seconds[name] = [bench.seconds(step) for _ in range(repeats)]
    return seconds
