"""Gates and comparisons of two studies: outcomes by whole intervals, as exit codes for scripts."""

import csv
import itertools
import json

import numpy as np
import pytest
import scaling_fake

from cloudmask.cli import errors
from cloudmask.cli.errors import UsageError
from scaling import __main__ as cli
from scaling.check import gate
from scaling.check.outcome import MET, MISSED, NOT_COMPARABLE, UNDECIDED, decide
from scaling.laws import against, cost
from scaling.options import GateConfig
from scaling.record import store
from scaling.record.store import Study


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Folders: 1, 2, 4 and 8 ranks of strong and weak scaling; others that differ in one thing."""
    work = tmp_path_factory.mktemp("studies")
    ranks = (1, 2, 4, 8)
    made = {
        "new": scaling_fake.write_study(work / "new", ranks=ranks),
        "old": scaling_fake.write_study(work / "old", ranks=ranks, commit="1" * 40),
        "few": scaling_fake.write_study(work / "few", ranks=ranks, repeats=3),
        "tf32": scaling_fake.write_study(work / "tf32", ranks=ranks, precision="tf32"),
        "gpus": scaling_fake.write_study(
            work / "gpus", ranks=(2, 4), modes=("weak",), hardware=["B"], training_patches=160
        ),
        "wide": scaling_fake.write_study(work / "wide", ranks=(1, 2), channels=12),
        "three": scaling_fake.write_study(work / "three", ranks=(3,)),
    }
    _scale(made["new"], lambda row: 0.9)
    return made


def _scale(folder, factor):
    """The same study with rates times factor(row)."""
    path = folder / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["patches_per_second"] *= factor(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def call(capsys):
    """call(*words) -> (exit code, lines of standard output, standard error)"""

    def run(*words):
        code = errors.run(cli.main, [str(word) for word in words], program="scaling")
        told = capsys.readouterr()
        return code, told.out.splitlines(), told.err

    return run


# By Amdahl's law with a serial share of 0.05, 8 ranks are 5.93 times as fast as one.
GATES = [
    (["--weak-efficiency", ">= 0.6 at 8"], MET, "weak efficiency >= 0.6 at 8 ranks (weak): 0.7"),
    (["--weak-efficiency", ">= 0.9 at 8"], MISSED, "runs): missed"),
    (["--weak-efficiency", ">= 0.74 at 8"], UNDECIDED, "the interval lies across the figure"),
    (["--strong-efficiency", ">= 0.6 at 8"], MET, "(strong)"),
    (["--speed-up", ">= 5 at 8"], MET, "speed-up >= 5 at 8 ranks (strong): 5."),
    (["--speed-up", "<= 5 at 8"], MISSED, "missed"),
    (["--throughput", ">= 25 at 8"], MET, "throughput >= 25 patches/s at 8 ranks (strong)"),
    (["--time", "<= 3600 at 8"], MET, "time <= 3600 s at 8 ranks (weak)"),
    (["--time", "<= 1.5 at 8"], MISSED, "missed"),
    (
        ["--speed-up", ">= 5 at 3"],
        NOT_COMPARABLE,
        "3 ranks were not measured; there are 1, 2, 4, 8",
    ),
    (["--speed-up", ">= 1 at 1"], NOT_COMPARABLE, "1 rank is the base, 1 by itself"),
]


@pytest.mark.parametrize(("words", "code", "says"), GATES)
def test_a_gate_is_a_line_and_an_exit_code(studies, call, words, code, says):
    found, lines, err = call("gate", studies["new"], *words)
    assert (found, err) == (code, "")
    assert lines[0].startswith("this: python; ")
    assert any(says in line for line in lines[1:])


def test_several_gates_give_the_worst_outcome(studies, call):
    several = [words for words, code, _ in GATES if code in (MET, UNDECIDED)]
    code, lines, _ = call("gate", studies["new"], *itertools.chain(*several))
    assert code == UNDECIDED
    assert len(lines) == 1 + len(several) + 2  # throughput and time in either mode
    code, _, _ = call("gate", studies["new"], *itertools.chain(*several), *GATES[9][0])
    assert code == NOT_COMPARABLE
    code, _, _ = call("gate", studies["new"], *itertools.chain(*(words for words, *_ in GATES)))
    assert code == MISSED


def test_too_few_runs_decide_nothing(studies, call):
    code, lines, _ = call("gate", studies["few"], "--weak-efficiency", ">= 0.1 at 8")
    assert code == UNDECIDED
    assert "no 95 % interval from 3 runs; it takes 3 more runs" in lines[1]


def test_programs_read_json(studies, call):
    words = ("--throughput", ">= 25 at 8", "--against", studies["old"], "--slower-than", "90%")
    code, lines, _ = call("gate", studies["new"], *words, "--json")
    record = json.loads("\n".join(lines))
    assert (code, record["exit_code"], record["outcome"]) == (MET, MET, "met")
    assert len(record["gates"]) == 2 + 8
    first = record["gates"][0]
    assert (first["mode"], first["ranks"], first["outcome"]) == ("strong", 8, "met")
    assert first["figure"]["low"] <= first["figure"]["value"] <= first["figure"]["high"]


@pytest.mark.parametrize(
    ("old", "share", "code", "says"),
    [
        ("old", "20%", MET, "not slower than old by over 20 % at 8 ranks (weak): 0.900"),
        ("old", "1%", MISSED, "missed"),
        ("old", "10%", UNDECIDED, "the interval lies across the figure"),
        ("tf32", "5%", NOT_COMPARABLE, "other precision: tf32 against float32"),
        ("gpus", "5%", NOT_COMPARABLE, "other hardware: B against A processor"),
        ("wide", "5%", NOT_COMPARABLE, "other channels: 12 against 9"),
        ("few", "5%", UNDECIDED, "no 95 % interval from 3 runs"),
        ("three", "5%", NOT_COMPARABLE, "no rank count in common"),
    ],
)
def test_a_study_is_held_against_an_older_one(studies, call, old, share, code, says):
    """The new one has 0.9 of the old one's rates, run by run."""
    words = ("--against", studies[old], "--slower-than", share)
    found, lines, err = call("gate", studies["new"], *words)
    assert (found, err) == (code, "")
    assert any(says in line for line in lines)


