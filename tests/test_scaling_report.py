"""The report is whole in one file, says first what was found, and shows failed points too."""

import csv
import dataclasses
import re
import shlex

import browser
import pytest
import scaling_fake
from matplotlib.figure import Figure

from cloudmask.cli import flags
from cloudmask.cli.errors import UsageError
from scaling.laws import fits, ratios
from scaling.measure import plan_points
from scaling.measure.study import FREE
from scaling.options import ReportConfig, RunConfig
from scaling.record import conditions, store
from scaling.record.store import StudyError
from scaling.report import (
    accuracy,
    every_point,
    figures,
    findings,
    panels,
    repeat,
    shares,
    style,
    tables,
)
from scaling.report.command import report
from scaling.report.tables import Table

MARKUP = "<script>alert(1)</script>"


def changed(folder, change):
    """The study with each row as `change` makes it, and one after them where it returns two."""
    rows = [change(row) for row in store.read_rows(folder)]
    (folder / store.ROWS).write_text("")
    for row in rows:
        store.append(folder, row)
    return store.read(folder)


def failed(row, **columns):
    """A row without figures, made of one that has them."""
    kept = {name: row[name] for name in ("mode", "kind", "ranks", "repeat", "seed", "ended")}
    return {
        **kept,
        **{"point": "strong-ranks-n0001-r07", "attempt": 1, "status": "stalled"},
        **{"error": f"no step for 300 s {MARKUP}", "last_lines": {"rank 0": "a | b"}},
        **{"wall_seconds": 301.0, "cores": [[0]], "rank_hours": 0.08},
        **columns,
    }


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "two cores"
    scaling_fake.write_study(folder, repeats=6, alone=True, program=MARKUP)
    store.append(folder, failed(store.read_rows(folder)[0]))
    return folder


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report"
    report(ReportConfig((study,), out))
    return out


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """128 nodes of eight ranks, one point of which failed with a log of every rank."""
    folder = tmp_path_factory.mktemp("large") / "thousand"
    scaling_fake.write_study(folder, ranks=(8, 1024), repeats=2, modes=("weak",), copies=False)

    def change(row):
        nodes = row["ranks"] // 8
        hosts = [f"node{number:04d}.cluster.example" for number in range(nodes)]
        cores = [list(range(8 * (n % 8), 8 * (n % 8) + 8)) for n in range(row["ranks"])]
        parts = ("step_seconds", "data_wait_seconds", "compute_seconds")
        times = {name: [0.1234567890123 + n / 1e6 for n in range(row["ranks"])] for name in parts}
        return row | {"nodes": nodes, "hosts": hosts, "cores": cores, "per_rank": times}

    changed(folder, change)
    row = store.read_rows(folder)[-1]
    lines = {f"rank {number}": "Killed by the system " * 9 for number in range(1024)}
    store.append(folder, failed(row, point="weak-ranks-n1024-r03", last_lines=lines))
    return folder


KEYS = ("strong", "weak", "throughput", "step", "balance", "allreduce")


def test_report_has_all_its_files(page):
    names = {path.relative_to(page).as_posix() for path in page.rglob("*") if path.is_file()}
    assert names == {
        *("report.md", "report.html", "curves.png", "results.csv"),
        *("datapackage.json", "reframe_cloudmask.py", "extrap-strong.jsonl", "extrap-weak.jsonl"),
        *(f"figures/{key}.{kind}" for key in KEYS for kind in ("svg", "pdf")),
    }


def test_page_needs_nothing_else_and_runs_nothing(page):
    text = (page / "report.html").read_text()
    assert "http" not in re.sub(r"data:image/svg\+xml;base64,[\w+/=]+", "", text)
    assert MARKUP not in text
    assert "&lt;script&gt;" in text
    assert text.count("<figure") == 6


def test_findings_stand_first_each_with_its_base_and_a_link_to_its_figures(page):
    text = (page / "report.html").read_text()
    assert [text.index(f'<section id="{name}"') for name in ("findings", "pictures")] < [
        text.index(f'<section id="{name}"') for name in ("tables", "repeat")
    ]
    first = text[text.index('<ol class="findings">') : text.index("</ol>")]
    items = re.findall(r"<li>(.*?)</li>", first, flags=re.S)
    assert 4 <= len(items) <= 8
    for item in items:
        assert re.search(r"\[[\d.]+, [\d.]+\]|%", item), item
        assert "base: 1 rank through openmpi" in item or "efficiency" not in item
        addresses = re.findall(r'href="#([^"]+)"', item)
        assert addresses
        assert all(f'id="{address}"' in text for address in addresses)


