"""python -m seaice COMMAND: sea-ice scenes to labels and patch sets."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cloudmask.cli import errors
from cloudmask.cli.flags import parse
from seaice import options

USAGE = """usage: python -m seaice COMMAND [OPTIONS]      (COMMAND --help lists its options)

  synth      write seeded sea-ice scenes with known truth
  label      label scenes by colour: thick ice, thin ice, open water
  prepare    cut labelled scenes into a patch set, split by scene
  scenes     turn pictures into scenes that `cloudmask predict` reads
  evaluate   score masks against raw labels, filtered labels, truth, side by side

Training is train_hvd.py --preset seaice, masks of whole scenes are `cloudmask predict`."""


def main(words: Sequence[str]) -> int:
    name, rest = (words[0] if words else "--help"), list(words[1:])
    if name in ("-h", "--help"):
        print(USAGE)
        return 0
    if name not in COMMANDS:
        raise errors.UsageError(
            f"there is no command '{name}'; there are: {', '.join(COMMANDS)} (--help explains them)"
        )
    return COMMANDS[name](rest)


def synth(words: Sequence[str]) -> int:
    settings = parse(options.SynthConfig, words, prog="seaice synth")
    from seaice.archive import synth

    return synth(settings)


def label(words: Sequence[str]) -> int:
    settings = parse(options.LabelConfig, words, prog="seaice label")
    from seaice.label import label

    return label(settings)


def prepare(words: Sequence[str]) -> int:
    settings = parse(options.PrepareConfig, words, prog="seaice prepare")
    from seaice.export import prepare

    return prepare(settings)


def scenes(words: Sequence[str]) -> int:
    settings = parse(options.ScenesConfig, words, prog="seaice scenes")
    from seaice.export import scenes

    return scenes(settings)


def evaluate(words: Sequence[str]) -> int:
    settings = parse(options.EvaluateConfig, words, prog="seaice evaluate")
    from seaice.evaluation import evaluate

    return evaluate(settings)


COMMANDS = {f.__name__: f for f in (synth, label, prepare, scenes, evaluate)}


def console() -> int:
    """Entry point of the `seaice` script."""
    return errors.run(main, sys.argv[1:], program="seaice")


if __name__ == "__main__":
    sys.exit(console())
