"""Energy by counters: a stand-in powercap tree and a stand-in NVML, read by the real process."""

import ctypes
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cluster
import pytest
import scaling_fake
import tiny

from cloudmask import host
from cloudmask.text import plural
from scaling.laws import energy as laws
from scaling.measure import energy
from scaling.measure.energy import Meter, add_up, summed
from scaling.measure.inside.energy import POWERCAP
from scaling.options import ReportConfig
from scaling.record import conditions, shapes, store
from scaling.report.command import report
from scaling.report.energy import energy_table

READER = tiny.ROOT / "scaling/measure/inside/energy.py"
RANK = READER.with_name("rank.py")
RANGE = 262_143_328_850
"""of a counter, in microjoules"""


class Tree:
    """A powercap tree, as the kernel has it, with two packages and what must not be counted."""

    def __init__(self, folder):
        self.folder = folder
        self.zones = {"intel-rapl:0": "package-0", "intel-rapl:1": "package-1"}
        others = {"intel-rapl:0:0": "core", "intel-rapl:0:1": "dram", "intel-rapl:2": "psys"}
        for zone, name in {**self.zones, **others, "intel-rapl-mmio:0": "package-0"}.items():
            (folder / zone).mkdir(parents=True)
            (folder / zone / "name").write_text(f"{name}\n")
            (folder / zone / "max_energy_range_uj").write_text(f"{RANGE}\n")
            (folder / zone / "energy_uj").write_text("777\n")
        self.set(0, 0)

    def set(self, *microjoules):
        for zone, value in zip(self.zones, microjoules, strict=True):
            aside = self.folder / zone / "energy.new"
            aside.write_text(f"{value % RANGE}\n")
            aside.replace(self.folder / zone / "energy_uj")


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "powercap")


@pytest.fixture(scope="module")
def nvml(tmp_path_factory):
    """The folder of a libnvidia-ml.so.1 that reads what a test writes."""
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("nvml.c")
    words = ["gcc", "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", source]
    subprocess.run(words, check=True)
    return folder


class Reader:
    """The reading process, which a test lets read once more and then ends."""

    def __init__(self, file, **environment):
        self.file = file
        words = [sys.executable, "-I", "-S", READER, file]
        environment = {**os.environ, **{k: str(v) for k, v in environment.items()}}
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, env=environment)
        self.wait(1)

    def wait(self, lines):
        tiny.wait_until(lambda: len(energy.read(self.file)) >= lines, seconds=20)

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0
        return energy.read(self.file)


def test_packages_are_read_once_each_over_the_end_of_a_counters_range(tree, tmp_path):
    tree.set(RANGE - 40_000_000, 5_000_000)
    reader = Reader(tmp_path / "energy.jsonl", **{POWERCAP: tree.folder})
    tree.set(RANGE - 10_000_000, 6_000_000)
    reader.wait(2)
    tree.set(RANGE + 25_000_000, 9_000_000)
    lines = reader.end()
    assert len(lines) >= 3
    found = add_up(lines)
    assert found.joules == pytest.approx({"cpu package-0": 65.0, "cpu package-1": 4.0})
    assert found.kinds() == pytest.approx({"cpu package": 69.0})
    assert (found.name, found.problem, found.refused) == (host.name(), None, [])


def gpus(file, *rows):
    """name, joules and watts of each"""
    aside = file.with_suffix(".new")
    aside.write_text("".join(f"{n} {j * 1000:.0f} {w * 1000:.0f}\n" for n, j, w in rows))
    aside.replace(file)


def test_gpus_are_read_through_nvml_beside_the_packages(tree, nvml, tmp_path):
    state = tmp_path / "gpus"
    gpus(state, ("GPU-a", 2**40, 300), ("GPU-b", 7, 100))
    places = {POWERCAP: tree.folder, "LD_LIBRARY_PATH": nvml, "STAND_IN_GPUS": state}
    reader = Reader(tmp_path / "energy.jsonl", **places)
    gpus(state, ("GPU-a", 2**40 + 200, 300), ("GPU-b", 107, 100))
    tree.set(3_000_000, 0)
    lines = reader.end()
    found = add_up(lines)
    assert found.kinds() == pytest.approx({"gpu": 300.0, "cpu package": 3.0})
    assert set(found.joules) == {"gpu GPU-a", "gpu GPU-b", "cpu package-0", "cpu package-1"}
    seconds = lines[-1]["at"] - lines[0]["at"]
    assert found.power_joules["gpu GPU-a"] == pytest.approx(300 * seconds)


