"""python -m scaling run | fit | report | check."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from scaling import command
from scaling.command import UsageError

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
    import scaling.study
    from scaling.settings import RunSettings

    settings, program = command.parse(RunSettings, words, prog="scaling run")
    return scaling.study.run(settings, program)


def fit(words: Sequence[str]) -> int:
    import scaling.fitting
    from scaling.settings import FitSettings

    settings, _ = command.parse(FitSettings, words, prog="scaling fit")
    return scaling.fitting.run(settings)


def report(words: Sequence[str]) -> int:
    import scaling.report
    from scaling.settings import ReportSettings

    settings, _ = command.parse(ReportSettings, words, prog="scaling report")
    return scaling.report.run(settings)


def check(words: Sequence[str]) -> int:
    import scaling.target
    from scaling.settings import CheckSettings

    settings, _ = command.parse(CheckSettings, words, prog="scaling check")
    return scaling.target.run(settings)


COMMANDS = {"run": run, "fit": fit, "report": report, "check": check}

if __name__ == "__main__":
    sys.exit(command.run(main, sys.argv[1:], program="scaling"))