def test_every_link_of_the_page_leads_somewhere(study, tmp_path):
    """Two studies have two sets of tables on one page, none of them under another's name."""
    other = scaling_fake.write_study(tmp_path / "sixteen", ranks=(1, 4, 16), repeats=2)
    report(ReportConfig((study, other), tmp_path / "out"))
    text = (tmp_path / "out" / "report.html").read_text()
    there = re.findall(r' id="([^"]+)"', text)
    assert len(there) == len(set(there))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(there)
    assert "Scaling study: two cores and sixteen" in text
    assert "sixteen: python; A processor" in text
    assert (tmp_path / "out" / "extrap-sixteen-weak.jsonl").exists()
    assert (tmp_path / "out" / "reframe_cloudmask-sixteen.py").exists()
    with pytest.raises(UsageError, match="one study, or two"):
        report(ReportConfig((study,) * 3, tmp_path / "out"))


def test_studies_of_one_name_keep_their_files_and_rows_apart(tmp_path, monkeypatch):
    for name in ("draw_all", "draw_files"):
        monkeypatch.setattr(figures, name, lambda *_: None)
    monkeypatch.setattr(figures, "draw_panel", lambda *_: b"")
    both = [
        scaling_fake.write_study(tmp_path / name / "study", modes=("weak",), repeats=repeats)
        for name, repeats in (("old", 2), ("new", 3))
    ]
    report(ReportConfig(tuple(both), tmp_path / "out"))
    for name, runs in (("old-study", 4), ("new-study", 6)):
        lines = (tmp_path / "out" / f"extrap-{name}-weak.jsonl").read_text().splitlines()
        assert len([line for line in lines if '"main",' in line]) == runs
        assert (tmp_path / "out" / f"reframe_cloudmask-{name}.py").exists()
    with (tmp_path / "out" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["study"] for row in rows} == {"old-study", "new-study"}
    assert "study: old-study and new-study<" in (tmp_path / "out" / "report.html").read_text()
    same = store.told_apart([store.read(both[0])] * 2)
    assert [study.name for study in same] == ["study-1", "study-2"]
    assert store.told_apart([store.read(both[0])])[0].name == "study"


def test_a_table_puts_its_own_sentence_among_the_findings(study):
    mine = Table("Energy", "", ("a",), (("b",),), finding="41 kJ [40, 42] to the target.")
    found = findings.findings(store.read(study), [mine])
    assert [one.table for one in found if "41 kJ" in one.text] == ["energy"]


def test_projections_are_told_only_where_the_law_was_tested(tmp_path, study):
    few = findings.projected(store.read(study), fits.fit_study(store.read(study)))
    wanted = "nothing; USL has 3 parameters and needs 3 different rank counts, there are 2"
    assert [wanted in one.text for one in few] == [True, True]
    folder = scaling_fake.write_study(tmp_path / "s", ranks=(1, 2, 4, 8), copies=False)
    found = store.read(folder)
    for one in findings.projected(found, fits.fit_study(found)):
        assert re.search(r"on 16 ranks: [\d.]+ \[[\d.]+, [\d.]+\] patches/s by USL", one.text)
        assert one.table == "laws"


def test_every_figure_carries_its_conditions(page, study):
    text = (page / "report.html").read_text()
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text, flags=re.S)
    assert len(captions) == 6
    for caption in captions:
        for part in ("A processor", "1, 2 ranks", "1 core per rank", "6 repeats", "commit 0000"):
            assert part in caption
    assert "dashed lines are projected" in text
    assert "Projected, not measured" in text


def test_failed_points_stay_in_the_table(page):
    for name in ("report.html", "report.md"):
        text = (page / name).read_text()
        assert "strong-ranks-n0001-r07" in text
        assert "no step for 300 s" in text
    assert "a \\| b" in (page / "report.md").read_text()
    assert "1 of 50 runs gave no figures" in (page / "report.md").read_text()


def test_absolute_figures_stand_beside_ratios(page):
    text = (page / "report.md").read_text()
    header = next(line for line in text.splitlines() if line.startswith("| ranks | runs"))
    assert "patches/s | speed-up | efficiency" in header
    assert re.search(r"2 ranks train \d+\.\d+ \[.*\] patches/s, 1\.\d+ \[", text)
    assert "96.9 % (of a ratio: at least 93.8 %)" in text


