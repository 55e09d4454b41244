"""Ratios have a named base and honest intervals, and the fits of a study find its law."""

import json

import pytest
import scaling_fake

from scaling.laws import command, fits, intervals, ratios
from scaling.options import ReportConfig
from scaling.record import conditions, store
from scaling.report import figures, findings, repeat, sentences, tables
from scaling.report.command import report

RANKS = (1, 2, 4, 8, 16)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curves") / "study"
    return store.read(scaling_fake.write_study(folder, ranks=RANKS))


def _changed(study, tmp_path, change):
    """The same study with every row changed."""
    folder = tmp_path / "changed"
    folder.mkdir()
    (folder / "study.json").write_text(json.dumps(study.header))
    for row in study.rows:
        store.append(folder, change(dict(row)))
    return store.read(folder)


def test_speedup_is_a_ratio_of_medians_to_one_rank(study):
    rate = {point.ranks: point.estimate for point in ratios.throughput(study, "strong")}
    for point in ratios.speedup(study):
        assert point.estimate.value == pytest.approx(rate[point.ranks].value / rate[1].value)
        assert point.estimate.low <= point.estimate.value <= point.estimate.high
    first, last = ratios.speedup(study)[0], ratios.speedup(study)[-1]
    assert (first.estimate.low, first.estimate.high) == (1, 1)
    assert last.estimate.coverage == pytest.approx(0.96875**2)


def test_whole_run_gains_less_than_its_steps(study):
    steps = ratios.speedup(study)[-1].estimate.value
    whole = ratios.solution_speedup(study)[-1].estimate.value
    assert 1 < whole < steps / 2


def test_ranks_are_held_against_copies(study):
    for point in ratios.against_copies(study, "weak"):
        assert point.estimate.value == pytest.approx(1 / 1.04, rel=0.05)


def test_base_is_held_against_the_same_code_without_horovod(tmp_path):
    found = store.read(scaling_fake.write_study(tmp_path / "study", alone=True))
    base, alone = (ratios.throughput(found, "weak", kind)[0] for kind in ("ranks", "alone"))
    share = sentences.shown(intervals.ratio(base.estimate, alone.estimate))
    told = [finding.text for finding in findings.findings(found, ())]
    (line,) = [line for line in told if "weak batches" in line and "code" in line]
    assert line.startswith(f"One rank through openmpi is {share} times as fast as the same")
    assert not any("was not measured" in text for text in sentences.warnings(found))


def test_parts_of_a_step_add_up_to_it(study):
    for ranks, parts in ratios.step_parts(study, "weak").items():
        rows = study.points("weak")[ranks]
        steps = sorted(row["step_seconds"] for row in rows)
        assert steps[0] <= sum(parts.values()) <= steps[-1]


def test_statistical_efficiency_counts_runs_that_never_reached_the_target(study, tmp_path):
    def change(row):
        if row["ranks"] == 4:
            row["target"] = {"epoch": 4, "seconds": 60.0}
        if row["ranks"] == 8 and row["seed"] == 0:
            row["target"] = None
        return row

    found, tried = ratios.statistical_efficiency(_changed(study, tmp_path, change), "strong")
    by_ranks = {point.ranks: point.estimate.value for point in found}
    assert by_ranks == {1: 1, 2: 1, 4: 0.5, 16: 1}
    assert tried[8] == (5, 6)


def test_total_efficiency_is_the_product_of_two_of_one_base(study, tmp_path):
    def slower(row):
        if row["ranks"] == 4:
            row["target"] = {"epoch": 4, "seconds": 60.0}
        return row

    found = _changed(study, tmp_path, slower)
    rates = {point.ranks: point.estimate for point in ratios.efficiency(found, "strong")}
    total = ratios.total_efficiency(found, "strong")
    assert set(total) == set(RANKS)
    assert total[4].value == pytest.approx(0.5 * rates[4].value)
    assert (total[4].low, total[4].high) == pytest.approx((0.5 * rates[4].low, 0.5 * rates[4].high))
    assert total[4].coverage < rates[4].coverage
    assert total[2] == rates[2] or total[2].value == rates[2].value
    (row,) = [row for row in tables.target_table(found, "strong").rows if row[0] == "4"]
    assert row[-1] == sentences.shown(total[4])


