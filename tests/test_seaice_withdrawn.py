"""What is left of scenes that are gone, broken or killed half-way: nothing that anybody counts."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_seaice_label import ROOT, run, scene, summary_of, write

from seaice import __main__ as cli
from seaice import one_scene
from seaice.io import sources
from seaice.rule import Rule

DATES = ("T58CEU_20191103T204921_TCI", "T58CEU_20191113T204921_TCI")


def labelled(out):
    """Names of scenes by what there is of them."""
    kinds = ("labels", "pictures", "records")
    return [sorted(path.stem for path in (out / kind).iterdir()) for kind in kinds]


@pytest.fixture
def parts(tmp_path):
    """An archive of two parts, labelled one after the other into one folder."""
    for number, name in enumerate(("one/a", "one/b", "two/c", "two/deep/d")):
        write(tmp_path / f"{name}.png", scene(number))
    for part in ("one", "two"):
        assert cli.main(["label", str(tmp_path / part), "--out", str(tmp_path / "out")]) == 0
    return tmp_path


def test_a_withdrawn_scene_is_set_aside_and_told(parts, capsys):
    """Of the part that is labelled again alone: the other may be on a disk that is away."""
    out = parts / "out"
    content = (out / "labels/b.tif").read_bytes()
    (parts / "one/b.png").unlink()
    (parts / "two/c.png").unlink()
    assert cli.main(["label", str(parts / "two/../one"), "--out", str(out)]) == 0
    told = capsys.readouterr().err
    assert f"moved to {out / 'withdrawn'}: labels of 1 scene whose pictures are not there" in told
    assert labelled(out) == [["a", "c", "deep__d"]] * 3
    assert labelled(out / "withdrawn") == [["b"]] * 3
    assert (out / "withdrawn/labels/b.tif").read_bytes() == content
    assert cli.main(["label", str(parts / "two"), "--out", str(out)]) == 0
    assert labelled(out) == [["a", "deep__d"]] * 3
    # What is set aside is no scene of an archive that holds it.
    found = sources.find([str(parts)], apart_from=parts / "elsewhere")
    assert [source.name for source in found] == ["one__a", "two__deep__d"]


def test_a_withdrawn_scene_is_in_no_series(tmp_path, capsys):
    words = ["--crs", "EPSG:32622", "--height", "64", "--width", "64", "--scenes", "2"]
    assert cli.main(["synth", "--out", str(tmp_path), "--days", "2", *words]) == 0
    place, out, taken = tmp_path / "scenes", tmp_path / "out", ["--date-from-name", r"_(\d{8})$"]
    for dates in (2, 1):
        assert cli.main(["label", str(place), "--out", str(out)]) == 0
        for number, labels in enumerate((out, out / "labels")):
            series = tmp_path / f"series{dates}{number}"
            assert cli.main(["series", str(labels), "--out", str(series), *taken]) == 0
            assert len(summary_of(series)["scenes"]) == dates
        sorted(place.iterdir())[-1].unlink()


AS_NOBODY = """
import os, sys
from pathlib import Path
from seaice import __main__ as cli

def work(scenes, out, patches):
    words = ["prepare", scenes, "--labels", out, "--out", patches, "--patch-size", "32"]
    labelled = cli.main(["label", scenes, "--out", out])
    return labelled, cli.main([*words, "--split", "train=1"])

here = Path(sys.argv[1])
work(*(str(here / name) for name in ("one", "warm", "warmer")))  # nobody may load no modules
if not os.getuid():
    os.setgid(65534)
    os.setuid(65534)