def test_conditions_tell_how_many_points_had_each_value(study, tmp_path):
    folder = scaling_fake.write_study(tmp_path / "s", modes=("weak",), repeats=3, copies=False)
    found = changed(
        folder,
        lambda row: (
            row
            | {
                "controller": "gloo" if row["ranks"] == 1 else "mpi",
                "nodes": row["ranks"],
                "learning_rate": 0.001 if row["repeat"] < 3 else None,
                "settings": {"HOROVOD_SIZE": str(row["ranks"]), "OMP_NUM_THREADS": "1"},
            }
        ),
    )
    table = dict(every_point.conditions_table(found).rows)
    assert table["controller"] == "gloo (3 of 6), mpi (3)"
    assert table["learning rate"] == "0.001 (4 of 6), not told (2)"
    assert table["settings found"] == "HOROVOD_SIZE=1 (3 of 6), 2 (3); OMP_NUM_THREADS=1"
    assert table["nodes"] == "1 (3 of 6), 2 (3)"
    assert table["precision"] == "float32"
    assert "controller gloo (3 of 6), mpi (3)" in conditions.sentence(found)


def test_what_hosts_did_is_told_and_not_what_was_wished_of_them(study):
    """A host may refuse to drop its cache. Which host a study was started on, nobody recorded."""
    found = store.read(study)
    rows = [{**row, "page_cache": "dropped on 1 of 2 hosts"} for row in found.rows]
    hardware = {"title": "96 cores, 8 GPUs of the hosts that were asked"}
    header = {**found.header, "page_cache": "dropped", "hardware": hardware}
    found = dataclasses.replace(found, rows=rows, header=header)
    table = str(every_point.conditions_table(found).rows)
    words = [conditions.sentence(found), table, str(repeat.sections(found, [], []))]
    assert all("page cache dropped on 1 of 2 hosts" in text for text in words)
    assert not any("hosts that were asked" in text for text in words)


def test_only_what_was_checked_is_called_checked(tmp_path):
    folder = scaling_fake.write_study(tmp_path / "s", modes=("weak",), repeats=1, copies=False)
    note = every_point.conditions_table(store.read(folder)).note
    assert "that no two ranks share one, that the hardware is the same" in note
    assert "The rest is told, not checked" in note
    crowded = changed(
        folder, lambda row: row | {"oversubscribed": True, "threads_per_rank": None, "hardware": []}
    )
    note = every_point.conditions_table(crowded).note
    assert "share" not in note
    assert "hardware" not in note
    assert "threads" not in note


def test_nodes_are_a_column_where_rows_tell_them(large, study):
    found = store.read(large)
    table = tables.scaling_table(found, "weak")
    at = table.header.index("nodes")
    assert [row[at] for row in table.rows] == ["1", "128"]
    assert "nodes" in every_point.points_table(found).header
    assert "nodes" not in tables.scaling_table(store.read(study), "weak").header


def test_no_cell_of_a_thousand_ranks_is_too_long_to_read(large):
    found = store.read(large)
    for table in (every_point.points_table(found), every_point.conditions_table(found)):
        assert max(len(cell) for row in table.rows for cell in row) < 500
    table = every_point.points_table(found)
    cells = dict(zip(table.header, table.rows[2], strict=True))
    assert cells["cores of each rank"] == "0-7 | 8-15 | 16-23 | ... (1,024 ranks)"
    hosts = dict(every_point.conditions_table(found).rows)["hosts"]
    assert hosts.endswith("node0127.cluster.example (128 hosts)")


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([3], "3"), ([0, 1, 2, 3], "0-3"), ([8, 0, 1], "0-1+8"), ([0, 2, 4], "0+2+4")],
)
def test_neighbouring_cores_are_told_as_a_span(numbers, text):
    assert every_point.cores({"cores": [numbers]}) == text


def test_accuracy_stands_against_the_global_batch_where_there_are_several(tmp_path, study):
    folder = scaling_fake.write_study(tmp_path / "s", ranks=(1, 4), repeats=2, copies=False)
    table = accuracy.accuracy_table(
        changed(
            folder,
            lambda row: (
                row | {"best_accuracy": 1 - row["global_batch"] / 100, "patches_trained": 1600}
            ),
        )
    )
    column = table.header.index("best accuracy")
    assert [(row[0], row[2], row[column].split()[0]) for row in table.rows] == [
        ("4", "2", "0.960"),
        ("16", "6", "0.840"),
    ]
    assert "0.960 (0.960 - 0.960) at a global batch of 4 and 0.840 [" in table.finding
    unlike = changed(folder, lambda row: row | {"patches_trained": 41 * row["global_batch"]})
    assert accuracy.accuracy_table(unlike).finding == ""
    one = scaling_fake.write_study(tmp_path / "one", modes=("strong",), copies=False)
    assert accuracy.accuracy_table(store.read(one)).rows == ()