def test_base_without_the_target_leaves_no_efficiency_of_another_base(study, tmp_path):
    def change(row):
        return row | ({"target": None} if row["ranks"] == 1 else {})

    found = _changed(study, tmp_path, change)
    statistical, tried = ratios.statistical_efficiency(found, "weak")
    assert statistical == ()
    assert tried == {1: (0, 6), **dict.fromkeys(RANKS[1:], (6, 6))}
    assert ratios.total_efficiency(found, "weak") == {}
    table = tables.target_table(found, "weak")
    assert "Not given: not every run of 1 rank reached it." in table.note
    assert {row[-2:] for row in table.rows} == {("-", "-")}
    assert ratios.efficiency(found, "weak")[0].ranks == 1


def test_figures_that_the_base_lacks_have_no_ratio(study):
    rows = [row | ({"wall_seconds": None} if row["ranks"] == 1 else {}) for row in study.rows]
    assert ratios.solution_speedup(store.Study(study.folder, study.header, rows)) == ()


def test_whole_run_counts_from_the_launch(study, tmp_path):
    def change(row):
        return row | {"wall_seconds": row["total_seconds"] + 10.0 * row["ranks"]}

    whole = ratios.solution_speedup(_changed(study, tmp_path, change))[-1].estimate.value
    assert whole < 0.4 < ratios.solution_speedup(study)[-1].estimate.value


def test_superlinear_speedup_is_flagged(study, tmp_path):
    def change(row):
        if row["ranks"] == 1 and row["patches_per_second"]:
            row["patches_per_second"] *= 0.5
        return row

    assert not any("Super-linear" in text for text in sentences.warnings(study))
    found = sentences.warnings(_changed(study, tmp_path, change))
    assert any("Super-linear: weak scaling on 2 ranks" in text for text in found)


def test_oversubscribed_and_short_studies_say_so(tmp_path):
    folder = scaling_fake.write_study(tmp_path / "study", repeats=3, oversubscribed=True)
    found = store.read(folder)
    assert "OVERSUBSCRIBED" in conditions.sentence(found)
    told = " ".join(sentences.warnings(found))
    assert "Oversubscribed" in told
    assert "Fewer than 6 repeats" in told


def test_figures_that_other_programs_disturbed_say_so(tmp_path):
    quiet = store.read(scaling_fake.write_study(tmp_path / "quiet", other_cores=0.05))
    assert "DISTURBED" not in conditions.sentence(quiet)
    found = store.read(scaling_fake.write_study(tmp_path / "study", other_cores=1.25))
    assert "DISTURBED by other programs, on up to 1.2 cores" in conditions.sentence(found)
    assert any("measure those again" in text for text in sentences.warnings(found))


def test_a_disturbed_point_that_was_measured_again_is_told_no_more(tmp_path):
    folder = scaling_fake.write_study(tmp_path / "study", modes=("weak",), copies=False)
    points = len(store.read(folder).rows)
    row = store.read_rows(folder)[-2]
    for attempt, other in ((2, 0.9), (3, 0.0)):
        store.append(folder, row | {"attempt": attempt, "other_share": other, "other_cores": other})
        found = store.read(folder)
        told = [text for text in sentences.warnings(found) if "Other programs" in text]
        assert ("DISTURBED" in conditions.sentence(found)) is (attempt == 2)
        assert len(told) == (attempt == 2)
        assert all(f"while 1 of {points} points" in text for text in told)
        assert f"{points} points in all, and all gave figures" in findings.measured(found)