print(work(*(str(here / name) for name in ("two", "out", "patches"))))
"""


def test_a_folder_that_nobody_may_look_at_has_lost_nothing(parts):
    """A scene below it is not found, but who can tell that it is gone? The exit code says so."""
    out, scenes = parts / "out", parts / "patches-scenes"
    words = ["scenes", str(parts / "two"), "--labels", str(out), "--out", str(scenes)]
    assert cli.main(words) == 0
    write(parts / "two/e.png", scene(7))
    (parts / "two/c.png").unlink()
    for path in (parts.parent.parent, parts.parent, parts, *parts.rglob("*")):
        path.chmod(path.stat().st_mode | 0o007)
    (parts / "two/deep").chmod(0)
    words = [sys.executable, "-c", AS_NOBODY, str(parts)]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=240)
    finally:
        (parts / "two/deep").chmod(0o755)
    assert done.stdout.splitlines()[-1] == "(1, 1)", done.stderr
    assert labelled(out) == [["a", "b", "deep__d", "e"]] * 3
    assert labelled(out / "withdrawn") == [["c"]] * 3
    assert (scenes / "deep__d.npz").exists()


def test_labels_of_a_scene_that_fails_now_are_set_aside(tmp_path, capsys):
    """Its mask has changed size; or the picture itself is broken. So none is trained on."""
    place, land, out = (tmp_path / name for name in ("scenes", "land", "out"))
    for number, name in enumerate("abc"):
        write(place / f"{name}.png", scene(number))
        write(land / f"{name}.png", np.zeros((64, 64), np.uint8))
    words = ["label", str(place), "--out", str(out), "--land", str(land)]
    assert cli.main(words) == 0
    write(land / "a.png", np.zeros((32, 32), np.uint8))
    (place / "b.png").write_bytes(b"broken")
    assert cli.main(words) == 1
    assert "labels of 2 scenes that could not be labelled again, such as a" in (
        capsys.readouterr().err
    )
    assert labelled(out) == [["c"]] * 3
    patches = ["--labels", str(out), "--out", str(tmp_path / "p"), "--patch-size", "32"]
    assert cli.main(["prepare", str(place), *patches, "--split", "train=1"]) == 1
    assert [path.name for path in (tmp_path / "p-scenes").iterdir()] == ["c.npz"]
    assert "a.png has no label" in capsys.readouterr().err


def test_a_label_of_another_picture_is_not_trained_on(tmp_path, capsys):
    """It was replaced, size unchanged; or labelling ended before its record was written."""
    place, out = tmp_path / "scenes", tmp_path / "out"
    for number, name in enumerate("abc"):
        write(place / f"{name}.png", scene(number))
    label = ["label", str(place), "--out", str(out)]
    assert cli.main(label) == 0
    write(place / "a.png", scene(0)[:, ::-1])
    (out / "records/b.json").unlink()
    prepare = ["prepare", str(place), "--labels", str(out), "--out", str(tmp_path / "p")]
    prepare += ["--patch-size", "32", "--split", "train=1"]
    assert cli.main(prepare) == 1
    told = capsys.readouterr().err
    assert "a.tif was made of another picture than is there now; label it again" in told
    assert "b.tif has no record; label it again" in told
    assert [path.name for path in (tmp_path / "p-scenes").iterdir()] == ["c.npz"]
    assert cli.main(label) == 0
    prepare[prepare.index("--out") + 1] = str(tmp_path / "whole")
    assert cli.main(prepare) == 0
    assert len(list((tmp_path / "whole-scenes").iterdir())) == 3


def test_names_that_the_disk_cannot_hold_cost_their_scenes_alone(tmp_path, capsys):
    place, out = tmp_path / "scenes", tmp_path / "out"
    for name in ("b", "c", "good"):
        write(place / f"{name}.png", scene())
    (out / "records/b.json").mkdir(parents=True)
    (out / "labels/c.tif").mkdir(parents=True)
    assert cli.main(["label", str(place), "--out", str(out)]) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    for text in ("b.json cannot be read (Is a dir", "/c.tif cannot be written (Is a dir"):
        assert sum(text in line for line in told) == 1
    assert summary_of(out)["labelled_now"] == 1
    assert cli.main(["scenes", str(place), "--out", str(tmp_path / "npz")]) == 0
    (tmp_path / "npz/b.npz").unlink()
    (tmp_path / "npz/b.npz").mkdir()
    assert cli.main(["scenes", str(place), "--out", str(tmp_path / "npz")]) == 1
    assert "b.npz cannot be written (Is a directory)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"pixels": {"thick_ice": 99_999_999, "thin_ice": 0, "open_water": 0}},
        {"pixels": {"thick_ice": -5, "thin_ice": 4000, "open_water": 23}},
        {"rows": 1},
        {"without": "--land"},
        {"without": [1]},
        {"without": [["--land"]]},
        {"without": None},
        {"area_km2": {"thick_ice": -1.0, "thin_ice": 1, "open_water": 1}, "unknown_km2": 1},
        {"area_km2": {"thick_ice": float("inf"), "thin_ice": 1, "open_water": 1}, "unknown_km2": 1},
    ],
)
def test_a_record_whose_counts_cannot_be_true_is_not_believed(tmp_path, change):
    path, out = write(tmp_path / "a.png", scene()), tmp_path / "out"
    assert cli.main(["label", str(path), "--out", str(out)]) == 0
    (found,) = sources.find([str(path)], apart_from=out)
    settings, record = one_scene.Settings(str(out), Rule()), out / "records/a.json"
    values = json.loads(record.read_text())
    assert one_scene.already_done(found, settings) is not None
    record.write_text(json.dumps(values | change))
    assert one_scene.already_done(found, settings) is None


def test_sizes_of_pixels_that_give_no_areas_are_refused(tmp_path):
    path = str(write(tmp_path / "a.png", scene()))
    for size in ("nan", "inf", "-1", "1e-300", "1e300"):
        told = re.escape(str(float(size)))
        with pytest.raises(ValueError, match=f"--pixel-metres {told} must be above 0"):
            cli.main(["label", path, "--out", str(tmp_path / "out"), "--pixel-metres", size])
        words = ["--predictions", f"a={tmp_path}", "--against", f"b={tmp_path}"]
        words += ["--out", str(tmp_path / "e"), "--pixel-metres", size]
        with pytest.raises(ValueError, match=f"--pixel-metres {told} must be above 0"):
            cli.main(["evaluate", *words])
        words = ["--crs", "EPSG:32622", "--pixel-size", size]
        with pytest.raises(ValueError, match=f"--pixel-size {told} must be above 0"):
            cli.main(["synth", "--out", str(tmp_path / "s"), *words])
    with pytest.raises(ValueError, match="--exposure"):
        cli.main(["synth", "--out", str(tmp_path / "s"), "--exposure", "1", "inf"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


KILLED = """
import functools, os, signal, sys
from pathlib import Path
from cloudmask.data.parallel import World
from seaice.engines import Engine

