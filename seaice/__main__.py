"""python -m seaice COMMAND: sea-ice scenes to labels and patch sets."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cloudmask import command
from cloudmask.config import UsageError, parse
from seaice import config

USAGE = """usage: python -m seaice COMMAND [OPTIONS]      (COMMAND --help lists its options)

  label      label scenes by colour: thick ice, thin ice, open water

Training is train_hvd.py, masks of whole scenes are `cloudmask predict`, as for clouds."""


def main(words: Sequence[str]) -> int:
    name, rest = (words[0] if words else "--help"), list(words[1:])
    if name in ("-h", "--help"):
        print(USAGE)
        return 0
    if name not in COMMANDS:
        raise UsageError(
            f"there is no command '{name}'; there are: {', '.join(COMMANDS)} (--help explains them)"
        )
    return COMMANDS[name](rest)


def label(words: Sequence[str]) -> int:
    settings = parse(config.LabelConfig, words, prog="seaice label")
    from seaice.labelling import label

    return label(settings)


COMMANDS = {"label": label}


if __name__ == "__main__":
    sys.exit(command.run(main, sys.argv[1:], program="seaice"))
