"""What users can get wrong is one line and an exit code, before anything is started."""

import json
import os
import sys
from pathlib import Path

import pytest
import scaling_fake

from cloudmask.cli import errors
from scaling import __main__ as cli

FAKE = str(Path(scaling_fake.__file__))
PROGRAM = [sys.executable, FAKE, "--out", "{out}", "--batch", "{batch}", "--seed", "{seed}"]
ALONE = ["--ranks", "1", "--modes", "weak", "--launcher", "python", "--no-allreduce"]


@pytest.fixture
def call(capsys):
    """call(*words) -> (exit code, standard output, standard error)"""

    def run(*words):
        try:
            code = errors.run(cli.main, [str(word) for word in words], program="scaling")
        except SystemExit as stop:  # of --help
            code = stop.code
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["fly"], 2, "there is no command 'fly'; there are: run, fit, report, check, gate"),
        (["run"], 2, "Missing from scaling run"),
        (["run", "--out", "s", "--rank", "1"], 2, "--rank"),
        (["run", "--out", "s", "--repeats", "many", "--", *PROGRAM], 2, "Error parsing --repeats"),
        (["run", "--out", "s"], 2, "no program; put it at the end"),
        (["run", "--out", "s", "--ranks", "0,1", "--", *PROGRAM], 2, "whole numbers above 0"),
        (["run", "--out", "s", "--ranks", "1,1", "--", *PROGRAM], 2, "names a rank count twice"),
        (["run", "--out", "s", "--modes", "fast", "--", *PROGRAM], 2, "strong, weak, or both"),
        (["run", "--out", "s", "--repeats", "0", "--", *PROGRAM], 2, "--repeats 0 must be 1"),
        (["run", "--out", "s", "--timeout", "0", "--", *PROGRAM], 2, "--timeout must be above 0"),
        (["run", "--out", "s", "--", "sleep", "1"], 2, "the program has no placeholders"),
        (["run", "--out", "s", "--config", "none.yaml"], 2, "cannot read none.yaml"),
        (["run", "--config"], 2, "--config needs a value"),
        (["fit", "nowhere"], 1, "there is no folder nowhere"),
        (["report", "nowhere"], 1, "there is no folder nowhere"),
        (["report"], 2, "one study, or two"),
        (["check", "nowhere"], 2, "there is no folder nowhere"),
        (["check", ".", "--reference", "fame"], 2, "no reference 'fame'"),
    ],
)
def test_bad_input_is_one_line(call, monkeypatch, tmp_path, words, code, says):
    monkeypatch.chdir(tmp_path)
    found, out, err = call(*words)
    assert found == code
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("scaling: error: ")
    assert says in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [[], ["--help"], ["run", "--help"], ["check", "--help"]])
def test_help_is_no_error(call, words):
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert out.startswith("usage: ")


def test_more_ranks_than_cores_are_refused(call, tmp_path):
    cores = len(os.sched_getaffinity(0))
    words = ["run", "--out", tmp_path / "s", "--ranks", f"1,{4 * cores}", "--", *PROGRAM]
    code, _, err = call(*words)
    assert code == 2
    assert "--oversubscribe" in err
    assert not (tmp_path / "s").exists()


def test_python_starts_one_rank_only(call, tmp_path):
    words = ["--out", tmp_path / "s", "--launcher", "python", "--oversubscribe"]
    code, _, err = call("run", *words, "--ranks", "1,2", "--", *PROGRAM)
    assert code == 2
    assert "launcher python starts 1 rank on this host, not 2" in err


@pytest.mark.parametrize("content", [{"x": "1"}, {"study.json": '{"format": "a recipe"}'}])
def test_foreign_folders_are_left_alone(call, tmp_path, content):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    code, _, err = call("run", "--out", tmp_path, *ALONE, "--", *PROGRAM)
    assert code == 1
    assert "choose another" in err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == content


@pytest.mark.slow
def test_study_runs_from_a_file_and_refuses_to_go_on_with_other_settings(call, tmp_path):
    config = tmp_path / "study.yaml"
    lines = [
        *(f"out: {tmp_path / 's'}", "ranks: [1]", "modes: [weak]", "launcher: python"),
        *("repeats: 1", "allreduce: false", "env: {HOROVOD_CYCLE_TIME: 5}"),
        f"program: {json.dumps(PROGRAM)}",
    ]
    config.write_text("\n".join(lines))
    code, out, err = call("run", "--config", config)
    assert (code, err) == (0, "")
    assert "HOROVOD_CYCLE_TIME=5" in out
    assert "1 of 1 points measured" in out

    code, out, _ = call("run", "--config", config, "--repeats", "2")
    assert code == 0
    assert "2 points, 1 of them to run" in out
    code, out, _ = call("run", "--config", config, "--modes", "strong,weak")
    assert code == 0
    assert "2 points, 1 of them to run" in out
    code, _, err = call("run", "--config", config, "--batch-per-rank", "8")
    assert code == 1
    assert "begun with other settings (batch_per_rank was 4, is 8)" in err
    code, _, err = call("run", "--config", config, "--", *PROGRAM, "--steps", "7")
    assert code == 1
    assert "program was" in err


@pytest.mark.slow
def test_study_of_other_hardware_is_not_gone_on_with(call, tmp_path):
    words = ["run", "--out", tmp_path / "s", *ALONE, "--repeats", "1", "--", *PROGRAM]
    assert call(*words)[0] == 0
    path = tmp_path / "s" / "study.json"
    header = json.loads(path.read_text())
    header["hardware"]["title"] = "another machine"
    path.write_text(json.dumps(header))
    code, _, err = call(*words)
    assert code == 1
    assert "measured on other hardware (another machine; this is" in err
    assert call(*words[:3], "--mixed", *words[3:])[0] == 0


def test_unknown_keys_in_a_file_are_named(call, tmp_path):
    config = tmp_path / "study.yaml"
    config.write_text("rank: 1\n")
    code, _, err = call("run", "--config", config)
    assert code == 2
    assert "unknown key 'rank'; did you mean 'ranks'?" in err
    config.write_text("- 1\n")
    assert "must hold 'key: value' lines" in call("run", "--config", config)[2]
    config.write_text("a: [\n")
    assert "is not YAML" in call("run", "--config", config)[2]
