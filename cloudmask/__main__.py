"""python -m cloudmask COMMAND: everything but training, which is train_hvd.py."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cloudmask import __version__
from cloudmask.cli import errors, flags, options

USAGE = """usage: cloudmask COMMAND [OPTIONS]      (cloudmask COMMAND --help lists its options)

  synth      write seeded synthetic SLSTR scenes with their true cloud mask
  prepare    cut scenes into a patch set, split by scene
  verify     check a patch set against its checksums
  evaluate   measure a trained run on a patch set, or masks on whole scenes
  mllog      finished runs as a result set of the MLCommons benchmark CloudMask
  predict    masks of whole scenes from a trained run
  report     one page of figures, curves and pictures, to look at

Training is train_hvd.py: mpirun -n 2 python train_hvd.py --data PATCHSET --out RUN"""


def main(words: Sequence[str]) -> int:
    name, rest = (words[0] if words else "--help"), list(words[1:])
    if name in ("-h", "--help"):
        print(USAGE)
        return 0
    if name == "--version":
        print(f"cloudmask {__version__}")
        return 0
    if name not in COMMANDS:
        raise errors.UsageError(
            f"there is no command '{name}'; there are: {', '.join(COMMANDS)} (--help explains them)"
        )
    return COMMANDS[name](rest)


def synth(words: Sequence[str]) -> int:
    settings = flags.parse(options.SynthConfig, words, prog="cloudmask synth")
    from tqdm import tqdm

    from cloudmask.data.synthetic import scenes as synthetic

    with tqdm(total=settings.scenes, desc="synth", unit="scene", leave=False, disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.update(done - bar.n)

        paths = synthetic.synthesize(
            settings.out,
            num_scenes=settings.scenes,
            height=settings.height,
            width=settings.width,
            seed=settings.seed,
            progress=show,
        )
    print(f"{len(paths)} scenes of {settings.height} x {settings.width} in {settings.out}")
    return 0


def prepare(words: Sequence[str]) -> int:
    settings = flags.parse(options.PrepareConfig, words, prog="cloudmask prepare")
    from cloudmask.data.prepare.command import prepare

    return prepare(
        settings.scenes,
        settings.out,
        patch_size=settings.patch_size,
        stride=settings.stride,
        split=settings.split,
        split_by=settings.split_by,
        label=settings.label,
        seed=settings.seed,
        strict=settings.strict,
        verify_products=settings.verify,
    )


def verify(words: Sequence[str]) -> int:
    settings = flags.parse(options.VerifyConfig, words, prog="cloudmask verify")
    from cloudmask.data.prepare.command import verify_command

    return verify_command(settings.patchset)


def evaluate(words: Sequence[str]) -> int:
    settings = flags.parse(options.EvaluateConfig, words, prog="cloudmask evaluate")
    from cloudmask.evaluate.command import evaluate

    return evaluate(settings)


def mllog(words: Sequence[str]) -> int:
    settings = flags.parse(options.MllogConfig, words, prog="cloudmask mllog")
    from cloudmask.mlcommons.command import mllog

    return mllog(settings)


def predict(words: Sequence[str]) -> int:
    settings = flags.parse(options.PredictConfig, words, prog="cloudmask predict")
    from cloudmask.predict.command import predict

    return predict(settings)


def report(words: Sequence[str]) -> int:
    settings = flags.parse(options.ReportConfig, words, prog="cloudmask report")
    try:
        from cloudmask.report.command import report
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("cloudmask"):
            raise
        raise ValueError(
            f"report needs {error.name}, which is not installed: pip install 'cloudmask[report]'"
        ) from None

    return report(settings)


COMMANDS = {
    "synth": synth,
    "prepare": prepare,
    "verify": verify,
    "evaluate": evaluate,
    "mllog": mllog,
    "predict": predict,
    "report": report,
}


def console() -> int:
    """Entry point of the `cloudmask` script."""
    return errors.run(main, sys.argv[1:], program="cloudmask")


if __name__ == "__main__":
    sys.exit(console())