def test_other_hardware_is_compared_only_if_that_is_wished(studies, call):
    words = ("--against", studies["gpus"], "--slower-than", "20%", "--mixed")
    assert call("gate", studies["new"], *words)[0] == MET


def test_runs_of_another_batch_or_precision_are_not_pooled(studies):
    study = store.read(studies["new"])
    rows = [
        row | ({"precision": "tf32"} if row["repeat"] % 2 and row["ranks"] == 8 else {})
        for row in study.rows
    ]
    mixed = Study(study.folder, study.header, rows)
    (result,) = gate.judge(mixed, gate.parse("weak_efficiency", ">= 0.6 at 4"))
    assert result.outcome == NOT_COMPARABLE
    assert result.why == "its runs differ in precision (float32 / tf32)"
    results = gate.judge(mixed, gate.parse("throughput", ">= 1 at 4"))
    assert [result.outcome for result in results] == [MET, MET]


def test_points_that_failed_are_told_beside_those_that_did_not(studies):
    study = store.read(studies["new"])
    failed = next(row for row in study.rows if row["ranks"] == 8 and row["mode"] == "weak")
    failed = failed | {"point": "weak-ranks-n0008-r07", "repeat": 7, "status": "failed"}
    more = Study(study.folder, study.header, [*study.rows, failed])
    (result,) = gate.judge(more, gate.parse("weak_efficiency", ">= 0.6 at 8"))
    assert (result.why, result.outcome) == ("1 more run failed", MET)
    assert result.record()["failed"] == 1


