"""The command line of setup: `make setup` and `make wheelhouse`."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import wanted
import wheelhouse
from environment import cache_folder, child_variables, create_venv, horovod_builder, set_up
from horovod_target import DEVICES, detect_target
from packages import LOCKED, pip, written
from stages import Failure, run, say
from stamp import Environment, digest
from wanted import Wanted
from wheelhouse import Wheelhouse

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def only_one_setup(root: Path) -> Iterator[None]:
    """Let a second setup of this checkout wait for the first, rather than mix with it."""
    with (root / "requirements-build.lock").open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another setup of this checkout is running: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            pass  # some shared file systems know no locks: two setups at once are up to the user
        yield


def make_wheelhouse(folder: Path, want: Wanted, *, piece_bytes: int | None) -> None:
    """Gather all files in unfinished/, set an environment up from them alone, then finish.

    What a broken-off run has gathered is used by the next one.
    """
    if (folder / wheelhouse.MANIFEST).exists():
        manifest = wheelhouse.read_manifest(folder)
        wheelhouse.refuse_misfit(folder, manifest, device=want.device, lock=want.whole_lock)
        say(f"{folder} is there already; to make it anew, remove it")
        return
    target = detect_target(want.device, want.lock, want.build_lock.read_text())
    # Of the same target and lock, or else something of another would be in the wheelhouse.
    unfinished = folder / "unfinished" / digest(target.key(), want.lock)
    made = Wheelhouse(unfinished / "files", target, wheel=None)
    made.files.mkdir(parents=True, exist_ok=True)
    trial = Environment(unfinished / ".venv")
    variables = child_variables(os.environ, trial)
    create_venv(trial, variables)

    say(f"wheelhouse: fetch what the lock for {want.device} names")
    requirements = written(want.lock, unfinished / "requirements.lock")
    fetch = pip(trial, "download", *LOCKED, "--dest", made.files, "--requirement", requirements)
    log = trial.log("download")
    run(fetch, what="downloading packages", log=log, environment=variables)

    say("wheelhouse: set an environment up from it alone")
    set_up(trial, want, contextlib.nullcontext(made))
    shutil.copy(horovod_builder(trial, want, target, variables).wheel(), made.files)
    wheelhouse.finish(made, folder, lock=want.whole_lock, piece_bytes=piece_bytes)
    shutil.rmtree(folder / "unfinished")
    size = sum(path.stat().st_size for path in folder.iterdir())
    say(f"ready: {folder}, {size / 1e9:.1f} GB, for {target.python_tag} and DEVICE={want.device}")


def main() -> str | int:
    """Run setup; return what sys.exit takes: 0, or the problem in words."""
    parser = argparse.ArgumentParser(description="Build .venv from the lock file, with Horovod.")
    parser.add_argument("--device", choices=DEVICES, help="default: as before, at first cpu")
    parser.add_argument("--tensorflow", help="a version that a lock pins; default: as before")
    parser.add_argument("--wheelhouse", type=Path, help="take all from there, nothing elsewhere")
    parser.add_argument("--make-wheelhouse", type=Path, help="make one, and leave .venv as it is")
    parser.add_argument("--pieces", help="cut the wheelhouse into pieces of that size, say 50M")
    parser.add_argument(
        "--image", action="store_true", help="what a container image needs, without the project"
    )
    arguments = parser.parse_args()
    # Treated like Ctrl-C, so that children and scratch folders do not outlive this process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with only_one_setup(ROOT):
            _run(arguments)
    except (Failure, OSError) as failure:
        return f"setup: {failure}"
    except KeyboardInterrupt:
        print("\nsetup: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _run(arguments: argparse.Namespace) -> None:
    """Each choice is the user's, else the wheelhouse's, else that of .venv as it is."""
    environment, folder = Environment(ROOT / ".venv"), arguments.wheelhouse
    stamp = environment.stamp()
    if folder:
        target = wheelhouse.read_manifest(folder).target
        stamp = {"device": target.device, "tensorflow": target.tensorflow}
    device = arguments.device or stamp.get("device", "cpu")
    same = device == stamp.get("device")
    tensorflow = arguments.tensorflow or (stamp.get("tensorflow") if same else None)
    want = wanted.read(ROOT, device, tensorflow, image=arguments.image)
    if arguments.make_wheelhouse:
        pieces = wheelhouse.bytes_of(arguments.pieces) if arguments.pieces else None
        folder = arguments.make_wheelhouse.absolute()
        make_wheelhouse(folder, dataclasses.replace(want, project=None), piece_bytes=pieces)
        return
    source: AbstractContextManager[Wheelhouse | None] = contextlib.nullcontext()
    if folder:
        scratch = cache_folder(os.environ)
        source = wheelhouse.opened(
            folder.absolute(), device=device, lock=want.whole_lock, scratch=scratch
        )
    set_up(environment, want, source)
