"""Train two ranks inside the image and outside of it: losses and weights must be the same bits.

    make image && python tests/container.py [IMAGE]

Wants root, buildah and .venv. Isolation is chroot's, which needs no container runtime and no kernel
features, so it works inside containers too; MPI and the image's own user are the real ones. Takes
two minutes. No test of pytest's, because the image it is about takes ten to build.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloudmask import runlog
from cloudmask.train import checkpoint

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv" / "bin"
RANKS = ("mpirun", "-n", "2")
SYNTH = ("cloudmask", "synth", "--scenes", "8", "--height", "300", "--width", "400", "--seed", "5")
PREPARE = ("cloudmask", "prepare", "--patch-size", "64", "--split", "train=0.75,valid=0.25")
TRAIN = (
    *("train_hvd.py", "--epochs", "3", "--batch-size", "4", "--widths", "8", "16"),
    *("--seed", "1", "--threads", "1", "--precision", "float32", "--no-tensorboard"),
)
# Gloo crashes where a host cannot resolve its own name, which is new in every such container.
BUILDAH = ("buildah", "run", "--isolation", "chroot", "--hostname", "localhost")


@contextlib.contextmanager
def container(image: str) -> Iterator[str]:
    """The name of a container of the image, removed at the end."""
    made = subprocess.run(["buildah", "from", image], check=True, stdout=subprocess.PIPE, text=True)
    name = made.stdout.strip()
    try:
        yield name
    finally:
        subprocess.run(["buildah", "rm", name], check=True, stdout=subprocess.DEVNULL)


def run(words: Sequence[str], **variables: str) -> None:
    print(f"container: {' '.join(words)}", flush=True)
    subprocess.run(words, check=True, env=os.environ | variables)


def losses(run_folder: Path) -> list[tuple[str, float]]:
    """Every loss a run wrote down, of steps and of epochs, in order."""
    lines = (run_folder / "events.jsonl").read_text().splitlines()
    found = []
    for line in lines:
        event = json.loads(line)
        found += [(key, value) for key, value in sorted(event.items()) if key.endswith("loss")]
    return found


def weights(run_folder: Path) -> tuple[int, str]:
    """The newest checkpoint's step, and the checksum of its variables."""
    folder = run_folder / "checkpoints"
    newest = checkpoint.steps(folder)[-1]
    return newest, runlog.sha256_of(checkpoint.load(folder, newest).path)


def compare(image: str, work: Path) -> str | int:
    work.chmod(0o777)  # the image's user is nobody here
    with container(image) as name:
        inside = (*BUILDAH, "--volume", f"{work}:/data", name, "--")
        run([*inside, *SYNTH, "--out", "/data/scenes"])
        run([*inside, *RANKS, *PREPARE, "/data/scenes", "--out", "/data/patches"])
        run([*inside, *RANKS, *TRAIN, "--data", "/data/patches", "--out", "/data/inside"])
    own = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    launch = [str(BIN / RANKS[0]), *RANKS[1:], str(BIN / "python"), str(ROOT / TRAIN[0])]
    data = ["--data", str(work / "patches"), "--out", str(work / "outside")]
    run([*launch, *TRAIN[1:], *data], **own)

    owner = (work / "inside" / "summary.json").stat().st_uid
    if owner == 0:
        return "container: the ranks inside ran as root"
    for what in (losses, weights):
        found = what(work / "inside"), what(work / "outside")
        if not found[0] or found[0] != found[1]:
            return f"container: {what.__name__} differ, inside and outside: {found[0]}, {found[1]}"
    step, checksum = weights(work / "inside")
    print(f"container: user {owner} inside and user 0 outside wrote the same bits:")
    print(f"  {len(losses(work / 'inside'))} losses; weights at step {step}, sha256 {checksum}")
    return 0


def main() -> str | int:
    image = sys.argv[1] if len(sys.argv) > 1 else "localhost/cloudmask:cpu"
    if os.getuid() != 0:
        return "container: chroot isolation wants root"
    if shutil.which("buildah") is None:
        return "container: no buildah found: install it (Debian: apt install buildah)"
    with tempfile.TemporaryDirectory() as folder:
        try:
            return compare(image, Path(folder))
        except subprocess.CalledProcessError as error:
            return f"container: {' '.join(error.cmd)} failed (exit code {error.returncode})"


if __name__ == "__main__":
    sys.exit(main())