def test_where_as_many_runs_failed_as_ended_well_nothing_is_met(studies):
    study = store.read(studies["new"])
    row = next(row for row in study.rows if row["ranks"] == 8 and row["mode"] == "weak")
    gone = [row | {"point": f"more-{n}", "repeat": n, "status": "failed"} for n in range(7, 13)]
    more = Study(study.folder, study.header, [*study.rows, *gone])
    results = gate.judge(more, gate.parse("weak_efficiency", ">= 0.6 at 8"))
    results += gate.judge_against(more, store.read(studies["old"]), 0.2, mixed=False)[-1:]
    for result in results:
        assert (result.outcome, result.failed) == (UNDECIDED, 6)
        assert result.why == "6 more runs failed"
    (missed,) = gate.judge(more, gate.parse("weak_efficiency", ">= 0.9 at 8"))
    assert missed.outcome == MISSED


def test_studies_that_mix_alike_are_not_pooled_either(studies):
    """Both have half of their runs in another precision, so no condition differs between them."""
    mixed = []
    for name in ("new", "old"):
        study = store.read(studies[name])
        rows = [row | {"precision": ("tf32", "float32")[row["repeat"] % 2]} for row in study.rows]
        mixed.append(Study(study.folder, study.header, rows))
    results = gate.judge_against(*mixed, 0.9, mixed=False)
    assert {result.outcome for result in results} == {NOT_COMPARABLE}
    assert results[0].why == "runs of one side differ in precision (float32 / tf32)"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "gate needs a limit"),
        (["--speed-up", "6 at 8"], "--speed-up '6 at 8': write '>= NUMBER at RANKS'"),
        (["--speed-up", ">= 6 at 0"], "write '>= NUMBER at RANKS'"),
        (["--time", "<= fast at 8"], "--time '<= fast at 8'"),
        (["--slower-than", "3%"], "--against OLD and --slower-than 3% go together"),
        (["--against", "x", "--slower-than", "0.03"], "write a share below 100 %, as in 3%"),
        (["--against", "x", "--slower-than", "3%"], "there is no folder x"),
    ],
)
def test_limits_that_cannot_be_read_are_one_line(studies, call, words, says):
    code, lines, err = call("gate", studies["new"], *words)
    assert (code, lines) == (2, [])
    assert err.count("\n") == 1
    assert says in err


def test_a_ratio_has_the_interval_of_mann_and_whitney():
    """Of 6 and 6 runs the 6th and 31st of 36 ratios: 95.9 % by the tables of U."""
    lower = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    upper = [3 * value for value in lower]
    found = against.ratio(upper, lower)
    ratios = sorted(u / v for u in upper for v in lower)
    assert (found.low, found.high) == (ratios[5], ratios[30])
    assert found.coverage == pytest.approx(1 - 2 * 19 / 924)  # 19 of 924 orders have U <= 5
    assert found.value == pytest.approx((ratios[17] + ratios[18]) / 2)
    even = against.ratio(upper, [1.0] * 20)
    assert (even.low, even.high) == (3.0, 96.0), (
        "one side is exact: that of the median of the other"
    )
    assert against.ratio([2.0], [1.0]).coverage == 0
    assert against.ratio(lower, upper).low == pytest.approx(1 / found.high)
    with pytest.raises(ValueError, match="a value of each side"):
        against.ratio([], [1.0])


@pytest.mark.parametrize(
    ("runs", "before", "wider"),
    [(6, 6, 1), (6, 6, 3), (6, 20, 3), (6, 30, 25), (20, 6, 0.1), (20, 20, 25)],
)
def test_at_the_boundary_a_regression_is_let_through_in_less_than_one_of_twenty(
    runs, before, wider
):
    """Simulated, seeded: the true ratio is exactly the limit; one side may scatter wider, and have
    fewer runs."""
    rng = np.random.default_rng(7)
    old = np.exp(rng.normal(0, 0.01, (1000, before)))
    new = 0.97 * np.exp(rng.normal(0, 0.01 * wider, (1000, runs)))
    found = [
        decide(against.ratio(a, b), 0.97, np.inf)
        for a, b in zip(new.tolist(), old.tolist(), strict=True)
    ]
    assert 0.002 < found.count(MET) / len(found) < 0.035
    assert 0.002 < found.count(MISSED) / len(found) < 0.035


