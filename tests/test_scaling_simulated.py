"""Studies of known laws: a few of those that benchmarks/simulated_*.py make many of."""

import pytest

from benchmarks import simulated_seconds
from benchmarks import simulated_studies as simulated
from benchmarks.simulated_seconds import Case as SecondsCase
from benchmarks.simulated_studies import FEW, MANY, Case

STUDIES = 60


@pytest.mark.parametrize(
    "case",
    [
        Case("USL, no coherency", MANY, 6, 0.02),
        Case("Gustafson", FEW, 6, 0.01, 0.02),
        Case("Amdahl", FEW, 6, 0.02),
    ],
    ids=str,
)
def test_intervals_hold_what_they_say(case):
    found = simulated.row(case, studies=STUDIES)
    # 0.95 but for the chance of 60 studies
    assert found["median"] >= 0.87
    for name in ("ratio", "all parameters", "band", "held out"):
        assert found[name] is None or found[name] >= 0.87, name
    assert found["each parameter"] >= 0.93
    assert found["projections off"][0] <= 0.1
    if not case.disturbed:
        assert found["rejected"] <= 0.15
        assert found["projections refused"][0] <= 0.1
    else:
        assert found["before"] < 0.7, "which runs alone do not know of"


@pytest.mark.parametrize("repeats", [6, 10])
def test_whole_interval_within_a_bound_is_rarely_wrong_where_the_truth_is_on_it(repeats):
    found = simulated.at_the_boundary(repeats, studies=4000)
    assert max(share for name, share in found.items() if name != "repeats") < 0.05


def test_ranges_of_three_runs_decide_nothing():
    assert simulated.at_the_boundary(3, studies=4000)["even, median"] > 0.1


@pytest.mark.parametrize("growth", [0.0, 1.0])
def test_projected_seconds_are_called_95_percent_only_where_that_may_be(growth):
    six = simulated_seconds.row(SecondsCase(FEW, 6, growth), studies=40)
    assert six["projected"] == 40
    if growth:
        far = simulated_seconds.row(SecondsCase((*MANY, 32), 6, growth), studies=40)
        assert far["called 95 %"] <= 2, "start-up of 60 s that becomes 92 s is seen"
    else:
        assert six["called 95 %"] >= 34
        assert six["of these held"] >= 0.87 * six["called 95 %"]


@pytest.mark.parametrize(("repeats", "projected"), [(1, 0), (3, 20)])
def test_projected_seconds_of_few_runs_are_never_called_95_percent(repeats, projected):
    found = simulated_seconds.row(SecondsCase(FEW, repeats, 0.0), studies=20)
    assert (found["projected"], found["called 95 %"]) == (projected, 0)