@pytest.mark.parametrize(
    ("after", "problem"),
    [
        ([("GPU-a", 20, 1)], "gpu GPU-b was not there all the time"),
        ([("GPU-a", 20, 1), ("GPU-b", 20, 1), ("GPU-c", 0, 1)], "gpu GPU-c was not there"),
        ([("GPU-a", 20, 1), ("GPU-b", 3, 1)], "the counter of gpu GPU-b began anew"),
        ([("GPU-a", 20, 1), ("GPU-b", 20, 1), ("old", 0, 1)], "gpu old has no counter"),
    ],
)
def test_gpus_that_come_go_or_begin_anew_make_it_not_measured(nvml, tmp_path, after, problem):
    state = tmp_path / "gpus"
    gpus(state, ("GPU-a", 10, 1), ("GPU-b", 10, 1))
    places = {POWERCAP: tmp_path, "LD_LIBRARY_PATH": nvml, "STAND_IN_GPUS": state}
    reader = Reader(tmp_path / "energy.jsonl", **places)
    gpus(state, *after)
    found = add_up(reader.end())
    assert problem in found.problem
    assert summed({found.name: found}, [found.name])["joules"] is None


def test_a_counter_that_went_missing_for_a_while_makes_it_not_measured(tree, tmp_path):
    reader = Reader(tmp_path / "energy.jsonl", **{POWERCAP: tree.folder})
    counter = tree.folder / "intel-rapl:1/energy_uj"
    counter.unlink()
    tiny.wait_until(lambda: len(energy.read(reader.file)[-1]["joules"]) == 1, seconds=20)
    counter.write_text("5\n")
    found = add_up(reader.end())
    assert found.problem == "cpu package-1 was not there all the time"


def test_where_nothing_can_be_read_the_reader_says_so_and_is_gone(tmp_path):
    file = tmp_path / "energy.jsonl"
    reader = Reader(file, **{POWERCAP: tmp_path / "none"})
    assert reader.process.wait(20) == 0
    found = add_up(reader.end())
    assert (found.readings, found.problem) == (1, "no counter readable")


def _as_a_user_without_rights():
    """Root, in a child process, without the right to read what modes forbid."""
    for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, right, 0, 0, 0)  # PR_CAPBSET_DROP


def test_counters_that_are_for_root_alone_are_told_of(tree, tmp_path):
    (tree.folder / "intel-rapl:0/energy_uj").chmod(0o000)
    file = tmp_path / "energy.jsonl"
    words = [sys.executable, "-I", "-S", READER, file]
    subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        env={**os.environ, POWERCAP: str(tree.folder)},
        preexec_fn=_as_a_user_without_rights,
        timeout=20,
        check=True,
    )
    found = add_up(energy.read(file))
    assert found.refused == ["powercap"]
    assert found.problem == "no counter readable", "one package is not the energy of two"
    assert summed({host.name(): found}, [host.name()])["refused"] == ["powercap"]


# --- What readings add up to ----------------------------------------------------------------------


def lines(*readings, ranges=None, watts=None, every=1.0):
    """Of one device, joules second by second."""
    head = {
        "host": "here",
        "ranges": ranges or {},
        "refused": [],
        "without": [],
        "cpu_seconds": 0.1,
    }
    return [
        {**head, "at": 100.0 + every * n, "joules": {"gpu a": value}, "watts": watts or {}}
        for n, value in enumerate(readings)
    ]


