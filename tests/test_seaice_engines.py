"""Every engine writes the bytes that one process writes: real ranks, real executors."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_seaice_label import BROKEN, ROOT, run, scene, write

from seaice import __main__ as cli

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Seven scenes and four files that cannot be used."""
    folder = tmp_path_factory.mktemp("engines") / "scenes"
    for number in range(7):
        write(folder / f"scene_{number}.png", scene(number, 64 + 8 * number))
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
    assert len(found) == 21
    return found


def check(code, out, err, folder, expected, *, records=True):
    """The same files, each broken one told once, and nothing else said."""
    assert code == 1, err
    assert files(folder, records=records) == {
        name: content for name, content in expected.items() if records or "records" not in name
    }
    assert "7 scenes labelled" in out
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
    out, err = process.communicate(timeout=60)
    # Two ranks may write into one line.
    err = "\n".join(re.findall(r"left out: [^\n]*?(?=left out|\n)", err))
    check(process.returncode, out, err, tmp_path / "out", expected)
    process = start(code, *words[:4], ranks=2)
    _, err = process.communicate(timeout=60)
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
    words = ["label", scenes.as_uri(), "--out", tmp_path / "out", "--engine", "spark"]
    check(*run(*words, seconds=240), tmp_path / "out", expected, records=False)
    for path in (tmp_path / "out/labels").iterdir():
        path.unlink()
        break
    code, out, _ = run(*words, seconds=240)
    assert (code, "1 scene labelled" in out, "6 were there" in out) == (1, True, True)


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
def test_missing_java_is_one_line(scenes, tmp_path, monkeypatch, home):
    if home:
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    else:
        monkeypatch.delenv("JAVA_HOME", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
    words = ["label", str(scenes), "--out", str(tmp_path / "out"), "--engine", "spark"]
    with pytest.raises(ValueError, match=r"no Java found.*Spark needs Java 17"):
        cli.main(words)


def test_an_old_java_is_one_line(scenes, tmp_path, monkeypatch):
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    words = ["label", str(scenes), "--out", str(tmp_path / "out"), "--engine", "spark"]
    with pytest.raises(ValueError, match="is Java 11: Spark needs Java 17"):
        cli.main(words)


@pytest.mark.slow
@pytest.mark.parametrize("master", ["nonsense[2]", "spark://127.0.0.1:1"])
def test_a_master_that_is_not_there_is_one_line(master, scenes, tmp_path):
    words = ["label", scenes, "--out", tmp_path / "out", "--engine", "spark", "--master", master]
    code, _, err = run(*words, seconds=240)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert err.startswith("seaice: error: Spark ")
