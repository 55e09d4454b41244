"""python -m scaling run | fit | report | check | gate | compare | seeds | ledger."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cloudmask.cli import commands, errors, flags
from scaling.options import (
    CheckConfig,
    CompareConfig,
    FitConfig,
    GateConfig,
    LedgerConfig,
    ReportConfig,
    RunConfig,
    SeedsConfig,
)

USAGE = """usage: python -m scaling COMMAND [OPTIONS]     (COMMAND --help lists its options)

  run      run a training at several rank counts: ... --out STUDY -- python train_hvd.py --data P
  fit      fit Amdahl's and Gustafson's laws, USL and the allreduce model to a study
  report   write curves, tables and a page of a study
  check    hold a study or a run against a published figure
  gate     hold a study against limits, or against an older study: exit codes for scripts
  compare  set two studies side by side
  seeds    say when runs of several seeds reached their target
  ledger   say where every second of a run went, and how often it should save"""


COMMANDS: commands.Commands = {
    "run": (RunConfig, "scaling.measure.study"),
    "fit": (FitConfig, "scaling.laws.command"),
    "report": (ReportConfig, "scaling.report.command"),
    "check": (CheckConfig, "scaling.check.command"),
    "gate": (GateConfig, "scaling.check.gate"),
    "compare": (CompareConfig, "scaling.check.compare"),
    "seeds": (SeedsConfig, "scaling.laws.seeds"),
    "ledger": (LedgerConfig, "scaling.laws.ledger"),
}


def main(words: Sequence[str]) -> int:
    if list(words[:1]) != ["run"]:
        return commands.call("scaling", COMMANDS, words, usage=USAGE)
    config, program = flags.parse_with_program(RunConfig, words[1:], prog="scaling run")
    from scaling.measure import study

    return study.run(config, program)


def console() -> int:
    """Entry point of the `scaling` script."""
    return errors.run(main, sys.argv[1:], program="scaling")


if __name__ == "__main__":
    sys.exit(console())