def test_a_reset_is_told_from_the_end_of_a_range():
    ranges = {"gpu a": 262_144.0}
    assert add_up(lines(262_100, 262_144, 56, ranges=ranges)).joules == {"gpu a": 100.0}
    assert add_up(lines(100_000, 100_100, 0, ranges=ranges)).problem is not None
    assert add_up(lines(100_000, 100_100, 0)).problem is not None


def test_after_a_gap_in_which_a_range_may_have_ended_twice_nothing_is_known():
    assert add_up(lines(1, 2, ranges={"gpu a": 262_144.0}, every=100)).problem is not None
    assert add_up(lines(1, 2, every=100)).joules == {"gpu a": 1.0}


def test_an_impossible_power_is_no_reading():
    assert add_up(lines(0, 1e6)).problem is not None


def test_all_hosts_must_tell_of_the_same_kinds_of_devices():
    here, there = add_up(lines(0, 10)), add_up(lines(5, 25))
    total = summed({"a": here, "b": there}, ["a", "b"])
    assert (total["joules"], total["by"], total["hosts"]) == (30.0, {"gpu": 30.0}, 2)
    assert summed({"a": here}, ["a", "b"])["problems"] == ["b: no readings"]
    assert summed({"a": here}, ["a", "b"])["joules"] is None
    there.joules["cpu package-0"] = 3.0
    assert summed({"a": here, "b": there}, ["a", "b"])["joules"] is None
    assert summed({}, [])["joules"] is None


def test_mean_power_times_time_stands_beside_the_counters():
    total = summed({"here": add_up(lines(0, 100, 200, watts={"gpu a": 150.0}))}, ["here"])
    assert total["power_to_counters"] == pytest.approx(1.5)


def test_a_gpu_that_does_not_always_tell_its_power_is_left_out_of_that_check_alone():
    readings = lines(0, 100, 200, watts={"gpu a": 150.0})
    for silent in range(3):
        some = [
            reading | {"watts": {}} if n == silent else reading
            for n, reading in enumerate(readings)
        ]
        found = add_up(some)
        assert (found.joules, found.power_joules, found.problem) == ({"gpu a": 200.0}, {}, None)


@pytest.mark.parametrize(
    "wrong", ["[1]", '{"at": 101.0}', '{"at": 101.0, "joules": 1, "watts": 2}']
)
def test_whatever_the_readings_are_the_row_of_a_point_that_has_run_is_written(tmp_path, wrong):
    head = json.dumps(lines(0)[0])
    (tmp_path / "energy-here.jsonl").write_text(f"{head}\n{wrong}\n")
    meter = Meter(tmp_path / "none", 0.0)
    meter.began = 100.0
    found = meter.result(tmp_path, hosts=["here"], ended=102.0)
    assert (found["joules"], len(found["problems"])) == (None, 1)


# --- Points ---------------------------------------------------------------------------------------


class Ticking(threading.Thread):
    """Writes 40 W and 60 W into a tree, over the end of a range."""

    def __init__(self, tree):
        super().__init__()
        self.folder = tree.folder
        self.late = 0.0
        """the longest that the counters have stood still, in seconds, as on a busy machine"""
        self.over = threading.Event()
        self._tree, self._began, self._last = tree, time.time(), time.time()
        self._write()

    def _write(self):
        now = time.time()
        self.late, self._last = max(self.late, now - self._last), now
        watts, passed = (40, 60), now - self._began
        self._tree.set(*(RANGE - 1_000_000 + int(each * 1e6 * passed) for each in watts))

    def run(self):
        while not self.over.wait(0.005):
            self._write()

    def joules(self, seconds):
        """What is counted in so many seconds, by counters that may be late."""
        return pytest.approx(100 * seconds, abs=5 * seconds + 100 * self.late)


@pytest.fixture
def ticking(tree):
    thread = Ticking(tree)
    thread.start()
    yield thread
    thread.over.set()
    thread.join()