def test_allreduce_tells_its_repeats_and_each_rank_count_has_its_own_colour(tmp_path):
    folder = scaling_fake.write_study(
        tmp_path / "s", ranks=tuple(range(1, 12)), repeats=1, modes=("weak",), copies=False
    )

    def change(row):
        sizes = [one | {"repeats": 21} for one in row.get("allreduce") or []]
        return row | ({"allreduce": sizes} if sizes else {})

    def caption(found):
        return next(one for one in panels.panels([found]) if one.key == "allreduce").caption

    assert "median of its repeats" in caption(store.read(folder))
    assert "median of 21 each" in caption(changed(folder, change))
    colours = [colour for colour, _ in style.sequence(10)]
    brightness = [sum(colour[:3]) for colour in colours]
    assert len(set(colours)) == 10
    assert brightness == sorted(brightness)


def test_no_series_of_a_wide_study_runs_past_its_picture(tmp_path, monkeypatch):
    drawn = []
    draw = figures._draw

    def watched(axes, panel, found):
        draw(axes, panel, found)
        drawn.append((panel.key, axes))

    monkeypatch.setattr(figures, "_draw", watched)
    study = store.read(
        scaling_fake.write_study(
            tmp_path / "s", ranks=(1, 4096), repeats=1, modes=("weak",), copies=False
        )
    )
    for panel in panels.panels([study]):
        figures.draw_panel(panel, figures.views([study], [[]]))
    for key, axes in drawn:
        low, high = axes.get_xlim()
        reached = [
            x for line in axes.get_lines() if line.get_marker() != "None" for x in line.get_xdata()
        ]
        assert all(low <= x <= high for x in reached), key


def test_axis_names_ranks_and_how_many_gpus_each_has(study):
    one = store.read(study)
    (view,) = figures.views([one], [[]])
    assert style.rank_label([view]) == "ranks"
    one.header["gpus_per_rank"] = 2
    assert style.rank_label([view]) == "ranks (of 2 GPUs each)"


def test_repeating_it_is_told_in_the_order_of_the_appendices(page):
    text = (page / "report.md").read_text()
    headings = re.findall(r"^### \d+\. (.*)$", text, flags=re.M)
    assert headings == [
        *("Contributions", "Artifacts, and what rests on them", "Expected results"),
        *("Expected time and cost", "Hardware", "Software", "Data", "Installation"),
        *("Execution", "Analysis"),
    ]
    assert "python -m scaling run --out STUDY --ranks 1,2 --modes strong,weak --repeats 6" in text
    assert "--env HOROVOD_CYCLE_TIME=10" in text


@pytest.mark.parametrize(
    "options",
    [
        {"launcher": "mpirun", "hosts": "localhost:2", "page_cache": "dropped", "modes": "weak"},
        {"launch": "env WHERE='a b' COUNT={ranks} {program}", "cores_per_rank": 2},
        {"launcher": "mpirun", "oversubscribe": True, "alone": "", "env": ("A=b c",), "seed": 3},
    ],
)
def test_the_words_that_repeat_a_study_make_the_same_study(tmp_path, options):
    def header_of(config, program):
        found = plan_points.header(*plan_points.prepare(config, program))
        return {name: value for name, value in found.items() if name not in FREE}

    config = RunConfig(tmp_path / "s", ranks="1,2", repeats=3, **options)
    header = header_of(config, ["python", "train_hvd.py", "--data", "a b"])
    alone, modes = config.alone != "", config.modes.split(",")
    rows = scaling_fake.write_study(tmp_path / "s", copies=False, alone=alone, modes=modes)
    found = store.read(rows)
    found = dataclasses.replace(found, header=found.header | {"plan": None} | header)
    words = shlex.split(repeat.command(found))[4:]
    again, program = flags.parse_with_program(RunConfig, words, prog="scaling run")
    assert header_of(again, program) == header
    assert (again.launch, again.repeats) == (config.launch, 6)


def test_the_words_that_repeat_a_study_hold_the_binding_of_gpus(study):
    found = store.read(study)
    found.header.update(launcher="srun", gpu_bind="none")
    assert "--launcher srun --gpu-bind none" in repeat.command(found)


