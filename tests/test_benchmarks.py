"""A record that nobody could measure again is not kept, and old ones say that they are such."""

import json
import re
import subprocess

import pages
import pytest

import benchmarks.__main__ as program
from benchmarks import bench

RESULTS = bench.RESULTS


@pytest.fixture
def places(monkeypatch, tmp_path):
    """Records go below a folder of this test; `at` says which commit the checkout is at."""

    def at(commit):
        monkeypatch.setattr(bench, "commit", lambda: commit)

    monkeypatch.delenv(bench.DIRTY, raising=False)
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(bench, "WORK", tmp_path / "runs")
    return at


def test_record_of_a_changed_checkout_is_set_aside_and_loses_no_figure(places, tmp_path, capsys):
    places("abc+")
    path = bench.keep("speed", rate=2.5)
    assert path == tmp_path / "runs" / "speed.json"
    assert not (tmp_path / "results").exists()
    assert json.loads(path.read_text())["rate"] == 2.5
    assert "Commit first" in capsys.readouterr().err


def test_record_is_kept_of_a_commit_and_where_it_was_asked_for(places, tmp_path, monkeypatch):
    places("abc")
    assert bench.keep("speed", rate=2.5) == tmp_path / "results" / "speed.json"
    places("abc+")
    monkeypatch.setenv(bench.DIRTY, "1")
    path = bench.keep("other", rate=1.0)
    assert path.parent.name == "results"
    assert json.loads(path.read_text())["environment"]["commit"] == "abc+"


def test_nothing_is_measured_before_it_is_refused(places, monkeypatch, capsys):
    places("abc+")
    monkeypatch.setattr(program.importlib, "import_module", lambda name: pytest.fail(name))
    assert program.main(["feed"]) == 2
    assert "--dirty" in capsys.readouterr().err


def test_a_record_does_not_spoil_the_next_one(monkeypatch, tmp_path):
    def git(*words):
        named = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *named, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "program.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench.record, "commit", lambda: "abc+")
    (tmp_path / "benchmarks" / "results" / "one.json").write_text("{}")
    assert bench.commit.__wrapped__() == "abc"
    (tmp_path / "program.py").write_text("2")
    assert bench.commit.__wrapped__() == "abc+"


def test_figures_that_cannot_be_measured_again_say_so():
    commits = {
        path.name: json.loads(path.read_text())["environment"]["commit"]
        for path in RESULTS.glob("*.json")
    }
    assert len(commits) > 10
    for *_, record in (row for row in pages.rows("docs/results.md") if len(row) == 5):
        name = re.search(r"\.\./benchmarks/results/(\w+\.json)\)", record)
        if name:
            assert ("not reproducible" in record) == commits[name[1]].endswith("+"), record
