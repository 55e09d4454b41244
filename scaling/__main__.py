"""python -m scaling run | fit | report | check."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cloudmask.cli import errors, flags
from cloudmask.cli.errors import UsageError
from scaling.options import CheckOptions, FitOptions, ReportOptions, RunOptions

USAGE = """usage: python -m scaling COMMAND [OPTIONS]     (COMMAND --help lists its options)

  run      run a training at several rank counts: ... --out STUDY -- python train_hvd.py --data P
  fit      fit Amdahl's and Gustafson's laws, USL and the allreduce model to a study
  report   write curves, tables and a page of a study
  check    hold a study or a run against a published figure"""


def main(words: Sequence[str]) -> int:
    name, rest = (words[0] if words else "--help"), list(words[1:])
    if name in ("-h", "--help"):
        print(USAGE)
        return 0
    if name not in COMMANDS:
        raise UsageError(f"there is no command '{name}'; there are: {', '.join(COMMANDS)}")
    return COMMANDS[name](rest)


def run(words: Sequence[str]) -> int:
    options, program = flags.parse_with_program(RunOptions, words, prog="scaling run")
    from scaling.measure import study

    return study.run(options, program)


def fit(words: Sequence[str]) -> int:
    options, _ = flags.parse_with_program(FitOptions, words, prog="scaling fit")
    from scaling.laws import command

    return command.run(options)


def report(words: Sequence[str]) -> int:
    options, _ = flags.parse_with_program(ReportOptions, words, prog="scaling report")
    from scaling.report import command

    return command.run(options)


def check(words: Sequence[str]) -> int:
    options, _ = flags.parse_with_program(CheckOptions, words, prog="scaling check")
    from scaling.check import command

    return command.run(options)


COMMANDS = {"run": run, "fit": fit, "report": report, "check": check}


def console() -> int:
    """Entry point of the `scaling` script."""
    return errors.run(main, sys.argv[1:], program="scaling")


if __name__ == "__main__":
    sys.exit(console())