def test_whole_runs_and_rank_hours_count_from_the_launch(study):
    found = store.read(study)
    table = tables.scaling_table(found, "strong")
    row = dict(zip(table.header, table.rows[1], strict=True))
    wall = ratios.curve(found.points("strong"), "wall_seconds")[1].estimate.value
    assert row["whole run, s"].startswith(f"{wall:.2f}")
    assert row["rank-hours"].startswith(f"{2 * wall / 3600:.3f}")


def test_shares_are_stacked_to_a_hundred_each_from_where_the_one_before_ends():
    axes = Figure().subplots()
    curves = [
        ("one", {1: {"a": 1.0, "b": 3.0}, 2: {"a": 2.0, "b": 2.0}}),
        ("two", {4: {"a": 0.0, "b": 5.0}}),
    ]
    looks = {"a": ("A", "red", ""), "b": ("B", "blue", "")}
    places, whole = shares.draw_shares(axes, curves, looks)
    assert (len(set(places)), whole.tolist()) == (3, [4.0, 4.0, 5.0])
    lower, upper = axes.containers
    assert [bar.get_height() for bar in lower] == [25, 50, 0]
    assert [bar.get_y() for bar in upper] == [25, 50, 0]
    assert [bar.get_y() + bar.get_height() for bar in upper] == [100, 100, 100]


def test_pictures_are_pictures(page):
    assert (page / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (page / "curves.png").stat().st_size > 50_000
    for key in KEYS:
        assert "<svg" in (page / "figures" / f"{key}.svg").read_text()[:1000]
        assert (page / "figures" / f"{key}.pdf").read_bytes().startswith(b"%PDF")


def test_the_same_study_gives_the_same_files(page, study, tmp_path):
    report(ReportConfig((study,), tmp_path / "again"))
    for path in page.rglob("*.*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(page)).read_bytes()


def test_study_of_one_mode_without_copies_or_allreduce_has_a_report(tmp_path):
    folder = scaling_fake.write_study(
        tmp_path / "s", modes=("weak",), ranks=(1,), repeats=1, copies=False
    )
    report(ReportConfig((folder,), tmp_path / "out"))
    keys = [panel.key for panel in panels.panels([store.read(folder)])]
    assert keys == ["weak", "throughput", "step", "balance"]


def test_report_into_a_file_is_refused(study, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(StudyError, match="is a file"):
        report(ReportConfig((study,), tmp_path / "out"))


SEEN = """({
    pictures: [...document.images].map(i => i.complete && i.naturalWidth > 0),
    named: [...document.images].every(i => i.alt.length > 20),
    width: innerWidth, needed: document.documentElement.scrollWidth,
    widest: Math.max(...[...document.querySelectorAll('table')].map(t => t.scrollWidth)),
    first: document.querySelector('#findings').offsetHeight,
    paper: getComputedStyle(document.body).backgroundColor,
    tables: document.querySelectorAll('table').length,
    scripts: document.scripts.length})"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 360])
def test_page_in_a_browser_is_quiet_and_whole(page, width):
    """Every picture is decoded, nothing else is asked for, nothing runs past the window's edge."""
    path = page / "report.html"
    found = browser.page(path, script=SEEN, width=width)
    assert (found.console, found.failed) == ((), ())
    assert found.requests == (path.as_uri(),)
    seen = found.value
    assert seen["pictures"] == [True] * 6
    assert seen["named"]
    assert seen["width"] == width
    assert seen["needed"] <= width
    assert seen["tables"] >= 6
    assert seen["scripts"] == 0
    assert seen["paper"] == "rgb(255, 255, 255)"


@pytest.mark.slow
def test_page_is_dark_where_the_reader_asks_for_it(page):
    seen = browser.page(page / "report.html", script=SEEN, scheme="dark").value
    assert max(map(int, re.findall(r"\d+", seen["paper"]))) < 60


@pytest.mark.slow
def test_page_on_paper_cuts_no_table_and_its_findings_fill_one_sheet(page):
    """A sheet of A4 across is 1032 CSS pixels wide between its margins, upright 687 and 1032 high;
    nothing can be scrolled."""
    seen = browser.page(page / "report.html", script=SEEN, width=1032, media="print").value
    assert seen["pictures"] == [True] * 6
    assert seen["widest"] <= 1032
    upright = browser.page(page / "report.html", script=SEEN, width=687, media="print").value
    assert upright["first"] <= 1032