def test_two_studies_stand_side_by_side(studies, call, tmp_path):
    code, lines, err = call("compare", studies["old"], studies["new"])
    assert (code, err) == (0, "")
    text = "\n".join(lines)
    assert "commit: 111111111111 against 000000000000" in text
    assert text.index("differing conditions") < text.index("scaling  ranks  figure")
    rates = [line.split() for line in lines if "patches/s" in line and "ratio" not in line]
    assert [row[:2] for row in rates if row[0] in ("strong", "weak")] == [
        [mode, str(ranks)] for mode in ("strong", "weak") for ranks in (1, 2, 4, 8)
    ]
    assert "0.900 [0.8" in text
    assert "(95.9 %)" in text


def test_differing_conditions_are_named_and_times_of_other_work_are_not_divided(studies, call):
    code, lines, _ = call("compare", studies["new"], studies["gpus"])
    text = "\n".join(lines)
    assert code == 0
    assert "  hardware: A processor against B" in lines
    assert "  training patches: 80 against 160" in lines
    times = [line for line in lines if "run from launch" in line]
    assert len(times) == 2
    assert all("other work" in line for line in times)
    assert "base 2 ranks" in text
    code, lines, _ = call("compare", studies["new"], studies["wide"])
    assert code == 0
    assert sum("other work" in line for line in lines) == 8  # rates too: other patches
    assert call("compare", studies["new"], studies["three"])[0] == NOT_COMPARABLE


def test_the_table_of_two_studies_is_written(studies, call, tmp_path):
    for name in ("t.md", "t.csv"):
        assert call("compare", studies["old"], studies["new"], "--out", tmp_path / name)[0] == 0
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert len(rows) == 3 * 8
    assert rows[0]["figure"] == "patches/s"
    told = (tmp_path / "t.md").read_text()
    assert told.startswith("- differs: commit")
    assert "| strong | 1 | patches/s |" in told
    code, _, err = call("compare", studies["old"], studies["new"], "--out", tmp_path / "t.pdf")
    assert code == 2
    assert "end it with .md or .csv" in err


def test_what_runs_cost_is_counted_from_launch_to_end():
    """By hand: 8 ranks of 2 cores and a GPU each on 2 nodes for half an hour."""
    row = {"ranks": 8, "cores_per_rank": 2, "wall_seconds": 1800.0, "total_seconds": 1.0}
    study = Study(None, {"gpus_per_rank": 1}, [])
    hours = cost.hours(row | {"nodes": 2}, study)
    assert hours == cost.Hours(4.0, 8.0, 4.0, 1.0)
    assert cost.hours(row | {"hosts": ["a", "b"]}, study) == hours
    assert cost.hours(row, study).node is None
    per_node = cost.rate(12.5, None, "EUR")
    assert per_node.price(hours) == 12.5
    assert cost.rate(None, 2.0, "USD").price(hours) == 8.0
    assert hours.words(per_node).endswith("1.00 node-hours, 12.50 EUR at 12.5 EUR per node-hour")
    assert "no price at 12.5 EUR" in cost.hours(row, study).words(per_node)
    assert "EUR" not in hours.words(cost.rate(None, None, ""))
    assert cost.together([hours, hours]) == cost.Hours(8.0, 16.0, 8.0, 2.0)
    assert cost.together([hours, cost.hours(row, study)]).node is None


@pytest.mark.parametrize(
    ("rate", "says"),
    [
        ((1.0, 2.0, "EUR"), "state one of them"),
        ((1.0, None, ""), "needs its --currency"),
        ((None, None, "EUR"), "state --price-per-node-hour"),
        ((-1.0, None, "EUR"), "must be 0 or more"),
    ],
)
def test_no_price_without_a_stated_rate(rate, says):
    with pytest.raises(UsageError, match=says):
        cost.rate(*rate)


def test_options_of_gates_are_read_as_they_stand():
    one = gate.parse("time", "<=3600.5  at 16")
    assert (one.sign, one.limit, one.ranks) == ("<=", 3600.5, 16)
    assert gate.parse_share(GateConfig("s", against="o", slower_than="2.5 %")) == 0.025
