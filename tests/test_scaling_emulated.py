"""Studies of emulated devices: labelled wherever they are shown, never mixed, never comparable."""

import argparse
import csv
import json

import pytest
import scaling_fake

from scaling.check import command, reference, verdict
from scaling.laws.command import fit
from scaling.measure.study import _check_hardware, told
from scaling.options import FitConfig, ReportConfig
from scaling.record import conditions, store
from scaling.record.store import StudyError
from scaling.report import figures, panels
from scaling.report.command import report

EMULATED = "emulated device (0.5 s a step)"
COLUMNS = {
    **{"emulated_step_seconds": 0.5, "device": "emulated (0.5 s a step)"},
    "hardware": ["A processor", "emulated (0.5 s a step)"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("emulated") / "many"
    return scaling_fake.write_study(out, ranks=(1, 2, 4, 8), repeats=2, copies=False, **COLUMNS)


@pytest.fixture(scope="module")
def page(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("emulated-page") / "report"
    report(ReportConfig((folder,), out, hold_out="8"))
    return out


def change(folder, out, place, **columns):
    """A copy of a study with other columns in one row."""
    out.mkdir()
    (out / "study.json").write_bytes((folder / "study.json").read_bytes())
    rows = store.read_rows(folder)
    rows[place] |= columns
    (out / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return out


def test_every_part_of_a_report_says_so(page, folder):
    for name in ("report.md", "report.html"):
        text = (page / name).read_text()
        assert EMULATED.upper() in text
        assert f"Strong scaling (fixed global batch), {EMULATED}" in text
        assert f"A step of weak scaling, {EMULATED}" in text
        assert f"Strong scaling of an {EMULATED}: 8 ranks pass" in text
        assert "a wait stands for the computation of a step" in text
        assert "Scaling study: many (emulated device)" in text
    with (page / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] != "allreduce"]
    assert {row["emulated_step_seconds"] for row in rows} == {"0.5"}
    names = {path.name for path in page.glob("extrap*")}
    assert names == {"extrap-emulated-strong.jsonl", "extrap-emulated-weak.jsonl"}


def test_every_picture_says_so(folder, tmp_path, monkeypatch):
    study, titles = store.read(folder), []
    draw = figures._draw

    def watched(axes, panel, found):
        draw(axes, panel, found)
        titles.append(axes.get_title(loc="left"))

    monkeypatch.setattr(figures, "_draw", watched)
    chosen = panels.panels([study])
    figures.draw_all(chosen, figures.views([study], [[]]), [conditions.sentence(study)], tmp_path)
    assert len(titles) == len(chosen) > 4
    assert all(title.endswith("(emulated device)") for title in titles)


def test_emulated_study_beside_a_real_one_is_told_from_it(folder, tmp_path):
    real = store.read(scaling_fake.write_study(tmp_path / "real", repeats=1))
    emulated, other = figures.views([store.read(folder), real], [[], []])
    assert (emulated.prefix, other.prefix) == ("many (emulated device): ", "real: ")


def test_fits_say_so(folder, capsys):
    fit(FitConfig(folder))
    assert EMULATED.upper() in capsys.readouterr().out
    assert json.loads((folder / "fits.json").read_text())["device"] == EMULATED


@pytest.mark.parametrize("name", reference.names())
def test_no_published_figure_is_met_by_waiting(folder, name):
    found = verdict.check(store.read(folder), reference.load(name))
    assert found.code == verdict.NOT_COMPARABLE
    assert found.why.startswith(EMULATED)
    assert found.lines == ()


def test_single_emulated_run_is_not_comparable_either(tmp_path):
    options = argparse.Namespace(global_batch=8, batch=None, seed=0, salt="", steps=9)
    summary = scaling_fake.summary(options, 0, 2) | {"emulated_step_seconds": 0.5}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    study = command.open_path(tmp_path, mixed=False)
    found = verdict.check(study, reference.load("cloudmask-dgx2"))
    assert (found.code, found.lines) == (verdict.NOT_COMPARABLE, ())


@pytest.mark.parametrize("mixed", [False, True])
def test_real_and_emulated_points_make_no_curve(folder, tmp_path, mixed):
    real = {"emulated_step_seconds": None, "device": "CPU", "hardware": ["A processor"]}
    path = change(folder, tmp_path / "both", 0, **real)
    with pytest.raises(StudyError, match=r"mixes emulated device \(0.5 s a step\) and real device"):
        store.read(path, mixed=mixed)
    path = change(folder, tmp_path / "two", 0, emulated_step_seconds=1.0)
    with pytest.raises(StudyError, match=r"\(0.5 s a step\) and emulated device \(1 s a step\)"):
        store.read(path, mixed=mixed)


def test_point_of_another_device_is_marked_while_the_study_runs(folder):
    first, second = store.read_rows(folder)[:2]
    _check_hardware(second, [first], mixed=False)
    assert second["status"] == "ok"
    second |= {"emulated_step_seconds": None}
    _check_hardware(second, [first], mixed=True)
    assert second["status"] == "invalid"
    assert second["error"] == f"ran on real device, the points before on {EMULATED}"
    assert told(first).endswith(EMULATED)
