"""The report is whole in one file, carries its conditions, and shows failed points too."""

import csv
import json
import re

import browser
import pytest
import scaling_fake

from cloudmask.cli.errors import UsageError
from scaling.options import ReportConfig
from scaling.record import store
from scaling.record.store import StudyError
from scaling.report import panels
from scaling.report.command import report

MARKUP = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "two cores"
    scaling_fake.write_study(folder, repeats=6, program=MARKUP)
    row = store.read_rows(folder)[0]
    failed = {
        **{name: row[name] for name in ("mode", "kind", "ranks", "repeat", "seed", "ended")},
        **{"point": "strong-ranks-n0001-r07", "attempt": 1, "status": "stalled"},
        **{"error": f"no step for 300 s {MARKUP}", "last_lines": {"rank 0": "a | b"}},
        **{"wall_seconds": 301.0, "cores": [[0]], "rank_hours": 0.08},
    }
    store.append(folder, failed)
    return folder


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report"
    report(ReportConfig((study,), out))
    return out


def test_report_has_all_its_files(page):
    names = {path.name for path in page.iterdir()}
    assert names == {
        *("report.md", "report.html", "curves.png", "curves.svg", "results.csv"),
        *("extrap-strong.jsonl", "extrap-weak.jsonl"),
    }


def test_page_needs_nothing_else_and_runs_nothing(page):
    text = (page / "report.html").read_text()
    assert "http" not in re.sub(r"data:image/svg\+xml;base64,[\w+/=]+", "", text)
    assert MARKUP not in text
    assert "&lt;script&gt;" in text
    assert text.count("<figure>") == 6


def test_every_figure_carries_its_conditions(page, study):
    text = (page / "report.html").read_text()
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text, flags=re.S)
    assert len(captions) == 6
    for caption in captions:
        for part in ("A processor", "1, 2 ranks", "1 core per rank", "6 repeats", "commit 0000"):
            assert part in caption
    assert "dashed lines are projected" in text


def test_failed_points_stay_in_the_table(page):
    for name in ("report.html", "report.md"):
        text = (page / name).read_text()
        assert "strong-ranks-n0001-r07" in text
        assert "no step for 300 s" in text
    assert "a \\| b" in (page / "report.md").read_text()
    assert "1 of 38 points gave no figures" in (page / "report.md").read_text()


def test_absolute_figures_stand_beside_ratios(page):
    text = (page / "report.md").read_text()
    header = next(line for line in text.splitlines() if line.startswith("| ranks | runs"))
    assert "patches/s | speed-up | efficiency" in header
    assert re.search(r"2 ranks train \d+\.\d+ \[.*\] patches/s, 1\.\d+ \[", text)
    assert "96.9 %" in text


def test_csv_holds_every_row(page, study):
    with (page / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(store.read_rows(study))
    assert rows[-1]["status"] == "stalled"
    assert float(rows[0]["patches_per_second"]) > 0
    assert json.loads(rows[0]["cores"]) == [[0]]


def test_extrap_lines_have_the_form_that_extrap_reads(page):
    lines = [json.loads(line) for line in (page / "extrap-weak.jsonl").read_text().splitlines()]
    assert {line["params"]["p"] for line in lines} == {1, 2}
    assert all(set(line) == {"params", "callpath", "metric", "value"} for line in lines)
    steps = [line for line in lines if line["callpath"] == "main->step"]
    assert len(steps) == 12


def test_pictures_are_pictures(page):
    assert (page / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (page / "curves.png").stat().st_size > 50_000
    assert "<svg" in (page / "curves.svg").read_text()[:1000]


def test_two_studies_lie_over_each_other(study, tmp_path):
    other = scaling_fake.write_study(tmp_path / "sixteen", ranks=(1, 4, 16), repeats=2)
    report(ReportConfig((study, other), tmp_path / "out"))
    text = (tmp_path / "out" / "report.html").read_text()
    assert "Scaling study two cores and sixteen" in text
    assert "sixteen: python; A processor" in text
    assert (tmp_path / "out" / "extrap-sixteen-weak.jsonl").exists()
    with pytest.raises(UsageError, match="one study, or two"):
        report(ReportConfig((study,) * 3, tmp_path / "out"))


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
    tables: document.querySelectorAll('table').length,
    scripts: document.scripts.length})"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
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


@pytest.mark.slow
def test_page_on_paper_cuts_no_table(page):
    """A sheet of A4 across is 1032 CSS pixels wide between its margins; nothing can be scrolled."""
    seen = browser.page(page / "report.html", script=SEEN, width=1032, media="print").value
    assert seen["pictures"] == [True] * 6
    assert seen["widest"] <= 1032