def _study(out, tree, *options, steps=20):
    words = [sys.executable, "-m", "scaling", "run", "--out", out, "--ranks", "1", *options]
    words += ["--modes", "weak", "--repeats", "1", "--no-allreduce", "--launcher", "python", "--"]
    words += ["python", scaling_fake.__file__, "--out", "{out}", "--batch", "{batch}"]
    words += ["--seed", "{seed}", "--steps", str(steps), "--pause", "0.1"]
    environment = {**tiny.environment(), POWERCAP: str(tree)}
    done = subprocess.run(
        list(map(str, words)), env=environment, cwd=tiny.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return store.read(out)


def test_a_point_has_the_energy_of_its_time_and_the_idle_power_before(ticking, tmp_path):
    study = _study(tmp_path / "study", ticking.folder, "--idle-seconds", "3")
    (row,) = study.rows
    found = row["energy"]
    assert found["joules"] == ticking.joules(found["seconds"])
    assert found["by"] == {"cpu package": found["joules"]}
    assert found["idle_watts"] == pytest.approx(100, abs=10 + 100 * ticking.late)
    assert row["wall_seconds"] <= found["seconds"] + 0.5
    assert found["covered"] == [f"{host.name()}: cpu package-{n}" for n in (0, 1)]
    assert (found["source"], found["hosts"], found["problems"]) == (["powercap"], 1, [])
    assert found["samples"] >= 3
    assert found["slurm_joules"] is None
    figures = laws.figures(row, carbon_intensity=400.0)
    assert figures["joules_per_patch"] == found["joules"] / row["patches_trained"]
    assert figures["carbon_grams"] == pytest.approx(found["joules"] / 3.6e6 * 400)
    assert figures["joule_seconds"] == found["joules"] * row["wall_seconds"]
    assert figures["idle_share"] == pytest.approx(1, abs=0.15 + 2 * ticking.late)
    report(ReportConfig((study.folder,), tmp_path / "report"))
    text = (tmp_path / "report/report.md").read_text()
    assert "## Energy, weak scaling" in text
    assert "| energy | powercap, 1 of 1 points |" in text


def test_where_no_counter_is_the_report_has_one_line_of_it(tmp_path):
    study = _study(tmp_path / "study", tmp_path / "none", steps=3)
    (row,) = study.rows
    assert row["energy"]["joules"] is None
    assert conditions.energy(study) == "not measured (no counter readable)"
    assert energy_table(study, "weak").rows == ()
    report(ReportConfig((study.folder,), tmp_path / "report"))
    text = (tmp_path / "report/report.md").read_text()
    assert text.count("nergy") == 1
    assert "| energy | not measured (no counter readable) |" in text


def test_the_first_rank_of_another_host_has_its_counters_read_until_it_ends(ticking, tmp_path):
    notes = tmp_path / "logs"
    words = [sys.executable, "-I", "-S", RANK, "--notes", notes, "--watched", "another", "--"]
    file = notes / f"energy-{host.name()}.jsonl"
    words += ["sh", "-c", f"until [ $(wc -l < {file}) -ge 3 ]; do sleep 0.05; done 2> /dev/null"]
    environment = {**os.environ, POWERCAP: str(ticking.folder)}
    began = time.time()
    subprocess.run(words, env=environment, check=True, timeout=60)
    ended = time.time()
    tiny.wait_until(lambda: not scaling_fake.living(file), seconds=20)
    gone = time.time()
    meter = Meter(tmp_path / "none", 0.0)
    meter.began = began
    found = meter.result(notes, hosts=[host.name()], ended=ended)
    assert found["problems"] == []
    assert 1.0 <= found["seconds"] <= gone - began
    assert found["joules"] == ticking.joules(found["seconds"])
    gpus = meter.result(notes, hosts=[host.name()], ended=0, gpus=True)
    assert (gpus["joules"], gpus["problems"][0][-28:]) == (None, "GPUs that NVML does not know")
    late = meter.result(notes, hosts=[host.name()], ended=ended + 60)
    assert late["joules"] is None
    assert "too long before the end" in late["problems"][0]
    meter.began -= 60
    late = meter.result(notes, hosts=[host.name()], ended=ended)
    assert late["joules"] is None
    assert "too long after the start" in late["problems"][0]


def test_where_a_launcher_numbers_no_ranks_of_a_host_one_reads_all_the_same(tree, tmp_path):
    words = [sys.executable, "-I", "-S", RANK, "--notes", tmp_path, "--watched", "another", "--"]
    environment = {**os.environ, POWERCAP: str(tree.folder)}
    file = tmp_path / f"energy-{host.name()}.jsonl"
    words += ["sh", "-c", f"until [ -s {file} ]; do sleep 0.05; done; sleep 1"]
    both = [subprocess.Popen(words, env=environment) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    tiny.wait_until(lambda: not scaling_fake.living(file), seconds=20)
    lines = file.read_text().splitlines()
    assert sum("ranges" in json.loads(line) for line in lines) == 1


def test_a_rank_of_the_studys_own_host_starts_no_second_reading(tmp_path):
    words = [sys.executable, "-I", "-S", RANK, "--notes", tmp_path, "--watched", host.name(), "--"]
    subprocess.run([*words, "true"], check=True, timeout=30)
    assert list(tmp_path.glob("energy-*")) == []


def test_a_reader_whose_rank_was_killed_ends_too(tree, tmp_path):
    words = [sys.executable, "-I", "-S", RANK, "--notes", tmp_path, "--watched", "another"]
    words += ["--cores", "1", "--"]
    environment = {**os.environ, POWERCAP: str(tree.folder)}
    process = subprocess.Popen([*words, "sleep", "60"], env=environment)
    file = tmp_path / f"energy-{host.name()}.jsonl"
    tiny.wait_until(lambda: energy.read(file), seconds=20)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    words = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    (reader,) = (child for child, line in words.items() if b"energy.py" in line)
    assert os.sched_getaffinity(reader) == os.sched_getaffinity(0), "the rank's core is the rank's"
    process.send_signal(signal.SIGKILL)
    process.wait()
    tiny.wait_until(lambda: not scaling_fake.living(file), seconds=20)
    assert len(energy.read(file)) >= 2, "the last reading is there"


# --- Slurm ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "joules"),
    [
        ("51234", 51234.0),
        ("0", None),
        ("", None),
        ("4294967294", None),
        ("18446744073709551614", None),
        ("5.1K", None),
    ],
)
def test_slurms_figure_is_taken_where_it_has_one(tmp_path, monkeypatch, answer, joules):
    command = tmp_path / "sacct"
    command.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho "{answer}"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(energy, "SACCT_TIMES", 1)
    assert energy.slurm_joules({"77.3"}) == joules
    assert "-j 77.3 -o ConsumedEnergyRaw" in (tmp_path / "asked").read_text()
    found = Meter(tmp_path / "none", 0.0).result(tmp_path, hosts=["a"], ended=0, steps={"77.3"})
    assert (found["joules"], found["source"]) == (joules, ["slurm"] if joules else [])


def test_without_slurm_there_is_no_figure_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert energy.slurm_joules({"1.0"}) is None
    assert energy.slurm_joules(set()) is None


# --- The report -----------------------------------------------------------------------------------


@pytest.fixture
def measured(tmp_path):
    """A study with 100 J for each patch on one rank, 80 J on two."""
    folder = scaling_fake.write_study(tmp_path / "study", alone=True)
    rows = store.read_rows(folder)
    for row in rows:
        if row["kind"] == "ranks":
            joules = row["patches_trained"] * (100.0 if row["ranks"] == 1 else 80.0)
            found = {"joules": joules, "by": {"gpu": joules}, "hosts": 1, "samples": 50}
            found |= {"covered": ["here: gpu a"], "source": ["nvml"], "seconds": 50.0}
            found |= {"idle_watts": joules / 200, "problems": [], "refused": ["powercap"]}
            row["energy"] = found | {"power_to_counters": 1.3 if row["repeat"] == 1 else 1.0}
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return store.read(folder)


def test_the_table_tells_joules_per_patch_and_what_disagrees(measured):
    table = energy_table(measured, "weak", carbon_intensity=300.0)
    cells = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    assert [row["ranks"] for row in cells] == ["1", "2"]
    assert cells[0]["J per patch"].startswith("100")
    assert cells[1]["J per patch"].startswith("80")
    assert cells[0]["idle share"].startswith("0.25")
    joules = 41 * 4 * 100
    assert cells[0]["Wh to the target"].startswith(f"{joules / 3600:.3g}"[:4])
    assert cells[0]["g CO2 equivalent"].startswith(f"{joules / 3.6e6 * 300:.3g}"[:4])
    assert "In 2 runs mean power x time disagrees" in table.note
    assert "stated 300 g per kWh" in table.note
    assert "Counted: gpus. " in table.note
    assert "g CO2 equivalent" not in energy_table(measured, "weak").header
    assert conditions.energy(measured).endswith("; powercap is for root alone here")


def test_a_curve_is_of_one_kind_of_meter(measured):
    """Slurm's whole nodes on two ranks beside GPUs on one are no curve."""
    rows = [dict(row) for row in measured.rows]
    for row in rows:
        if row["kind"] == "ranks" and row["ranks"] == 2 and row["repeat"] > 1:
            row["energy"] = row["energy"] | {"joules": 1e9, "by": {}, "source": ["slurm"]}
    mixed = dataclasses.replace(measured, rows=rows)
    cells = energy_table(mixed, "weak").rows
    runs = len(measured.points("weak")[2])
    assert [row[1] for row in cells] == [f"{runs} of {runs}", f"1 of {runs}"]
    assert cells[1][3].startswith("80")
    assert "Counted: gpus." in energy_table(mixed, "weak").note
    left = f"Left out: {plural(runs - 1, 'run')} in which Slurm nodes were counted."
    assert left in energy_table(mixed, "weak").note


def test_energy_that_is_none_is_refused_in_a_row(measured):
    row = measured.rows[0]
    shapes.check_row(row)
    for wrong in ({}, {"joules": "many"}, {"joules": 1.0, "by": [1]}, 5.0):
        with pytest.raises(ValueError, match="'energy'"):
            shapes.check_row(row | {"energy": wrong})


def test_a_carbon_intensity_below_zero_is_refused(measured, tmp_path):
    config = ReportConfig((measured.folder,), tmp_path / "out", carbon_intensity=-1.0)
    with pytest.raises(ValueError, match="--carbon-intensity -1 must be 0 or more"):
        report(config)


# --- Several hosts --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.mpi
def test_a_point_on_two_hosts_has_the_energy_of_both(ticking, tmp_path):
    if reason := cluster.missing():
        pytest.skip(reason)
    with cluster.hosts(2) as bed:
        words = [sys.executable, "-m", "scaling", "run", "--out", tmp_path / "study"]
        words += ["--ranks", "2", "--hosts", ",".join(f"{name}:1" for name in bed.names)]
        words += ["--launcher", "mpirun", "--modes", "weak", "--repeats", "1", "--no-allreduce"]
        words += ["--alone", "", "--env", f"{POWERCAP}={ticking.folder}"]
        for name in ("oob_tcp_if_include", "btl_tcp_if_include"):
            words += ["--env", f"OMPI_MCA_{name}={cluster.INTERFACE}"]
        words += ["--", "python", scaling_fake.__file__, "--out", "{out}", "--batch", "{batch}"]
        words += ["--steps", "20", "--pause", "0.1"]
        done = bed.run(words, environment={POWERCAP: str(ticking.folder)})
        assert done.code == 0, done.out + done.err
        # What reads there is told by the end of its rank, and the study does not wait for it.
        tiny.wait_until(lambda: not any(bed.pids(name, "energy.py") for name in bed.names))
    (row,) = store.read(tmp_path / "study").rows
    found = row["energy"]
    assert (found["problems"], found["hosts"]) == ([], 2)
    assert found["covered"] == [f"node{host}: cpu package-{n}" for host in (0, 1) for n in (0, 1)]
    most = 200 * (found["seconds"] + ticking.late + 0.5)
    assert 100 * found["seconds"] < found["joules"] <= most, "more than of one host"
