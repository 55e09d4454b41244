"""How to do a study again, in the order of SC's Artifact Description and Evaluation appendices.

The order is that of sc24.supercomputing.org/program/papers/ad-ae-appendices. What the study does
not know is said to be not known, never guessed.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from cloudmask.text import listed, plural, significant
from scaling.laws import ratios
from scaling.record import conditions
from scaling.record.conditions import NOT_TOLD, told
from scaling.record.store import OK, Study
from scaling.report.every_point import rank_hours
from scaling.report.findings import Finding
from scaling.report.sentences import bases, shown
from scaling.report.tables import Table

PROGRAM = "{program}"
FLAVOURS = {"openmpi": "mpirun", "mpich": "mpirun"}
FILES = (
    ("study.json, results.jsonl", "what was studied, and a line of every point"),
    ("results.csv, datapackage.json", "the same as a table, and what its columns are"),
    ("figures/", "every picture as SVG and PDF"),
    ("extrap-MODE.jsonl", "single runs for Extra-P"),
    ("reframe_cloudmask.py", "every point as a test of ReFrame, with references and tolerances"),
)


@dataclass(frozen=True)
class Section:
    """A part of the appendix: sentences, then pairs of a name and what it is, then commands."""

    heading: str
    text: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    code: tuple[str, ...] = ()


def sections(
    study: Study, findings: Sequence[Finding], tables: Sequence[Table]
) -> tuple[Section, ...]:
    """The appendix of one study."""
    return (
        Section(
            "Contributions",
            (f"The {plural(len(findings), 'finding')} of the first page, with their intervals.",),
        ),
        _artifacts(findings, tables),
        _expected(study),
        _cost(study),
        _hardware(study),
        _software(study),
        _data(study),
        Section(
            "Installation",
            ("In a checkout of the commit above. It builds Horovod, and keeps it.",),
            code=(f"git checkout {_commit(study)}", "make setup"),
        ),
        _execution(study),
        Section(
            "Analysis",
            ("The page that you read, its tables and pictures come from the last command.",),
            code=(
                "python -m scaling fit STUDY",
                "python -m scaling report STUDY --out report",
                "reframe -C SITE.py -c report/reframe_cloudmask.py --run -S folder=.",
            ),
        ),
    )


def _artifacts(findings: Sequence[Finding], tables: Sequence[Table]) -> Section:
    titles = {table.anchor: table.title for table in tables}
    used = dict.fromkeys(titles[one.table] for one in findings if one.table in titles)
    rest = f"The findings rest on these tables: {'; '.join(used)}." if used else ""
    return Section("Artifacts, and what rests on them", (rest,) if rest else (), FILES)


def _expected(study: Study) -> Section:
    pairs = []
    for mode in study.modes:
        rate = ratios.throughput(study, mode)
        pairs += [
            (f"{mode}, {plural(point.ranks, 'rank')}", f"{shown(point.estimate)} patches/s")
            for point in rate
        ]
    return Section(
        "Expected results",
        (
            "Medians over runs, with their intervals, on the same machine. Ratios are taken to "
            f"{bases(study)}. Where a single further run should lie stands in "
            "reframe_cloudmask.py.",
        ),
        tuple(pairs),
    )


def _cost(study: Study) -> Section:
    wall = sum(row.get("wall_seconds") or 0 for row in study.rows)
    hours = sum(map(rank_hours, study.rows))
    pairs = [
        ("setup", "not measured by the study"),
        ("execution", f"{significant(wall / 60)} minutes of {plural(len(study.rows), 'run')}"),
        ("rank-hours", f"{significant(hours)}, failed runs included"),
        ("core-hours", significant(hours * study.header["cores_per_rank"])),
    ]
    if gpus := study.header["gpus_per_rank"]:
        pairs.append(("GPU-hours", significant(hours * gpus)))
    if all(row.get("nodes") for row in study.rows):
        nodes = sum(row["nodes"] * (row.get("wall_seconds") or 0) for row in study.rows) / 3600
        pairs.append(("node-hours", significant(nodes)))
    pairs.append(("analysis", "not measured by the study"))
    note = "Times run from the launch of a point to its end; what lies between points is not in."
    return Section("Expected time and cost", (note,), tuple(pairs))


def _hardware(study: Study) -> Section:
    rows, header = study.measured, study.header
    gpus = header["gpus_per_rank"]
    return Section(
        "Hardware",
        pairs=(
            ("machine", told(rows, "hardware")),
            ("hosts", conditions.hosts_told(rows)),
            ("ranks", listed(sorted({row["ranks"] for row in rows}))),
            ("each rank", f"{told(rows, 'binding')}; {f'GPUs: {gpus}' if gpus else 'no GPU'}"),
            ("network", "not recorded, but for Horovod's allreduce where the study measured it"),
        ),
    )


def _software(study: Study) -> Section:
    rows = study.measured
    launcher = f"{study.header['launcher']}, controller {told(rows, 'controller')}"
    return Section(
        "Software",
        pairs=(
            *conditions.each_told(rows, "versions"),
            ("launcher", launcher),
            ("commit", told(rows, "commit")),
        ),
    )


def _data(study: Study) -> Section:
    rows = study.measured
    names = ("training_patches", "validation_patches", "patch_size", "channels")
    training, validation, size, channels = (told(rows, name) for name in names)
    return Section(
        "Data",
        (
            "The program's words below name the data. It is made by `cloudmask prepare` from "
            "scenes, or from synthetic ones by `cloudmask synth`.",
        ),
        (
            ("patches", f"{training} to train, {validation} to validate"),
            ("a patch", f"{size} pixels, {channels} channels"),
            ("read", f"{told(rows, 'data_mode')}; page cache {conditions.page_cache(study)}"),
        ),
    )


def _execution(study: Study) -> Section:
    done = sum(row["status"] == OK for row in study.latest)
    return Section(
        "Execution",
        (
            "Each point is a fresh group of processes, in a seeded random order. Broken off, the "
            f"same command goes on. {done} of {len(study.latest)} points gave figures. What else "
            "the ranks found set stands in the table of conditions.",
        ),
        (("environment", " ".join(f"{k}={v}" for k, v in study.header["environment"].items())),),
        (command(study),),
    )


def command(study: Study) -> str:
    """`scaling run` as it would make this study, from what the study recorded of itself."""
    header = study.header
    plan = header.get("plan") or {"ranks": [], "modes": [], "repeats": 1}
    ranks = sorted({*plan["ranks"], *(row["ranks"] for row in study.rows)})
    modes = [mode for mode in ("strong", "weak") if mode in {*plan["modes"], *study.modes}]
    repeats = max(plan["repeats"], *(row["repeat"] for row in study.rows))
    words = ["python", "-m", "scaling", "run", "--out", "STUDY"]
    words += ["--ranks", ",".join(map(str, ranks)), "--modes", ",".join(modes)]
    words += ["--repeats", str(repeats)]
    for name in ("batch_per_rank", "global_batch", "hosts", "ranks_per_node"):
        if header.get(name):
            words += [f"--{name.replace('_', '-')}", str(header[name])]
    words += ["--dataset", header["dataset"]] if header["dataset"] != "fixed" else []
    words += _launch(header["launcher"])
    words += ["--gpu-bind", header["gpu_bind"]] if header.get("gpu_bind") else []
    words += ["--cores-per-rank", f"{header['cores_per_rank']:g}"]
    words += ["--gpus-per-rank", f"{header['gpus_per_rank']:g}"]
    kinds = {row["kind"] for row in study.rows}
    shared = header.get("oversubscribe") or any(r.get("oversubscribed") for r in study.measured)
    words += ["--oversubscribe"] if shared else []
    words += ["--copies"] if "copies" in kinds else []
    if header.get("alone") is not None:
        words += [f"--alone={shlex.join(header['alone'])}"]
    else:
        words += [] if "alone" in kinds else ["--alone", ""]
    words += [] if "allreduce" in kinds else ["--no-allreduce"]
    for name, value in header["environment"].items():
        words += ["--env", f"{name}={value}"]
    words += ["--page-cache", "dropped"] if header["page_cache"] == "dropped" else []
    words += ["--seed", str(header["seed"]), "--", *map(str, header["program"])]
    return shlex.join(words)


def _launch(launcher: str) -> list[str]:
    """The words that choose this launcher; one with {program} in it is a template."""
    if PROGRAM in launcher:
        return ["--launch", launcher]
    if launcher.startswith("horovodrun-"):
        return ["--launcher", "horovodrun", "--controller", launcher.partition("-")[2]]
    return ["--launcher", FLAVOURS.get(launcher, launcher)]


def _commit(study: Study) -> str:
    found = {str(row.get("commit") or "") for row in study.measured}
    told_one = found.pop() if len(found) == 1 else ""
    return told_one.rstrip("+") or f"COMMIT  # {NOT_TOLD}, or several"
