"""Every engine writes the bytes that one process writes: real ranks, real executors."""

import contextlib
import errno
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import safe2
from test_seaice_label import BROKEN, ROOT, run, scene, write

from cloudmask.data.parallel import World
from seaice import __main__ as cli
from seaice import java
from seaice.engines import Engine

BIN = Path(sys.executable).parent


NAMES = ("scene_0", "c[1]{a,b}", "a b*?", "é雪", "p%20q 100%", "h#1'", "year=2019 [x]:/t:1")
"""of scenes: whatever a file may be named, patterns and escapes of others among them"""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Seven scenes, a product of Sentinel-2, and four files that cannot be used."""
    folder = tmp_path_factory.mktemp("engines") / "scenes"
    for number, name in enumerate(NAMES):
        write(folder / f"{name}.png", scene(number, 64 + 8 * number))
    product = safe2.build(folder.parent)
    safe2.packed(product, folder / f"{product.stem}.zip")
    content = (folder / "scene_0.png").read_bytes()
    (folder / "corrupt.png").write_bytes(content[: len(content) // 2])
    (folder / "empty.png").write_bytes(b"")
    write(folder / "one_band.png", scene(1)[..., 0])
    write(folder / "sixteen_bit.png", scene(1).astype("uint16") * 256)
    return folder


def files(out, *, records=True):
    """Bytes by relative path, without the summary, which tells times."""
    kinds = ("labels", "pictures", "records") if records else ("labels", "pictures")
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for kind in kinds
        for path in sorted((out / kind).iterdir())
    }


@pytest.fixture(scope="module")
def expected(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("engines") / "serial"
    assert cli.main(["label", str(scenes), "--out", str(out)]) == 1
    found = files(out)
    assert len(found) == 24
    return found


def check(code, out, err, folder, expected, *, records=True):
    """The same files, each broken one told once, and nothing else said."""
    assert code == 1, err
    assert files(folder, records=records) == {
        name: content for name, content in expected.items() if records or "records" not in name
    }
    assert "8 scenes labelled" in out
    lines = err.splitlines()
    assert len(lines) == len(BROKEN), err
    for name in BROKEN:
        assert sum(f"{name}.png" in line for line in lines) == 1


@pytest.mark.mpi
def test_two_ranks_write_what_one_process_writes(scenes, expected, tmp_path, start):
    code = "import sys; from cloudmask.cli import errors; from seaice.__main__ import main\n"
    code += "sys.exit(errors.run(main, sys.argv[1:], program='seaice'))"
    words = ["label", scenes, "--out", tmp_path / "out", "--engine", "mpi"]
    process = start(code, *words, ranks=2)
    out, err = process.communicate(timeout=240)
    # Two ranks may write into one line.
    err = "\n".join(re.findall(r"left out: [^\n]*?(?=left out|\n)", err))
    check(process.returncode, out, err, tmp_path / "out", expected)
    process = start(code, *words[:4], ranks=2)
    _, err = process.communicate(timeout=240)
    assert "mpirun started 2 processes; add --engine mpi" in err


@pytest.mark.slow
@pytest.mark.parametrize("master", ["local[2]", "local-cluster[2,1,1024]"])
def test_spark_writes_what_one_process_writes(master, scenes, expected, tmp_path):
    words = ["label", scenes, "--out", tmp_path / "out", "--engine", "spark", "--master", master]
    check(*run(*words, seconds=240), tmp_path / "out", expected)
    seconds = json.loads((tmp_path / "out/summary.json").read_text())["seconds"]
    parts = [seconds[name] for name in ("start_up", "load", "map_reduce")]
    assert all(part > 0 for part in parts)
    assert sum(parts) <= seconds["total"]


@pytest.mark.slow
def test_objects_behind_a_uri_are_fetched_by_spark(scenes, expected, tmp_path):
    """One folder in the spelling of URIs, %20 and all, and one that is named like a pattern."""
    folder = tmp_path / "in [1] 50%25"
    shutil.copytree(scenes, folder)
    words = ["--out", tmp_path / "out", "--engine", "spark"]
    told = run("label", folder.as_uri(), *words, seconds=240)
    check(*told, tmp_path / "out", expected, records=False)
    for name, content in expected.items():
        if name.startswith("records"):
            record, found = json.loads(content), json.loads((tmp_path / "out" / name).read_text())
            below = record["source"].removeprefix(str(scenes))
            assert found["source"] == f"file:{folder}{below}"
            differing = {key for key in record if record[key] != found[key]}
            assert differing == {"source", "key", "modified"}
    for path in (tmp_path / "out/labels").iterdir():
        path.unlink()
        break
    code, out, _ = run("label", f"file:{folder}", *words, seconds=240)
    assert (code, "1 scene labelled" in out, "7 were there" in out) == (1, True, True)


LOSES_AN_EXECUTOR = """
import functools, json, os, sys
from pathlib import Path
from seaice import spark
from seaice.engines import attempt
from seaice.io import sources
from seaice.label import settings_of
from seaice.one_scene import label_source
from seaice.options import LabelConfig

