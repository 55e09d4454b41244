"""Several command lines, one after the other, in one set of ranks.

mpirun -n N python many_runs.py CASES.json OUT

Importing TensorFlow takes longer than a tiny training. Each case goes through `errors.run` as
train_hvd.py itself does; what a rank printed, how it ended and the weights that it holds are left
in OUT/NAME-RANK.json.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import resource
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import train_hvd
from cloudmask import __main__ as cli
from cloudmask.cli import errors


def checksums(arrays: Sequence[Any]) -> str:
    """One sha256 over the bits of many arrays."""
    import numpy as np

    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def tree(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder, by relative path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


@contextlib.contextmanager
def printed_into(out: Path, err: Path) -> Iterator[None]:
    """Collect what is written to the descriptors of stdout and stderr, by libraries too."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with out.open("wb") as out_file, err.open("wb") as err_file:
        os.dup2(out_file.fileno(), 1)
        os.dup2(err_file.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in enumerate(kept, start=1):
                os.dup2(copy, number)
                os.close(copy)


@contextlib.contextmanager
def largest_file(size: int | None) -> Iterator[None]:
    """Let rank 0 write no file beyond so many bytes, which is as good as a full disk."""
    free, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size is not None and errors.launched_rank() == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))


def failing(error: str) -> Callable[[Any], tuple[Any, Any]]:
    """The programs of a training whose third step ends in this error of TensorFlow."""
    import tensorflow as tf

    from cloudmask.train import loop

    def programs(run: Any) -> tuple[Any, Any]:
        step, validate = loop.make_programs(run)

        def failing_step(*words: Any) -> Any:
            if run.state.step == 2:
                raise getattr(tf.errors, error)(None, None, "no workspace\n  for this convolution")
            return step(*words)

        return failing_step, validate

    return programs


def run(case: dict[str, Any], out: Path) -> dict[str, Any]:
    """One command line, through a training that shows which network it has built."""
    import keras

    from cloudmask.train import begin, loop

    built: list[Any] = []

    def build(plan: Any) -> Any:
        built.append(begin.build_network(plan))
        return built[-1]

    functions = loop.Functions(build=build)
    if case["fails_with"]:
        functions = loop.Functions(build=build, programs=failing(case["fails_with"]))
    train = functools.partial(train_hvd.main, functions=functions)
    programs = {"train_hvd.py": train, "cloudmask": cli.main}
    keras.utils.clear_session()  # so that names start afresh, as in a process of its own
    texts = [out.with_suffix(f".{kind}") for kind in ("out", "err")]
    program = case["program"]
    if errors.launched_rank() == 0 and case["copy_of"]:
        shutil.copytree(case["copy_of"], case["folder"])
        for name in case["without"]:
            Path(case["folder"], name).unlink()
    with printed_into(*texts), largest_file(case["largest_file"]):
        try:
            quietly = {"program": program, "wait": lambda seconds: None}
            code: Any = errors.run(programs[program], case["words"], **quietly)
        except BaseException:
            traceback.print_exc()
            code = "raised"
    model, optimizer = built[0] if built else (None, None)
    return {
        "code": code,
        "out": texts[0].read_text(),
        "err": texts[1].read_text(),
        "weights": checksums([v.value for v in model.trainable_variables]) if built else None,
        "optimizer": checksums([v.value for v in optimizer.variables]) if built else None,
        # While another rank is done, rank 0 may still write.
        "tree": tree(Path(case["folder"]))
        if case["folder"] and not errors.launched_rank()
        else None,
    }


def main(cases: Path, out: Path) -> None:
    with errors.loading_tensorflow():
        from cloudmask.train import loop  # noqa: F401
    for case in json.loads(cases.read_text()):
        path = out / f"{case['name']}-{errors.launched_rank()}"
        path.with_suffix(".json").write_text(json.dumps(run(case, path)))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
