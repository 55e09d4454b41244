"""File systems that know no locks, as NFS, Lustre and DVS can be: everything works on them.

One process runs the whole way on a library that makes locks fail as the kernel does there.
"""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sen3
import tiny

ERRORS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524)
"""the last is ENOTSUPP, which the kernel has for itself and NFS lets out"""

WHOLE_WAY = """
import fcntl, json, os, sys
from pathlib import Path

numbers, work, scenes, products = json.loads(sys.argv[1]), *map(Path, sys.argv[2:5])
sys.path.insert(0, str(work / "setup"))
with open(work / "any", "w") as file:
    for number in numbers:
        os.environ["NOLOCK_ERRNO"] = str(number)
        for lock in (fcntl.flock, fcntl.lockf):
            try:
                lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                assert error.errno == number
            else:
                sys.exit("there are locks")

import train_hvd
from cloudmask import __main__ as cli
from cloudmask.cli import errors

def run(main, *words):
    code = errors.run(main, [str(word) for word in words], program="program")
    assert code == 0, words

sizes = ["--widths", 4, 8, "--epochs", 1, "--threads", 1, "--no-tensorboard"]
for number in numbers:
    os.environ["NOLOCK_ERRNO"] = str(number)
    out = work / str(number)
    data, trained, masks = out / "data", out / "run", out / "masks"
    prepared = ["prepare", scenes, "--out", data, "--patch-size", 32]
    run(cli.main, *prepared, "--split", "train=0.75,valid=0.25")
    run(cli.main, "verify", data)
    if number == numbers[0]:
        run(train_hvd.main, "--data", data, "--out", trained, *sizes, "--stage", out / "near")
        model = trained / "model.keras"
    (out / "near").mkdir(exist_ok=True)
    for _ in range(2):
        run(cli.main, "predict", model, scenes, "--out", masks)
    run(cli.main, "predict", model, scenes, "--out", out / "masks-hdf5", "--format", "hdf5")
    run(cli.main, "evaluate", model, data, "--out", out / "patches.json")
    run(cli.main, "evaluate", masks, scenes)
    run(cli.main, "prepare", products, "--out", out / "of-products", "--patch-size", 8,
        "--split", "train=1")

    from scaling.record import store
    with store.lock(out):
        pass
    import command
    with command.only_one_setup(work):
        pass
    print("worked with", number)
"""


@pytest.fixture(scope="module")
def nolock(tmp_path_factory):
    """The library."""
    made = tmp_path_factory.mktemp("nolock") / "nolock.so"
    source = Path(__file__).with_name("nolock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True)
    return made


@pytest.mark.slow
def test_a_file_system_without_locks_stops_nothing(nolock, tmp_path):
    scenes, work = tmp_path / "scenes", tmp_path / "work"
    for seed in range(4):
        tiny.write_scene(scenes / f"scene_{seed}.npz", size=32, patches=4, seed=seed)
    product = sen3.write_product(tmp_path / "products", sen3.make_values())
    work.mkdir()
    (work / "setup").symlink_to(tiny.ROOT / "scripts/setup")
    (work / "requirements-build.lock").touch()
    words = [json.dumps(ERRORS), work, scenes, product.parent]
    done = subprocess.run(
        [sys.executable, "-c", WHOLE_WAY, *map(str, words)],
        env=tiny.environment() | {"LD_PRELOAD": str(nolock)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.count("worked with") == len(ERRORS)
    assert done.stderr.count("has no locks: run this study in one place") == len(ERRORS)
    assert done.stdout.count("4 were there, 0 failed") == len(ERRORS)


LEFT = """
import os, sys
from pathlib import Path
from cloudmask.files import remove_leftovers
remove_leftovers(Path(sys.argv[1]))
"""


def test_without_locks_a_leftover_is_what_has_not_changed_for_a_day(nolock, tmp_path):
    for name, age in ((".old.h5.0123.part", 90_000), (".new.h5.0123.part", 60)):
        path = tmp_path / name
        path.touch()
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    environment = tiny.environment() | {"LD_PRELOAD": str(nolock)}
    subprocess.run([sys.executable, "-c", LEFT, tmp_path], check=True, env=environment)
    assert [path.name for path in tmp_path.iterdir()] == [".new.h5.0123.part"]


SETTING = "import cloudmask, os; print(os.environ['HDF5_USE_FILE_LOCKING'])"


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, "FALSE"), ("BEST_EFFORT", "FALSE"), ("TRUE", "TRUE"), ("FALSE", "FALSE")],
)
def test_who_wants_locks_of_hdf5_keeps_them(before, after):
    given = {} if before is None else {"HDF5_USE_FILE_LOCKING": before}
    kept = {k: v for k, v in tiny.environment().items() if k != "HDF5_USE_FILE_LOCKING"}
    words = [sys.executable, "-c", SETTING]
    done = subprocess.run(words, env=kept | given, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [after]
