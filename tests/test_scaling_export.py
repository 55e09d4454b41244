"""What a study hands to other programs: a CSV that its schema describes, Extra-P, ReFrame."""

import csv
import io
import json
import re
import subprocess
import sys
import types

import pytest
import scaling_fake
from imports import ROOT

from scaling.laws import next_run
from scaling.options import ReportConfig
from scaling.record import columns, export, shapes, store
from scaling.record.export import LONGEST_CELL
from scaling.report import figures, reframe
from scaling.report.command import report

READ = {
    "string": str,
    "datetime": str,
    "integer": int,
    "number": float,
    "boolean": {"true": True, "false": False}.__getitem__,
    "array": json.loads,
    "object": json.loads,
}
"""Table Schema's type -> what reads it"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "two"
    return store.read(scaling_fake.write_study(folder, repeats=6, alone=True))


def fields(*studies):
    (resource,) = json.loads(export.schema(studies))["resources"]
    assert resource["path"] == "results.csv"
    return {field["name"]: field["type"] for field in resource["schema"]["fields"]}


def table(*studies):
    return list(csv.DictReader(io.StringIO(export.as_csv(studies))))


def test_csv_read_by_its_schema_is_the_rows_again(study):
    kinds = fields(study)
    found = table(study)
    assert len(found) == len(study.rows)
    for cells, row in zip(found, study.rows, strict=True):
        read = {name: READ[kinds[name]](cell) for name, cell in cells.items() if cell != ""}
        assert read.pop("study") == "two"
        assert read == {name: value for name, value in row.items() if value not in (None, "")}


def test_columns_and_their_order_do_not_depend_on_the_study(study, tmp_path):
    bare = scaling_fake.write_study(
        tmp_path / "bare", ranks=(1,), modes=("weak",), repeats=1, copies=False
    )
    names = [column.name for column in columns.COLUMNS]
    for found in (study, store.read(bare)):
        assert export.as_csv([found]).split("\n", 1)[0].split(",") == names
        assert list(fields(found)) == names


def test_every_column_of_a_row_is_described_with_its_unit(study):
    described = {column.name: column for column in columns.COLUMNS}
    assert len(described) == len(columns.COLUMNS)
    for row in study.rows:
        assert set(row) <= set(described)
    assert set(shapes._KINDS) <= set(described)
    for name, column in described.items():
        assert len(column.meaning) > 2, name
        if name.endswith("_seconds"):
            assert column.unit == "s", name


def test_what_the_schema_does_not_know_comes_last_and_says_so(tmp_path):
    folder = scaling_fake.write_study(tmp_path / "s", repeats=1, zebra=2, apple=1)
    names = list(fields(store.read(folder)))
    assert names[-2:] == ["apple", "zebra"]
    package = json.loads(export.schema([store.read(folder)]))
    last = package["resources"][0]["schema"]["fields"][-1]
    assert "not described" in last["description"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"])


def test_no_cell_is_longer_than_a_spreadsheet_holds(tmp_path):
    many = [0.123456789 + number for number in range(1024)]
    folder = scaling_fake.write_study(
        tmp_path / "s",
        **{"repeats": 1, "modes": ("weak",), "copies": False},
        per_rank=dict.fromkeys(("step_seconds", "compute_seconds", "data_wait_seconds"), many),
    )
    found = table(store.read(folder))
    assert max(len(cell) for row in found for cell in row.values()) <= LONGEST_CELL
    assert {row["left_out"] for row in found} == {"per_rank"}
    assert {row["per_rank"] for row in found} == {""}
    assert all(row["step_seconds"] for row in found)


def test_extrap_lines_have_the_form_that_extrap_reads(study):
    lines = [json.loads(line) for line in export.extrap_lines(study, "weak").splitlines()]
    assert {line["params"]["p"] for line in lines} == {1, 2}
    assert all(set(line) == {"params", "callpath", "metric", "value"} for line in lines)
    steps = [line for line in lines if line["callpath"] == "main->step"]
    assert len(steps) == 12


class ReFrame(types.ModuleType):
    """As much of ReFrame as the test that is written asks for."""

    def __init__(self):
        super().__init__("reframe")
        self.tests = []
        self.RunOnlyRegressionTest = type("RunOnlyRegressionTest", (), {"stagedir": "/stage"})
        core, builtins = types.ModuleType("reframe.core"), types.ModuleType("reframe.core.builtins")
        sanity, utility = types.ModuleType("reframe.utility.sanity"), types.ModuleType("utility")
        builtins.parameter = lambda values: values
        builtins.variable = lambda kind, value: value
        builtins.run_before = builtins.performance_function = lambda name: lambda function: function
        builtins.sanity_function = lambda function: function
        sanity.all, sanity.assert_eq = all, lambda one, other: one == other
        utility.sanity = sanity
        self.modules = {
            **{"reframe": self, "reframe.core": core, "reframe.core.builtins": builtins},
            **{"reframe.utility": utility, "reframe.utility.sanity": sanity},
        }

    def simple_test(self, kind):
        self.tests.append(kind)
        return kind


@pytest.fixture
def tests_of(monkeypatch):
    def load(study):
        stand_in = ReFrame()
        for name, module in stand_in.modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        space = {}
        exec(compile(reframe.as_test(study), "reframe_cloudmask.py", "exec"), space)
        return stand_in.tests[0], space

    return load


def test_reframe_runs_each_point_again_and_judges_it_by_its_summary(study, tests_of, tmp_path):
    kind, _ = tests_of(study)
    assert kind.point == ["strong_1", "strong_2", "weak_1", "weak_2"]
    one = kind()
    one.point, one.stagedir = "weak_2", str(tmp_path)
    one.from_the_study()
    assert (one.num_tasks, one.num_cpus_per_task) == (2, 1)
    assert [one.executable, *one.executable_opts] == ["python", "fake"]
    (tmp_path / "run").mkdir()
    summary = {
        **{"status": "finished", "ranks": 2, "global_batch": 8},
        **{"patches_per_second": {"overall": 9.5}, "seconds": {"total": 30.0}},
    }
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary))
    assert one.ended_well()
    assert (one.patches_per_second(), one.total_seconds()) == (9.5, 30.0)
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary | {"ranks": 1}))
    assert not one.ended_well()


def test_reframe_holds_a_run_against_where_a_single_one_should_lie(study, tests_of):
    _, space = tests_of(study)
    value, lower, upper, unit = space["POINTS"]["weak_2"]["reference"]["patches_per_second"]
    rates = [row["patches_per_second"] for row in study.points("weak")[2]]
    low, _ = next_run.bounds(rates)
    assert (value * (1 + lower), upper, unit) == (pytest.approx(low, rel=1e-3), None, "patches/s")
    assert low < min(rates)
    seconds = space["POINTS"]["weak_2"]["reference"]["total_seconds"]
    assert seconds[1] is None
    assert 0 < seconds[2] < 1


def test_reframe_gets_no_tolerance_from_two_runs():
    assert reframe.reference([1.0, 2.0], "s", more_is_better=False) == (1.5, None, None, "s")


def test_words_of_the_training_are_filled_in_as_the_study_does(tmp_path):
    """Against the study's own words for the point, its output folder apart."""
    from scaling.measure.points import Point, fill_in

    program = ["python", "train_hvd.py", "--data", "patches-{ranks}"]
    study = store.read(scaling_fake.write_study(tmp_path / "s", copies=False))
    study.header["program"] = program
    for mode, batch in (("strong", (8, 4)), ("weak", (8, 4))):
        row = study.points(mode)[2][0]
        point = Point(mode, "ranks", 2, 1, *batch, seed=study.header["seed"])
        assert reframe._program(study, mode, row) == fill_in(program, point, "{out}")


