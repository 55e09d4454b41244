"""Damaged files of every kind: one line, an exit code, no traceback, no hang, no wild memory."""

import dataclasses
import random
from collections import Counter
from pathlib import Path

import damage
import pytest
from fuzz import Case, campaign, problem_of
from fuzz_kinds import Kind

CASES = 300


@pytest.mark.slow
def test_300_damaged_files_are_met_with_one_line_each():
    results = campaign(CASES, seed=12)
    assert len(results) == CASES
    bad = [str(result) for result in results if result.problem]
    assert bad == [], "\n\n".join(bad)
    met = Counter(result.case.kind.name for result in results if result.code != 0)
    assert sum(met.values()) > CASES / 2, "most damage can be seen"
    assert len(met) > 30, "of nearly every kind"


@pytest.mark.parametrize("way", [*damage.OF_BYTES, damage.bomb])
def test_damage_is_the_same_for_the_same_seed_and_changes_the_file(way):
    content, other = bytes(range(256)) * 20, b"another kind of file" * 9
    made = [way(content, random.Random(seed), other) for seed in (1, 1, 2, 3, 4)]
    assert made[0] == made[1]
    assert any(changed != content for changed in made)


def test_what_counts_as_a_problem():
    kind = Kind("a", Path("a"), (("cloudmask", "prepare"),), Path("a"))
    case = Case(kind, 0, damage.wild, ("cloudmask", "prepare"), b"")
    line = "left out: a.npz: cannot be read; get it again\n"
    assert problem_of(case, 1, "", line) is None
    assert problem_of(case, 0, "fine", "") is None
    assert problem_of(case, 1, "", "") == "nothing was said"
    assert problem_of(case, "hangs", "", "") == "hangs"
    assert problem_of(case, "killed by 11", "", line) == "killed by 11"
    assert problem_of(case, 1, "", "Traceback (most recent call last):\n") == "a traceback"
    assert problem_of(case, 1, "", 3 * line) == "3 lines"
    sure = dataclasses.replace(case, kind=dataclasses.replace(kind, always_found=True))
    assert problem_of(sure, 0, "fine", "") == "not found"
