import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cloudmask.files import sha256_of, write_json, write_whole
from cloudmask.record import EventLog, commit, environment, os


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_cannot_be_a_number_becomes_null(tmp_path):
    path = tmp_path / "a.json"
    value = {
        "loss": math.nan,
        "list": [1.5, math.inf, {"deep": -math.inf}],
        "tuple": (1, None),
        "path": Path("x/y"),
        "numpy": np.float64("nan"),
        3: "key",
    }
    write_json(path, value)
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "loss": None,
        "list": [1.5, None, {"deep": None}],
        "tuple": [1, None],
        "path": "x/y",
        "numpy": None,
        "3": "key",
    }


def test_floats_keep_their_bits(tmp_path):
    values = [*np.random.default_rng(0).normal(size=100).tolist(), 1 / 3, 5e-324, 1e308]
    write_json(tmp_path / "a.json", values)
    assert json.loads((tmp_path / "a.json").read_text()) == values


def test_a_value_that_json_has_not_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
    assert names(tmp_path) == ["a.json"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_json(path, {"new": 2})
    assert caught.value.filename == str(path)
    assert json.loads(path.read_text()) == {"old": 1}
    assert names(tmp_path) == ["a.json"]


def test_a_folder_in_the_way_leaves_nothing_aside(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(IsADirectoryError):
        write_json(tmp_path / "a.json", {})
    assert names(tmp_path) == ["a.json"]


def test_an_interrupted_write_leaves_nothing_aside(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a", b"content")
    assert names(tmp_path) == []


def test_a_file_appears_whole_under_its_name(tmp_path, monkeypatch):
    real, seen = os.fsync, []

    def sync(descriptor):
        seen.append((tmp_path / "a").exists())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    write_whole(tmp_path / "a", b"content")
    # The content is on the disk before it has its name, and the name before anyone relies on it.
    assert seen == [False, True]
    assert (tmp_path / "a").read_bytes() == b"content"


def test_every_event_is_one_line_of_json(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    log.write("step", step=1, loss=math.nan, text="a\nb")
    first = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert len(first) == 1, "a step is there for others to read at once"
    log.write("end")
    log.close()
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    records = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [record["event"] for record in records] == ["step", "end"]
    assert (records[0]["step"], records[0]["loss"], records[0]["text"]) == (1, None, "a\nb")
    assert all(record["time"].endswith("+00:00") for record in records)


@pytest.mark.parametrize("cut", ['{"event": "st', '{"event": "step"}', ""])
def test_a_log_goes_on_after_a_crash_without_the_line_that_was_cut(tmp_path, cut):
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "whole"}\n' + cut)
    log = EventLog(path)
    log.write("resumed")
    log.close()
    events = [json.loads(line)["event"] for line in path.read_text().splitlines()]
    assert events == ["whole", "resumed"]


def test_checksum_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_environment_says_where_a_figure_comes_from(monkeypatch):
    monkeypatch.setenv("HOROVOD_CYCLE_TIME", "10")
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    found = environment()
    assert found["settings"]["HOROVOD_CYCLE_TIME"] == "10"
    assert "SECRET_TOKEN" not in found["settings"]
    assert found["versions"]["numpy"] == np.__version__
    assert {"cpu", "memory_gib", "host", "commit", "command", "date"} <= set(found)
    assert found["cores"] == os.cpu_count()
    assert found["allowed_cores"] == len(os.sched_getaffinity(0))
    assert found["cpu_quota"] is None or found["cpu_quota"] > 0
    assert 0 < found["allowed_memory_gib"] <= found["memory_gib"]
    json.dumps(found)


def test_commit_of_an_image_stands_in_where_there_is_no_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CLOUDMASK_COMMIT", raising=False)
    ask = commit.__wrapped__  # which a process keeps the answer of
    assert ask() is None
    monkeypatch.setenv("CLOUDMASK_COMMIT", "abc+")
    assert ask() == "abc+"


def test_the_repository_around_an_environment_is_not_the_commit(monkeypatch, tmp_path):
    """As in a .venv inside the repository of a thesis; where that tracks the file, it is."""
    package = tmp_path / "thesis/.venv/cloudmask"
    package.mkdir(parents=True)
    (package / "record.py").touch()
    git = ["git", "-C", str(tmp_path / "thesis"), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "thesis"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr("cloudmask.record.__file__", str(package / "record.py"))
    monkeypatch.delenv("CLOUDMASK_COMMIT", raising=False)
    assert commit.__wrapped__() is None
    monkeypatch.setenv("CLOUDMASK_COMMIT", "abc")
    assert commit.__wrapped__() == "abc"
    for words in (["add", "-f", "."], ["commit", "-q", "-m", "vendored"]):
        subprocess.run([*git, *words], check=True)
    assert len(commit.__wrapped__()) == 40
