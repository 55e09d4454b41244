"""Train two ranks outside, inside the image, and with the mpirun outside and the ranks inside.

    make image && python tests/container.py [IMAGE]

Losses and weights must be the same bits. Wants root, buildah and .venv. Isolation is chroot's,
which needs no container runtime and no kernel features, so it works inside containers too; MPI and
the image's own user are the real ones. Under the mpirun outside, ranks get what Apptainer gives
them: the image's files and variables, and the caller's user, network, /proc, /sys, /dev and /tmp.
Takes two minutes. No test of pytest's, because the image it is about takes ten to build.
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

from cloudmask.files import sha256_of
from cloudmask.train import checkpoint

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv" / "bin"
RANKS = ("mpirun", "-n", "2")
MPIRUN = (str(BIN / RANKS[0]), *RANKS[1:])
# The host's session folder is in the /tmp that all share.
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "TMPDIR": "/tmp"}
SYNTH = ("cloudmask", "synth", "--scenes", "8", "--height", "300", "--width", "400", "--seed", "5")
PREPARE = ("cloudmask", "prepare", "--patch-size", "64", "--split", "train=0.75,valid=0.25")
TRAIN = (
    *("train_hvd.py", "--epochs", "3", "--batch-size", "4", "--widths", "8", "16"),
    *("--seed", "1", "--threads", "1", "--precision", "float32", "--no-tensorboard"),
)
BUILDAH = ("buildah", "run", "--isolation", "chroot")
# A shell script: COMMAND in a container's files. Its mounts vanish with the namespace it runs in.
ENTER = """
folder=$1 data=$2
shift 2
for shared in /proc /sys /dev /tmp; do mount --rbind "$shared" "$folder$shared" || exit; done
mount --bind "$data" "$folder/data" && exec chroot "$folder" env --chdir /data "$@"
"""


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


def variables_of(name: str) -> list[str]:
    """NAME=VALUE of every variable that the container's image sets."""
    told = subprocess.run(["buildah", "inspect", name], check=True, stdout=subprocess.PIPE)
    return json.loads(told.stdout)["OCIv1"]["config"]["Env"]


@contextlib.contextmanager
def mounted(name: str) -> Iterator[str]:
    """The folder where a container's files are, as long as the block lasts."""
    told = subprocess.run(["buildah", "mount", name], check=True, stdout=subprocess.PIPE, text=True)
    try:
        yield told.stdout.strip()
    finally:
        subprocess.run(["buildah", "umount", name], check=True, stdout=subprocess.DEVNULL)


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
    return newest, sha256_of(checkpoint.load(folder, newest).path)


def compare(image: str, work: Path) -> str | int:
    work.chmod(0o777)  # the image's user is nobody here
    with container(image) as name:
        inside = (*BUILDAH, "--volume", f"{work}:/data", name, "--")
        run([*inside, *SYNTH, "--out", "/data/scenes"])
        run([*inside, *RANKS, *PREPARE, "/data/scenes", "--out", "/data/patches"])
        run([*inside, *RANKS, *TRAIN, "--data", "/data/patches", "--out", "/data/inside"])
        with mounted(name) as folder:
            (work / "enter.sh").write_text(ENTER)
            enter = ["unshare", "--mount", "sh", str(work / "enter.sh"), folder, str(work)]
            enter += ["--unset=PYTHONPATH", *variables_of(name)]
            data = ["--data", "/data/patches", "--out", "/data/around"]
            run([*MPIRUN, *enter, *TRAIN, *data], **AS_ROOT)
    data = ["--data", str(work / "patches"), "--out", str(work / "outside")]
    run([*MPIRUN, str(BIN / "python"), str(ROOT / TRAIN[0]), *TRAIN[1:], *data], **AS_ROOT)

    owner = (work / "inside" / "summary.json").stat().st_uid
    if owner == 0:
        return "container: the ranks inside ran as root"
    for what in (losses, weights):
        outside = what(work / "outside")
        for where in ("inside", "around"):
            found = what(work / where)
            if not found or found != outside:
                return f"container: {what.__name__} differ, {where} and outside: {found}, {outside}"
    step, checksum = weights(work / "inside")
    print(f"container: user {owner} inside, ranks inside of an mpirun outside, and user 0 outside")
    print(f"  wrote the same bits: {len(losses(work / 'inside'))} losses; ", end="")
    print(f"weights at step {step}, sha256 {checksum}")
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