def test_the_test_that_is_written_is_python_for_any_name(tmp_path):
    folder = scaling_fake.write_study(tmp_path / 'a """study\\', repeats=1, copies=False)
    text = reframe.as_test(store.read(folder))
    assert subprocess.run([sys.executable, "-c", f"compile({text!r}, 'x', 'exec')"]).returncode == 0


@pytest.mark.parametrize("count", [3, 6, 12])
def test_one_more_run_lies_where_it_is_expected_in_95_percent(count):
    """Simulated: runs whose logarithms scatter normally, 4,000 studies."""
    import numpy as np

    rng = np.random.default_rng(count)
    runs = np.exp(rng.normal(2.0, 0.05, (4000, count + 1)))
    inside = 0
    for *before, after in runs.tolist():
        low, high = next_run.bounds(before)
        inside += low <= after <= high
    assert inside / 4000 == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize(
    ("folder", "hold_out"),
    [("scaling/example/two-ranks", ""), ("scaling/example-emulated/many-ranks", "16,32")],
)
def test_the_examples_are_made_of_the_rows_kept_beside_them(
    folder, hold_out, tmp_path, monkeypatch
):
    for name in ("draw_all", "draw_files", "draw_panel"):
        monkeypatch.setattr(figures, name, lambda *_: b"")
    report(ReportConfig((ROOT / folder,), tmp_path, hold_out=hold_out))
    beside = (ROOT / folder).parent
    for name in ("results.csv", "datapackage.json"):
        assert (beside / name).read_text() == (tmp_path / name).read_text()
    words, numbers = zip(*(parts(place / "report.md") for place in (beside, tmp_path)), strict=True)
    assert words[0] == words[1], (
        f"make it again: python -m scaling report {folder}, CONTRIBUTING.md"
    )
    # Laws are fitted by steps; their last digits may differ from one processor to another.
    assert numbers[0] == pytest.approx(numbers[1], rel=0.02, abs=2e-3)


def parts(path):
    """What stands between the numbers of a text, and the numbers."""
    found = re.split(r"(\d+(?:,\d{3})*(?:\.\d+)?)", path.read_text())
    return found[::2], [float(one.replace(",", "")) for one in found[1::2]]
