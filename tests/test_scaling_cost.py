"""Tables of what runs cost and of the arithmetic they did: checked by hand, nothing assumed."""

import pytest
import scaling_fake

from cloudmask.cli.errors import UsageError
from scaling.laws import cost, ratios
from scaling.record import store
from scaling.record.store import Study
from scaling.report import figures, panels
from scaling.report.cost import cost_table
from scaling.report.peak import Roof, peak_table, reached


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Weak scaling on 1 and 2 ranks: an hour and half an hour, 10 GFLOP a patch."""
    folder = tmp_path_factory.mktemp("cost") / "study"
    columns = {"modes": ("weak",), "copies": False, "flops_per_patch": 10**10, "nodes": 1}
    columns |= {"bytes_per_patch": 2 * 10**8}
    read = store.read(scaling_fake.write_study(folder, ranks=(1, 2), **columns))
    rows = [
        row | {"wall_seconds": 3600.0 / row["ranks"], "patches_per_second": 50.0 * row["ranks"]}
        for row in read.rows
        if row["kind"] == "ranks"
    ]
    failed = rows[-1] | {
        "point": "weak-ranks-n0002-r07",
        "status": "failed",
        "wall_seconds": 7200.0,
    }
    return Study(read.folder, read.header, [*rows, failed])


def test_what_failed_was_paid_for_too(study):
    """6 runs of an hour on one rank, 6 of half an hour on two, and one of two hours that failed."""
    table = cost_table(study, cost.rate(10.0, None, "EUR"))
    assert table.header[-1] == "price, EUR"
    assert [row[0] for row in table.rows] == ["weak, 1 rank", "weak, 2 ranks", "the whole study"]
    assert table.rows[0][2:] == (
        *("1.00 [1.00, 1.00]", "1.00 [1.00, 1.00]", "-"),
        *("1.00 [1.00, 1.00]", "10.00 [10.00, 10.00]"),
    )
    assert table.rows[1][5] == "0.500 [0.500, 0.500]"
    assert table.rows[2][1:] == ("13", "16.00", "16.00", "-", "11.00", "110.0")


def test_nodes_that_a_row_does_not_tell_are_those_of_others_on_as_many_ranks(study):
    """As of the allreduce alone, whose record has no hosts; two opinions leave them open."""
    silent = study.rows[-1] | {"kind": "allreduce", "nodes": None, "hosts": None}
    told = Study(study.folder, study.header, [*study.rows, silent])
    assert cost_table(told, None).rows[-1][-1] == "13.00"
    assert cost.hours(silent, told).node == 2.0
    two = Study(study.folder, study.header, [*told.rows, study.rows[-1] | {"nodes": 2}])
    assert cost.hours(silent, two).node is None


def test_without_a_rate_there_is_no_price(study):
    table = cost_table(study, None)
    assert "No rate was stated, so no price." in table.note
    assert "price" not in table.header[-1]
    assert all(len(row) == len(table.header) for row in table.rows)


def test_the_share_of_the_peak_is_operations_over_what_the_user_states(study):
    """50 patches/s of 10 GFLOP are half a TFLOP/s for each rank: a quarter of 2 TFLOP/s."""
    table = peak_table(study, Roof(2.0))
    one, two = table.rows
    assert one[:5] == ("weak", "1", "float32", "10.00", "50.0")
    assert one[5:7] == ("0.500 [0.500, 0.500]", "0.500 [0.500, 0.500]")
    assert one[7:] == ("25.0 % (25.0 % - 25.0 %)", "-")
    assert two[5:7] == ("1.00 [1.00, 1.00]", "0.500 [0.500, 0.500]")
    assert {row[7:] for row in peak_table(study, Roof()).rows} == {("-", "-")}


def test_the_roof_is_the_lesser_of_peak_and_memory(study):
    """50 operations a byte: 16 GB/s feed 0.8 TFLOP/s, 100 GB/s more than the peak of 2."""
    low, high = Roof(2.0, 16.0), Roof(2.0, 100.0)
    assert (low.at(50), high.at(50), low.ridge) == (0.8, 2.0, 125.0)
    assert peak_table(study, low).rows[0][8] == "62.5 % (62.5 % - 62.5 %)"
    assert peak_table(study, high).rows[0][8] == "25.0 % (25.0 % - 25.0 %)"
    assert "16 GB/s, the limit below 125.0 FLOP/byte" in peak_table(study, low).note
    keys = [[panel.key for panel in panels.panels([study], roof)] for roof in (low, Roof(2.0))]
    assert ["roofline" in found for found in keys] == [True, False]


@pytest.mark.parametrize(("tflops", "studies"), [(2.0, 1), (0.01, 2)])
def test_every_rank_count_lies_within_the_roofline_s_axes(study, monkeypatch, tflops, studies):
    """Also above a roof that was stated too low."""
    (panel,) = [one for one in panels.panels([study], Roof(tflops, 16.0)) if one.key == "roofline"]
    seen = []
    draw = figures._draw
    monkeypatch.setattr(
        figures, "_draw", lambda axes, *words: seen.append(axes) or draw(axes, *words)
    )
    figures.draw_panel(panel, figures.views([study] * studies, [[]] * studies))
    (axes,) = seen
    roof, ridge, *points = axes.get_lines()
    assert roof.get_ydata().max() == tflops
    assert ridge.get_xdata()[0] == 1000 * tflops / 16
    (low, high), (left, right) = axes.get_ylim(), axes.get_xlim()
    drawn = [(x, y) for line in points for x, y in zip(*line.get_data(), strict=True)]
    assert len({y for _, y in drawn}) >= 1
    assert all(low < y < high and left < x < right for x, y in drawn), drawn
    assert {(50, 0.5)} <= {(round(x), round(y, 3)) for x, y in drawn}


def test_runs_of_earlier_versions_tell_no_bytes(study):
    rows = [row | {"bytes_per_patch": None} for row in study.rows]
    older = Study(study.folder, study.header, rows)
    assert {one.intensity for one in reached(older)} == {None}
    assert {(row[4], row[8]) for row in peak_table(older, Roof(2.0, 16.0)).rows} == {("-", "-")}
    assert "roofline" not in [panel.key for panel in panels.panels([older], Roof(2.0, 16.0))]


@pytest.mark.parametrize("figures", [(0.0, None), (None, -1.0), (float("nan"), 1.0)])
def test_a_device_that_cannot_be_is_refused(figures):
    with pytest.raises(UsageError, match="must be above 0"):
        Roof(*figures)


@pytest.mark.parametrize("change", [{"flops_per_patch": None}, {"emulated_step_seconds": 0.5}])
def test_arithmetic_that_is_not_known_or_was_not_done_is_not_shown(study, change):
    rows = [row | change for row in study.rows]
    assert not peak_table(Study(study.folder, study.header, rows), Roof(2.0)).rows


def test_the_speed_up_of_the_whole_run_counts_the_launcher(tmp_path):
    """Programs of 100 and 50 s, launched in 0 and 30 s: 1.25 times as fast, not twice."""
    read = store.read(scaling_fake.write_study(tmp_path / "study", modes=("strong",)))
    seconds = {1: (100.0, 100.0), 2: (50.0, 80.0)}
    rows = [
        row | dict(zip(("total_seconds", "wall_seconds"), seconds[row["ranks"]], strict=True))
        for row in read.rows
    ]
    found = ratios.solution_speedup(Study(read.folder, read.header, rows))
    assert [point.estimate.value for point in found] == [1.0, 1.25]
