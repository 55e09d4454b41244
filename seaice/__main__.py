"""python -m seaice COMMAND: sea-ice scenes to labels and patch sets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from cloudmask.cli import commands, errors
from seaice import options
from seaice.io.sources import is_uri

USAGE = """usage: python -m seaice COMMAND [OPTIONS]      (COMMAND --help lists its options)

  synth      write seeded sea-ice scenes with known truth
  label      label scenes by colour: thick ice, thin ice, open water
  prepare    cut labelled scenes into a patch set, split by scene
  scenes     turn pictures into scenes that `cloudmask predict` reads
  series     ice concentration and areas by date, tile and region
  evaluate   score masks against raw labels, filtered labels, truth, side by side

Training is train_hvd.py --preset seaice, masks of whole scenes are `cloudmask predict`."""
COMMANDS: commands.Commands = {
    "synth": (options.SynthConfig, "seaice.archive"),
    "label": (options.LabelConfig, "seaice.label"),
    "prepare": (options.PrepareConfig, "seaice.export"),
    "scenes": (options.ScenesConfig, "seaice.export"),
    "series": (options.SeriesConfig, "seaice.series.command"),
    "evaluate": (options.EvaluateConfig, "seaice.evaluation"),
}


def main(words: Sequence[str]) -> int:
    return commands.call("seaice", COMMANDS, words, usage=USAGE, check=check)


def check(config: Any) -> None:
    """UsageError where a command would write to a URI: it would be a folder of that name here."""
    if is_uri(str(config.out)):
        raise errors.UsageError(
            f"--out {config.out} is a URI, and results are written to folders alone; give a path, "
            "and copy them from there"
        )


def console() -> int:
    """Entry point of the `seaice` script."""
    return errors.run(main, sys.argv[1:], program="seaice")


if __name__ == "__main__":
    sys.exit(console())
