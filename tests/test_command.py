import errno
import os
import subprocess
import sys

import pytest

from cloudmask.cli import commands, errors, options
from cloudmask.cli.errors import AgreedError, UsageError, describe


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No launcher's variables, whatever started these tests."""
    for name in errors.RANK_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def outcome(error, capsys, *, wait=lambda seconds: None):
    """Exit code and stderr of a program that raises this error."""

    def main(words):
        assert words == ["word"]
        raise error

    code = errors.run(main, ["word"], program="prog", wait=wait)
    return code, capsys.readouterr().err


def test_a_program_that_succeeds_says_nothing(capsys):
    assert errors.run(lambda words: len(words), ["a", "b"], program="prog") == 2
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("bad"), 2),
        (AgreedError("bad"), 1),
        (ValueError("bad"), 1),
        (OSError("bad"), 1),
    ],
)
def test_what_users_cause_is_one_line_and_an_exit_code(error, code, capsys):
    assert outcome(error, capsys) == (code, "prog: error: bad\n")


def test_a_command_is_called_with_its_options(tmp_path, capsys):
    table = {"verify": (options.VerifyConfig, "cloudmask.data.prepare.command")}
    with pytest.raises(ValueError, match="is not a folder; prepare writes patch sets"):
        commands.call("prog", table, ["verify", str(tmp_path / "none")], usage="all")
    with pytest.raises(UsageError, match=r"prog verify --help"):
        commands.call("prog", table, ["verify"], usage="all")
    assert commands.call("prog", table, [], usage="all") == 0
    assert capsys.readouterr().out == "all\n"


def test_no_module_is_loaded_before_the_options_are_understood():
    table = {"verify": (options.VerifyConfig, "no_such_module")}
    with pytest.raises(UsageError, match=r"there is no command 'fly'; there are: verify \("):
        commands.call("prog", table, ["fly"], usage="")
    with pytest.raises(UsageError):
        commands.call("prog", table, ["verify", "--fly"], usage="")
    with pytest.raises(ModuleNotFoundError):
        commands.call("prog", table, ["verify", "folder"], usage="")


def test_an_interruption_is_told_without_traceback(capsys):
    assert outcome(KeyboardInterrupt(), capsys) == (130, "prog: error: interrupted\n")
    assert outcome(KeyboardInterrupt("go on later"), capsys) == (130, "prog: error: go on later\n")


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("jinja2.loaders", "jinja2 is not installed: pip install '.[report]' in the checkout"),
        ("nobody", "nobody is not installed: pip install '.[all]' in the checkout"),
    ],
)
def test_a_library_that_is_not_installed_is_told_with_the_extra_that_brings_it(
    module, line, capsys
):
    error = ModuleNotFoundError(f"No module named '{module}'", name=module)
    assert outcome(error, capsys) == (1, f"prog: error: {line} of cloudmask\n")


def test_a_module_of_our_own_that_is_not_there_keeps_its_traceback(capsys):
    with pytest.raises(ModuleNotFoundError):
        outcome(ModuleNotFoundError("No module", name="cloudmask.nothing"), capsys)


def test_a_message_of_several_lines_becomes_one(capsys):
    assert outcome(ValueError("first\n   second\n"), capsys)[1] == "prog: error: first second\n"


def test_a_fault_of_our_own_keeps_its_traceback():
    with pytest.raises(KeyError):
        errors.run(lambda words: {}["missing"], [], program="prog")


@pytest.mark.parametrize("variable", errors.RANK_VARIABLES)
@pytest.mark.parametrize("error", [UsageError("bad"), AgreedError("bad"), KeyboardInterrupt()])
def test_what_all_ranks_know_is_told_by_rank_0_alone(variable, error, capsys, monkeypatch):
    monkeypatch.setenv(variable, "0")
    first, said = outcome(error, capsys)
    assert said.count("\n") == 1
    monkeypatch.setenv(variable, "3")
    assert outcome(error, capsys) == (first, "")


@pytest.mark.parametrize("error", [ValueError("bad"), OSError("bad")])
def test_what_one_rank_knows_is_told_with_its_number(error, capsys, monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "3")
    assert outcome(error, capsys) == (1, "prog: error on rank 3: bad\n")


def test_a_quiet_rank_gives_rank_0_time_to_speak(capsys, monkeypatch):
    slept = []
    outcome(AgreedError("bad"), capsys, wait=slept.append)
    assert slept == []
    monkeypatch.setenv("PMIX_RANK", "1")
    outcome(AgreedError("bad"), capsys, wait=slept.append)
    assert slept == [errors.QUIET_SECONDS]


def test_a_full_disk_is_told_with_the_file_and_the_way_out(capsys):
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/run/step-1.h5")
    code, said = outcome(error, capsys)
    assert code == 1
    assert said.startswith("prog: error: /data/run/step-1.h5: the disk is full: make room")


def test_an_unknown_system_error_keeps_its_text():
    assert describe(OSError(errno.ENOENT, "No such file or directory", "x")) == (
        "x: No such file or directory"
    )
    assert describe(OSError(errno.EIO, "Input/output error")) == "Input/output error"
    assert describe(OSError("truncated")) == "truncated"


def test_a_file_in_the_way_is_told_as_such(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file") as caught:
        (tmp_path / "file" / "below").mkdir()
    assert describe(caught.value).endswith("a part of that path is a file: choose another folder")


def test_a_reader_that_has_left_is_no_error():
    code = "import sys; from cloudmask.cli import errors\n"
    code += "sys.exit(errors.run(lambda words: print('x\\n' * 10**6), [], program='prog'))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 1


def test_what_libraries_print_while_loading_is_kept_back_unless_loading_fails(capfd):
    with errors.loading_tensorflow():
        os.write(2, b"about my build\n")
    assert capfd.readouterr().err == ""

    def load():
        with errors.loading_tensorflow():
            os.write(2, b"the library is broken\n")
            raise ImportError("no library")

    with pytest.raises(ImportError):
        load()
    assert capfd.readouterr().err == "the library is broken\n"
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "later\n"
