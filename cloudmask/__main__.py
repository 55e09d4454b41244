"""python -m cloudmask COMMAND: everything but training, which is train_hvd.py."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cloudmask.cli import commands, errors, options
from cloudmask.version import __version__

USAGE = """usage: cloudmask COMMAND [OPTIONS]      (cloudmask COMMAND --help lists its options)

  synth      write seeded synthetic SLSTR scenes with their true cloud mask
  prepare    cut scenes into a patch set, split by scene
  label      scenes with labels of our own as a patch set: from images alone, or by looks
  verify     check a patch set against its checksums
  evaluate   measure a trained run on a patch set, or masks on whole scenes
  mllog      finished runs as a result set of the MLCommons benchmark CloudMask
  predict    masks of whole scenes from a trained run
  calibrate  a trained run made better by a few scenes whose mask is known
  refurbish  a patch set again, its labels weighed against networks that never saw them
  quicklook  masks as PNG pictures with their legends
  report     one page of figures, curves and pictures, to look at
  describe   write model.json beside trained models: a STAC Item, for catalogues

Training is train_hvd.py: mpirun -n 2 python train_hvd.py --data PATCHSET --out RUN"""

COMMANDS: commands.Commands = {
    "synth": (options.SynthConfig, "cloudmask.data.synthetic.command"),
    "prepare": (options.PrepareConfig, "cloudmask.data.prepare.command"),
    "label": (options.LabelConfig, "cloudmask.labels.command"),
    "verify": (options.VerifyConfig, "cloudmask.data.prepare.command"),
    "evaluate": (options.EvaluateConfig, "cloudmask.evaluate.command"),
    "mllog": (options.MllogConfig, "cloudmask.mlcommons.command"),
    "predict": (options.PredictConfig, "cloudmask.predict.command"),
    "calibrate": (options.CalibrateConfig, "cloudmask.labels.calibrate"),
    "refurbish": (options.RefurbishConfig, "cloudmask.labels.refurbish_command"),
    "quicklook": (options.QuicklookConfig, "cloudmask.report.quicklook"),
    "report": (options.ReportConfig, "cloudmask.report.command"),
    "describe": (options.DescribeConfig, "cloudmask.describe"),
}


def main(words: Sequence[str]) -> int:
    if list(words[:1]) == ["--version"]:
        print(f"cloudmask {__version__}")
        return 0
    return commands.call("cloudmask", COMMANDS, words, usage=USAGE)


def console() -> int:
    """Entry point of the `cloudmask` script."""
    return errors.run(main, sys.argv[1:], program="cloudmask")


if __name__ == "__main__":
    sys.exit(console())