def test_modes_of_other_bases_and_repeats_each_say_their_own(tmp_path, monkeypatch):
    folder = scaling_fake.write_study(tmp_path / "study", ranks=(1, 2, 4), copies=False)
    rows = store.read(folder).rows
    rows = [
        row for row in rows if row["mode"] != "weak" or (row["ranks"] > 1 and row["repeat"] < 4)
    ]
    found = store.Study(folder, store.read(folder).header, rows)
    bases = "1 rank through openmpi (strong), 2 ranks through openmpi (weak)"
    assert f"Base of every ratio: {bases}." in sentences.bars_note(found)
    (expected,) = (
        one for one in repeat.sections(found, [], []) if one.heading == "Expected results"
    )
    assert f"Ratios are taken to {bases}." in expected.text[0]
    page = tmp_path / "out" / "report.md"
    (folder / store.ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("draw_all", "draw_files", "draw_panel"):
        monkeypatch.setattr(figures, name, lambda *_: b"")
    report(ReportConfig((folder,), page.parent))
    note = page.read_text().partition("## Findings")[2].partition("##")[0]
    assert "of the median from 6 runs" in note
    assert "range of 3 runs" in note


def test_missing_base_is_named(tmp_path):
    found = store.read(scaling_fake.write_study(tmp_path / "study", ranks=(2, 4)))
    assert any("base of strong scaling is 2 ranks" in text for text in sentences.warnings(found))
    assert ratios.efficiency(found, "weak")[0].ranks == 2


def test_fits_of_a_study_find_the_law_it_follows(study):
    found = {one.key: one for one in fits.fit_study(study)}
    assert set(found) == {
        *("strong_step", "strong_total", "strong_usl", "weak_gustafson", "weak_usl", "allreduce")
    }
    serial = found["strong_step"].fit.parameters[1]
    assert serial.low < scaling_fake.SERIAL < serial.high
    # scaling_fake: (2e-4 + m / 4e9 * 2 / N) (N - 1) seconds, and up to 6 % more
    allreduce = found["allreduce"].fit
    assert allreduce.value("bandwidth") == pytest.approx(4e9, rel=0.06)
    assert allreduce.value("latency") == pytest.approx(1e-4, rel=0.06)
    assert allreduce.value("constant") < 1e-5


def test_fit_of_two_rank_counts_refuses_usl_and_says_what_amdahl_is_worth(tmp_path):
    study = store.read(scaling_fake.write_study(tmp_path / "study"))
    found = {one.key: one for one in fits.fit_study(study)}
    assert "3 different rank counts, there are 2" in found["weak_usl"].refusal
    assert any("assumed, not tested" in note for note in found["strong_step"].notes)


def test_fits_say_whether_their_law_is_rejected_and_what_lies_on_a_bound(study, tmp_path):
    def change(row):
        if row["mode"] == "strong" and row["patches_per_second"]:
            row["patches_per_second"] *= {8: 0.8}.get(row["ranks"], 1.0)
        if row["mode"] == "weak" and row["patches_per_second"]:
            row["patches_per_second"] *= row["ranks"] ** 0.2
        return row

    found = {one.key: one for one in fits.fit_study(_changed(study, tmp_path, change))}
    assert found["strong_step"].fit.rejected
    (told,) = [note for note in found["strong_step"].notes if "REJECTED" in note]
    assert told.endswith("or the law does not hold")
    assert "lack of fit F(3, 25) = " in "\n".join(fits.lines_of(found["strong_step"]))
    serial = found["weak_gustafson"].fit.parameters[1]
    assert (serial.value, serial.bounded) == (0, True)
    assert any("serial is on its bound, 0" in note for note in found["weak_gustafson"].notes)
    command.write(study, list(found.values()), ())
    record = json.loads(command.path_of(study).read_text())
    step = next(one for one in record["fits"] if one["key"] == "strong_step")
    assert step["rejected"]
    assert step["lack_of_fit"]["freedom"] == [3, 25]


def test_fits_are_written_with_residuals_and_intervals(study):
    found = fits.fit_study(study)
    command.write(study, found, ())
    record = json.loads(command.path_of(study).read_text())
    step = next(one for one in record["fits"] if one["key"] == "strong_step")
    assert len(step["residuals"]) == step["points"] == 6 * len(RANKS)
    assert step["parameters"]["serial"]["low"] < step["parameters"]["serial"]["high"]
    assert step["source"]