def work(item, out):
    from cloudmask.files import whole_file
    with whole_file(Path(out) / "labels" / f"{item}.tif") as file:
        print(os.getpid(), flush=True)
        signal.pause()  # until somebody ends it

if __name__ == "__main__":
    held = functools.partial(work, out=sys.argv[1])
    Engine("processes", 2).map_items(held, [0, 1], world=World())
"""


def test_workers_end_with_the_process_that_started_them(tmp_path):
    """Killed, it cannot tell them. They hold its stdout, which ends when they have ended; what they
    were writing is removed by the next run."""
    place, out = tmp_path / "scenes", tmp_path / "out"
    write(place / "a.png", scene())
    program = tmp_path / "killed.py"
    program.write_text(KILLED)
    process = subprocess.Popen(
        [sys.executable, str(program), str(out)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    )
    workers = [int(process.stdout.readline()) for _ in range(2)]
    try:
        process.kill()
        process.communicate(timeout=240)
    finally:
        for worker in workers:
            if Path(f"/proc/{worker}").exists() and b"spawn" in (
                Path(f"/proc/{worker}/cmdline").read_bytes()
            ):
                os.kill(worker, signal.SIGKILL)
    assert len(list((out / "labels").glob(".*.part"))) == 2
    code, _, err = run("label", place, "--out", out)
    assert (code, err) == (0, "")
    assert [path.name for path in (out / "labels").iterdir()] == ["a.tif"]


def test_every_command_removes_what_killed_ones_were_writing(tmp_path):
    words = ["--crs", "EPSG:32622", "--height", "64", "--width", "64", "--scenes", "1"]
    made, labels = tmp_path / "made", tmp_path / "labels"
    taken = ["--date-from-name", r"_(\d{8})$"]
    commands = {
        made / "scenes": ["synth", "--out", made, *words],
        labels / "labels": ["label", made / "scenes", "--out", labels],
        tmp_path / "npz": ["scenes", made / "scenes", "--out", tmp_path / "npz"],
        tmp_path / "series": ["series", labels, "--out", tmp_path / "series", *taken],
        tmp_path / "page": [
            *("evaluate", "--predictions", f"a={labels}", "--against", f"b={made / 'truth'}"),
            *("--out", tmp_path / "page"),
        ],
    }
    for folder, line in commands.items():
        folder.mkdir(parents=True)
        (folder / ".x.0123456789ab.part").write_bytes(b"half")
        assert cli.main([str(word) for word in line]) == 0, line
        assert not list(folder.glob(".*")), line