folder, out, marks = map(Path, sys.argv[1:])

def parent(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])

def work(source, settings, marks):
    with (marks / "ledger").open("a") as file:
        file.write(source.name + "\\n")
    if source.name == "scene_02" and not (marks / "begun").exists():
        (marks / "begun").touch()
        executor = parent(os.getppid())  # of the daemon that forked this worker
        (marks / "told").write_text(f"{executor}\\n")
        (marks / "never").read_text()  # nobody writes there: the end comes first
    return attempt(functools.partial(label_source, settings=settings), source)

for name in ("labels", "pictures", "records"):
    (out / name).mkdir(parents=True)
settings = settings_of(LabelConfig(scenes=(str(folder),), out=out))
found = sources.find([str(folder)], apart_from=out)
work = functools.partial(work, settings=settings, marks=marks)
outcomes = list(spark.outcomes(work, found, master="local-cluster[2,1,1024]", seconds={}))
print(json.dumps([(source.name, outcome.error) for source, outcome in zip(found, outcomes)]))
"""


@pytest.mark.slow
def test_a_lost_executor_loses_nothing_and_nothing_is_written_twice(tmp_path, start):
    """The executor is killed while a worker of it waits, its first two scenes of three done."""
    folder, out, marks = (tmp_path / name for name in ("scenes", "out", "marks"))
    for number in range(24):
        write(folder / f"scene_{number:02d}.png", scene(number))
    assert cli.main(["label", str(folder), "--out", str(tmp_path / "serial")]) == 0
    marks.mkdir()
    for name in ("told", "never"):
        os.mkfifo(marks / name)
    told = os.open(marks / "told", os.O_RDONLY | os.O_NONBLOCK)
    process = start(LOSES_AN_EXECUTOR, folder, out, marks)
    ready, _, _ = select.select([told], [], [], 240)
    assert ready, "no worker has come so far"
    executor = int(os.read(told, 100))
    assert "CoarseGrainedExecutorBackend" in Path(f"/proc/{executor}/cmdline").read_text()

    def written():
        return {
            path: (path.stat().st_ino, path.stat().st_mtime_ns)
            for kind in ("labels", "pictures", "records")
            for path in (out / kind).iterdir()
            if not path.name.endswith(".part")
        }

    before = written()
    os.kill(executor, signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    outcomes = dict(json.loads(stdout))
    assert outcomes == {f"scene_{n:02d}": None for n in range(24)}
    names = {path.stem for path in before if path.parent.name == "records"}
    assert {"scene_00", "scene_01"} <= names
    ledger = (marks / "ledger").read_text().split()
    assert ledger.count("scene_00") == ledger.count("scene_02") == 2  # the task ran again
    after = written()
    assert {path: after[path] for path in before} == before
    assert files(out) == files(tmp_path / "serial")


@pytest.mark.slow
def test_spark_submit_brings_the_program_with_it(scenes, expected, tmp_path, plain_environment):
    for package in ("cloudmask", "seaice"):
        shutil.copytree(ROOT / package, tmp_path / "zip" / package)
    archive = shutil.make_archive(str(tmp_path / "seaice"), "zip", tmp_path / "zip")
    entry = tmp_path / "zip/seaice/__main__.py"
    del plain_environment["PYTHONPATH"]
    plain_environment["PYSPARK_PYTHON"] = sys.executable
    submit = [BIN / "spark-submit", "--master", "local[2]", "--py-files", archive, entry]
    done = subprocess.run(
        [*map(str, submit), "label", scenes, "--out", tmp_path / "out", "--engine", "spark"],
        cwd=tmp_path,
        env=plain_environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    # spark-submit puts what the program says on stderr into its stdout.
    told = "\n".join(line for line in done.stdout.splitlines() if line.startswith("left out"))
    check(done.returncode, done.stdout, told, tmp_path / "out", expected)


@contextlib.contextmanager
def daemon(tmp_path, *words):
    """A Spark daemon, and the lines it prints."""
    import pyspark

    program = Path(pyspark.__file__).parent / "bin" / "spark-class"
    process = subprocess.Popen(
        [str(program), *map(str, words)],
        env=os.environ | {"SPARK_LOCAL_IP": "127.0.0.1"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process.stdout
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def line_with(pattern, lines):
    for line in lines:
        found = re.search(pattern, line)
        if found:
            return found
    raise AssertionError(f"no line with {pattern}")


@pytest.mark.slow
def test_a_standalone_master_takes_the_work(scenes, expected, tmp_path):
    deploy = "org.apache.spark.deploy"
    ports = ("--port", 0, "--webui-port", 0, "--host", "127.0.0.1")
    with daemon(tmp_path, f"{deploy}.master.Master", *ports) as lines:
        master = line_with(r"spark://127\.0\.0\.1:\d+", lines)[0]
        size = ("--cores", 2, "--memory", "2g", "--work-dir", tmp_path / "work")
        with daemon(tmp_path, f"{deploy}.worker.Worker", master, *ports, *size) as told:
            line_with("Successfully registered", told)
            words = ["--out", tmp_path / "out", "--engine", "spark", "--master", master]
            check(*run("label", scenes, *words, seconds=240), tmp_path / "out", expected)


@pytest.mark.parametrize("home", [True, False])
def test_missing_java_is_one_line(tmp_path, monkeypatch, home):
    """At the start: before anybody asks whether there are scenes."""
    if home:
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    else:
        monkeypatch.delenv("JAVA_HOME", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
    words = ["label", str(tmp_path / "none"), "--out", str(tmp_path / "out"), "--engine", "spark"]
    with pytest.raises(ValueError, match=r"no Java found.*Spark [\d.]+ needs Java 17"):
        cli.main(words)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'openjdk version \"11.0.2\"' >&2", "is Java 11: Spark .* needs Java 17"),
        ("echo 'java version \"1.8.0_301\"' >&2", "is Java 8: Spark .* needs Java 17"),
        ("echo 'openjdk version \"99-ea\"' >&2", "is Java 99: Spark .* needs Java 17 to "),
        ("echo 'libjvm.so: no such file' >&2; exit 1", r"does not start \(libjvm.so: no such file"),
        ("kill -SEGV $$", r"does not start \(code -11"),
    ],
)
def test_a_java_that_does_not_run_spark_is_one_line(script, told, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/java").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin/java").chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    words = ["label", str(tmp_path / "none"), "--out", str(tmp_path / "out"), "--engine", "spark"]
    with pytest.raises(ValueError, match=told) as raised:
        cli.main(words)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("spark", "newest"), [("4.0.1", 21), ("4.1.2", 21), ("4.2.0", 25), ("4.3.0", 25)]
)
def test_each_spark_takes_the_java_that_its_documentation_names(
    spark, newest, tmp_path, monkeypatch
):
    java_home = tmp_path / "bin"
    java_home.mkdir()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    for version in (11, 17, 21, 25, 26):
        program = java_home / "java"
        program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}.0.1\"' >&2\n")
        program.chmod(0o755)
        if 17 <= version <= newest:
            java.check(spark)
        else:
            with pytest.raises(ValueError, match=f"needs Java 17 to {newest}"):
                java.check(spark)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lacks packages", "is not there"])
def test_workers_without_what_they_need_are_one_line(kind, scenes, tmp_path, plain_environment):
    python = tmp_path / "nowhere/python"
    if kind == "lacks packages":
        venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
        python = tmp_path / "bare/bin/python"
    words = ["label", scenes, "--out", tmp_path / "out", "--engine", "spark", "--workers", 1]
    done = subprocess.run(
        [sys.executable, "-m", "seaice", *map(str, words)],
        env=plain_environment | {"PYSPARK_PYTHON": str(python)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (1, 1), done.stderr
    assert str(python) in lines[0]
    assert "PYSPARK_PYTHON must name" in lines[0]
    assert ("lacks" in lines[0]) == (kind == "lacks packages")


def odd(item):
    """What libraries do with files that nobody thought of."""
    if item == 1:
        raise TypeError("no tag\nof that kind")
    if item == 2:
        raise OSError("GDAL's, without a number")
    return item


def full(item):
    if item == 1:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "labels/x.tif")
    return item


@pytest.mark.parametrize("kind", ["serial", "processes"])
def test_an_error_that_nobody_foresaw_costs_its_item_alone(kind, capsys):
    engine = Engine(kind, 2 if kind == "processes" else None)
    found = engine.map_items(odd, [0, 1, 2, 3], world=World())
    assert [outcome.value for outcome in found] == [0, None, None, 3]
    assert re.match(r"1: TypeError \(no tag of that kind\) in \w+.py, line \d+", found[1].error)
    assert "2: OSError (GDAL's, without a number)" in found[2].error
    assert len(capsys.readouterr().err.splitlines()) == 2
    with pytest.raises((OSError, ValueError), match=r"full|No space"):
        engine.map_items(full, [0, 1, 2], world=World())


@pytest.mark.slow
@pytest.mark.parametrize("master", ["nonsense[2]", "spark://127.0.0.1:1"])
def test_a_master_that_is_not_there_is_one_line(master, scenes, tmp_path):
    words = ["label", scenes, "--out", tmp_path / "out", "--engine", "spark", "--master", master]
    code, _, err = run(*words, seconds=240)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert err.startswith("seaice: error: Spark ")
