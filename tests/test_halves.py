"""`make test` runs two halves side by side: both must pass, and both are heard."""

import subprocess
import sys

import pytest
import tiny

FILE = """
import pytest

{0}
"""
RANKS = "@pytest.mark.mpi\ndef test_of_ranks():\n    assert {}\n\n"
OTHERS = "def test_of_others():\n    assert {}\n"


@pytest.mark.parametrize(
    ("text", "code", "heard"),
    [
        (RANKS.format(True) + OTHERS.format(True), 0, ["1 passed", "1 passed"]),
        (RANKS.format(False) + OTHERS.format(True), 1, ["1 passed", "1 failed"]),
        (RANKS.format(True) + OTHERS.format(False), 1, ["1 failed", "1 passed"]),
        (RANKS.format(True), 0, ["1 deselected", "1 passed"]),
        ("", 5, ["no tests ran", "no tests ran"]),
    ],
)
def test_either_half_decides_and_both_are_told(tmp_path, text, code, heard):
    file = tmp_path / "test_halves_of_this.py"
    file.write_text(FILE.format(text))
    words = ["-c", tiny.ROOT / "pyproject.toml", "-p", "no:cacheprovider", file]
    ended = subprocess.run(
        [sys.executable, tiny.ROOT / "scripts" / "run_tests.py", *words],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    others, _, ranks = ended.stdout.partition("test: those that start ranks\n")
    assert heard[0] in others
    assert heard[1] in ranks
