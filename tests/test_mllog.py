"""`cloudmask mllog` on real trainings, read back with the parser of the MLCommons library."""

import json
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
import tiny
import yaml
from mlperf_logging.compliance_checker import mlp_parser
from mlperf_logging.mllog import constants
from tiny import Case

from cloudmask.cli import errors, flags, options

pytestmark = pytest.mark.slow

TINY = ("--widths", 4, 8, "--batch-size", 4, "--epochs", 3, "--threads", 1, "--no-tensorboard")
TARGET = (*TINY, "--target-accuracy", 0.3)
OF_THE_REFERENCE = {"number_of_ranks", "number_of_nodes", "accelerators_per_node"}
OF_SCIENCE = {"submission_version", "submission_github_commit_version", "result"}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("mllog")


@pytest.fixture(scope="module")
def clock():
    """When the process of the run `one` was started, and when it had ended."""
    return {}


@pytest.fixture(scope="module")
def runs(work, clock):
    """Run folders by name; `one`, `two` and `moved` differ in their seed and paths alone."""
    data = tiny.make_patchset(work / "set")
    clock["before"] = time.time()
    ended = tiny.train(*TARGET, "--data", data, "--out", work / "one", "--validate-every", 2)
    clock["after"] = time.time()
    assert ended.code == 0, ended.err
    shutil.copytree(data, work / "moved-set")

    def case(name, *words, data=data, **changes):
        out = ("--data", data, "--out", work / name)
        return Case(name, (*words, *out), folder=work / name, **changes)

    odd = (*TARGET, "--validate-every", 2)
    cases = [
        case("two", *odd, "--seed", 1),
        case("moved", *odd, "--seed", 2, data=work / "moved-set"),
        case("faster", *odd, "--lr", 0.01, "--batch-size", 2),
        case("staged", *odd, "--seed", 3, "--stage", work / "near"),
        case("missed", *TINY, "--target-accuracy", 1.0),
        case("short", *TINY, "--max-steps", 6, "--checkpoint-steps", 2),
        case("single", *TINY, "--global-batch", 30),
        case("failed", *TINY, "--lr", 1e30, "--lr-decay", "none"),
        case(
            "resumed",
            *(*TINY, "--max-steps", 6, "--resume"),
            copy_of=work / "short",
            without=["summary.json", "model.keras"],
        ),
        case("three", *TINY, data=tiny.make_patchset(work / "three-set", classes=3)),
    ]
    results = tiny.run_cases(cases, work / "cases", ranks=1)
    codes = {name: result.codes for name, result in results.items()}
    assert codes == {name: [int(name == "failed")] for name in codes}, results
    return {name: work / name for name in ("one", *codes)}


def mllog(*words, out, org="ACME", system="laptop"):
    """Exit code of the command line, run in this process."""
    words = ["mllog", *words, "--out", out, "--org", org, "--system", system]
    return errors.run(tiny.cli.main, [str(word) for word in words], program="cloudmask")


def parsed(path):
    """The lines of a log as the library reads them: raw records in order."""
    lines, errors = mlp_parser.parse_file(str(path), ruleset="6.1.0")
    assert not errors
    assert len(lines) == len(path.read_text().splitlines()), "each line is a record"
    return [json.loads(line.full_string.removeprefix(":::MLLOG ")) for line in lines]


def values(records):
    return {record["key"]: record["value"] for record in records}


@pytest.fixture(scope="module")
def folder(runs, work):
    out = work / "results"
    declared = ("--runs-made", 5, "--staging-seconds", 12.5, "--caches-flushed")
    given = [runs[name] for name in ("one", "two", "moved")]
    assert mllog(*given, *declared, out=out) == 0
    return out / "ACME" / "cloudmask" / "laptop" / "experiment-1"


@pytest.fixture(scope="module")
def records(folder):
    return parsed(folder / "result-0.txt")


@pytest.fixture(scope="module")
def summary(runs):
    return json.loads((runs["one"] / "summary.json").read_text())


def test_every_run_has_its_log_in_the_order_given(folder):
    names = ["README.md", "config.yaml", "result-0.txt", "result-1.txt", "result-2.txt"]
    assert sorted(path.name for path in folder.iterdir()) == [*names, "training.yaml"]
    found = [values(parsed(folder / f"result-{n}.txt")) for n in range(3)]
    assert [record["seed"] for record in found] == [0, 1, 2]
    accuracies = {record["result"]["accuracy"] for record in found}
    assert len(accuracies) == 3, "three trainings, three results"


def test_the_log_holds_what_the_rules_ask_for(records, summary):
    found = values(records)
    assert found["submission_benchmark"] == "cloudmask"
    assert (found["submission_org"], found["submission_platform"]) == ("ACME", "laptop")
    assert (found["submission_division"], found["submission_status"]) == ("open", "research")
    assert found["submission_github_commit_version"] == summary["commit"]
    assert found["submission_version"] == summary["versions"]["cloudmask"]
    facts = ("number_of_ranks", "number_of_nodes", "accelerators_per_node", "global_batch_size")
    assert [found[name] for name in facts] == [1, 1, 0, 4]
    assert (found["train_samples"], found["eval_samples"]) == (30, 10)
    assert found["trained_samples"] == 90


def test_keys_are_those_of_the_library_or_of_the_benchmark(records):
    known = {value for value in vars(constants).values() if isinstance(value, str)}
    assert {record["key"] for record in records} <= known | OF_THE_REFERENCE | OF_SCIENCE


def test_what_happened_is_logged_with_its_time(records, runs, clock, summary):
    times = [record["time_ms"] / 1000 for record in records]
    assert times == sorted(times)
    at = {record["key"]: record["time_ms"] / 1000 for record in records}
    date = json.loads((runs["one"] / "environment.json").read_text())["date"]
    begun = datetime.fromisoformat(date).timestamp()
    assert clock["before"] <= at["run_start"] <= begun <= at["init_stop"]
    assert at["run_stop"] <= clock["after"]
    total = summary["seconds"]["total"]
    assert at["run_stop"] - at["run_start"] == pytest.approx(total, abs=0.002)
    assert at["init_stop"] - at["run_start"] == pytest.approx(
        summary["seconds"]["startup"], abs=0.002
    )


def test_every_epoch_is_an_interval_and_those_validated_have_their_accuracy(records, runs, summary):
    epochs = tiny.events(runs["one"], "epoch")
    ends = [record for record in records if record["key"] == "epoch_stop"]
    kinds = [r["event_type"] for r in records if r["key"] in ("epoch_start", "epoch_stop")]
    assert kinds == ["INTERVAL_START", "INTERVAL_END"] * 3
    recorded = [round(1000 * datetime.fromisoformat(e["time"]).timestamp()) for e in epochs]
    assert [record["time_ms"] for record in ends] == recorded
    assert [r["metadata"]["train_loss"] for r in ends] == [e["loss"] for e in epochs]
    starts, missing = [record for record in records if record["key"] == "epoch_start"], []
    for start, end, epoch in zip(starts, ends, summary["history"], strict=True):
        seconds = (end["time_ms"] - start["time_ms"]) / 1000
        missing.append(epoch["train_seconds"] - seconds)
    # Training, validation and saving. Between a clock and its stamp others may have the core.
    assert min(missing) <= 0.01
    assert max(missing) <= 0.25
    judged = [record for record in records if record["key"] == "eval_accuracy"]
    assert [record["metadata"]["epoch_num"] for record in judged] == [2, 3]
    expected = [summary["history"][n]["valid"]["accuracy"] for n in (1, 2)]
    assert [record["value"] for record in judged] == expected


def test_the_result_names_its_metric_and_all_that_qualifies_it(records, summary):
    found = values(records)["result"]
    best = min((e["valid"] for e in summary["history"] if e["valid"]), key=lambda v: v["loss"])
    assert found[found["name"]] == best["accuracy"]
    assert found["name"] == "accuracy"
    assert found["majority_accuracy"] == best["majority"]
    assert (found["runs_reported"], found["runs_made_declared"]) == (3, 5)
    total = summary["seconds"]["total"]
    assert (found["run_seconds"], found["run_and_staging_seconds"]) == (total, total + 12.5)
    assert found["target"] == {"reached": True, **summary["target"]}
    assert records[-1]["key"] == "run_stop"
    assert records[-1]["metadata"]["status"] == "success"


def test_staging_by_the_run_itself_is_told_and_counted_once(runs, tmp_path):
    assert mllog(runs["staged"], out=tmp_path) == 0
    folder = tmp_path / "ACME" / "cloudmask" / "laptop" / "experiment-1"
    found = values(parsed(folder / "result-0.txt"))["result"]
    seconds = json.loads((runs["staged"] / "summary.json").read_text())["seconds"]
    assert found["staging_seconds"] == seconds["staging"] < seconds["startup"]
    assert found["run_and_staging_seconds"] == found["run_seconds"] == seconds["total"]
    assert "s by the runs, which is in their times." in (folder / "README.md").read_text()
    assert "\nstage:" not in (folder / "training.yaml").read_text()


def test_runs_that_stage_and_runs_that_do_not_form_no_set(runs, tmp_path, capsys):
    assert mllog(runs["two"], runs["staged"], out=tmp_path) == 1
    assert "two and staged differ in staged" in capsys.readouterr().err


def test_what_is_not_declared_is_not_in_the_log(runs, tmp_path, capsys):
    assert mllog(runs["short"], "--descriptor", "bare", out=tmp_path) == 0
    told = capsys.readouterr()
    assert "the policy asks for 10 runs of CloudMask, here are 1" in told.err
    bare = tmp_path / "ACME" / "cloudmask" / "laptop" / "bare"
    found = values(parsed(bare / "result-0.txt"))
    assert "cache_clear" not in found
    missing = {"staging_seconds_declared", "run_and_staging_seconds", "runs_made_declared"}
    assert not (missing | {"target"}) & found["result"].keys()
    text = (bare / "README.md").read_text()
    for line in ("Staging the data: not declared", "in all has not been declared", "none set"):
        assert line in text


def test_a_run_that_missed_its_target_is_no_success(runs, tmp_path):
    assert mllog(runs["missed"], out=tmp_path) == 0
    records = parsed(next(tmp_path.rglob("result-0.txt")))
    assert values(records)["result"]["target"] == {"accuracy": 1.0, "reached": False}
    assert records[-1]["metadata"]["status"] == "aborted"


def test_a_run_of_one_step_an_epoch_makes_a_result(runs, tmp_path):
    """The end of its first epoch is of step 1 too."""
    assert mllog(runs["single"], out=tmp_path) == 0
    keys = [record["key"] for record in parsed(next(tmp_path.rglob("result-0.txt")))]
    assert [key for key in keys if key.startswith("epoch_")] == ["epoch_start", "epoch_stop"] * 3
    assert values(parsed(next(tmp_path.rglob("result-0.txt"))))["trained_samples"] == 90


def test_only_the_attempt_that_finished_counts(runs, tmp_path):
    again = shutil.copytree(runs["short"], tmp_path / "again")
    log = again / "events.jsonl"
    whole = log.read_text()
    first = json.loads(whole.splitlines()[0]) | {"time": "2001-01-01T00:00:00.000+00:00"}
    log.write_text(json.dumps(first) + "\n" + whole)
    assert mllog(again, out=tmp_path / "a") == mllog(runs["short"], out=tmp_path / "b") == 0
    found = [parsed(next((tmp_path / name).rglob("result-0.txt"))) for name in "ab"]
    assert [r["time_ms"] for r in found[0]] == [r["time_ms"] for r in found[1]]


def test_the_configuration_repeats_the_training(folder, runs):
    words = ["--config", folder / "training.yaml", "--data", "set", "--out", "run", "--seed", 0]
    again = flags.parse(options.TrainConfig, [str(w) for w in words], prog="train")
    words = ["--config", runs["one"] / "config.yaml", "--data", "set", "--out", "run"]
    assert again == flags.parse(options.TrainConfig, [str(w) for w in words], prog="train")
    page = yaml.safe_load((folder / "config.yaml").read_text())
    assert page["training"] == yaml.safe_load((folder / "training.yaml").read_text())
    assert page["seeds"] == [0, 1, 2]
    assert "url" not in page["code"], "nobody has told where it is"


def test_the_readme_lists_every_run_and_how_it_was_chosen(folder, summary):
    text = (folder / "README.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| result-")]
    assert [row.split(" | ")[1] for row in rows] == ["one", "two", "moved"]
    assert f"{summary['best']['accuracy']:.4f}" in rows[0]
    assert "3 runs reported" in text
    assert "Chosen out of 5 that were made" in text
    assert "12.5 s before each run (declared)" in text


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["one", "faster"], "one and faster differ in batch_size, global_batch, lr;"),
        (["one", "two", "one"], "one and one are the same run"),
        (["one", "failed"], "failed did not finish: the "),
        (["resumed"], "resumed was resumed"),
        (["three"], "three tells 3 classes apart"),
    ],
)
def test_runs_that_make_no_result_set_are_refused(runs, tmp_path, capsys, names, complaint):
    assert mllog(*(runs[name] for name in names), out=tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert complaint in told
    assert ("not finite" in told) == ("failed" in names), "found in the loss or in the weights"
    assert not (tmp_path / "out").exists()


def test_a_run_that_still_trains_is_refused_by_name(runs, tmp_path, capsys):
    open_run = shutil.copytree(runs["one"], tmp_path / "still-training")
    (open_run / "summary.json").unlink()
    assert mllog(runs["two"], open_run, out=tmp_path / "out") == 1
    assert f"{open_run} holds no finished run" in capsys.readouterr().err


def test_a_run_whose_ranks_changed_is_refused(runs, tmp_path, capsys):
    changed = shutil.copytree(runs["one"], tmp_path / "changed")
    summary = json.loads((changed / "summary.json").read_text())
    summary["elastic"] = {"commits": 3, "resets": [{"lost": ["node1"]}]}
    (changed / "summary.json").write_text(json.dumps(summary))
    assert mllog(changed, out=tmp_path / "out") == 1
    assert f"{changed} lost ranks or gained some while it ran" in capsys.readouterr().err


def test_a_run_whose_events_are_not_whole_is_refused(runs, tmp_path, capsys):
    cut = shutil.copytree(runs["one"], tmp_path / "cut")
    lines = (cut / "events.jsonl").read_text().splitlines(keepends=True)
    (cut / "events.jsonl").write_text("".join(lines[:4] + lines[5:]))
    assert mllog(cut, out=tmp_path / "out") == 1
    assert f"{cut}/events.jsonl does not tell of the 24 steps" in capsys.readouterr().err


def test_a_set_that_is_there_is_replaced_only_when_told(runs, tmp_path, capsys):
    assert mllog(runs["one"], runs["two"], out=tmp_path) == 0
    folder = tmp_path / "ACME" / "cloudmask" / "laptop" / "experiment-1"
    (folder / "sientific_contribution.pdf").write_bytes(b"%PDF")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert mllog(runs["missed"], out=tmp_path) == 1
    assert f"{folder} is not empty" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert mllog(runs["missed"], "--overwrite", out=tmp_path) == 0
    kept = {path.name for path in folder.iterdir()}
    assert kept == before.keys() - {"result-1.txt"}, "the author's own files stay"
    assert values(parsed(folder / "result-0.txt"))["result"]["target"]["accuracy"] == 1.0


@pytest.mark.parametrize("name", ["a/b", "..", "", ".hidden", "a\\b", "a b", "a\n", "-x"])
@pytest.mark.parametrize("flag", ["org", "system", "descriptor"])
def test_names_that_are_no_folder_names_are_refused(tmp_path, capsys, flag, name):
    names = {"org": "ACME", "system": "laptop", "descriptor": "first"} | {flag: name}
    words = [f"--{key}={value}" for key, value in names.items()]
    words = ["mllog", str(tmp_path / "run"), "--out", str(tmp_path / "out"), *words]
    assert errors.run(tiny.cli.main, words, program="cloudmask") == 2
    assert f"--{flag} '" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_set_of_no_runs_is_refused(tmp_path, capsys):
    assert mllog(out=tmp_path) == 2
    assert "no run folder is given" in capsys.readouterr().err


def test_declarations_that_cannot_be_are_refused(tmp_path, capsys):
    assert mllog("a", "b", "--runs-made", 1, out=tmp_path) == 2
    assert "--runs-made 1 is less than the 2 runs given" in capsys.readouterr().err
    assert mllog("a", "--staging-seconds", "nan", out=tmp_path) == 2
    assert "--staging-seconds nan must be 0 or more" in capsys.readouterr().err


def test_a_missing_library_is_one_clear_line(runs, tmp_path):
    code = (
        "import sys; sys.modules['mlperf_logging'] = None; "
        "from cloudmask.__main__ import console; sys.exit(console())"
    )
    words = ["mllog", runs["one"], "--out", tmp_path / "out", "--org", "A", "--system", "B"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=Path(tiny.ROOT),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    advice = "mlperf_logging is not installed: pip install '.[mllog]' in the checkout of cloudmask"
    assert line == f"cloudmask: error: {advice}"
    assert not (tmp_path / "out").exists()


def test_a_study_becomes_a_set_for_each_rank_count(runs, work, capsys):
    """Points as a study leaves them: two whole ones, one without its events, one that failed."""
    study = work / "study"
    rows = []
    for number, (name, status) in enumerate(
        [("one", "ok"), ("two", "ok"), ("moved", "ok"), ("failed", "failed")], start=1
    ):
        point = f"weak-ranks-n0001-r{number:02d}"
        shutil.copytree(runs[name], study / "points" / point / "run")
        row = {"point": point, "folder": point, "mode": "weak", "kind": "ranks", "ranks": 1}
        rows.append(row | {"status": status})
    (study / "points" / "weak-ranks-n0001-r03" / "run" / "events.jsonl").unlink()
    # The second point was measured twice; the first attempt is the run of another seed.
    shutil.copytree(runs["one"], study / "points" / "weak-ranks-n0001-r02-a1" / "run")
    rows.insert(1, rows[1] | {"folder": "weak-ranks-n0001-r02-a1"})
    rows.append(rows[0] | {"kind": "alone", "point": "weak-alone-n0001-r01"})
    (study / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (study / "study.json").write_text("{}")
    assert mllog(study, out=work / "of-study") == 0
    told = capsys.readouterr().err
    assert "left out: " in told
    assert "weak-ranks-n0001-r03" in told
    folder = work / "of-study" / "ACME" / "cloudmask" / "laptop" / "experiment-1-weak-n0001"
    logs = [parsed(path) for path in sorted(folder.glob("result-*.txt"))]
    assert [values(log)["seed"] for log in logs] == [0, 1]
    assert "| result-1.txt | weak-ranks-n0001-r02 |" in (folder / "README.md").read_text()
    assert mllog(study, runs["one"], out=work / "of-both") == 2
    assert "is a scaling study; give it alone" in capsys.readouterr().err


def test_a_study_without_a_whole_run_is_refused(runs, work, capsys):
    study = work / "empty-study"
    study.mkdir()
    (study / "study.json").write_text("{}")
    (study / "results.jsonl").write_text('{"point": "p"}\n')
    assert mllog(study, out=work / "of-nothing") == 1
    assert "no run of the study" in capsys.readouterr().err
    (study / "results.jsonl").write_text("[]\n")
    assert mllog(study, out=work / "of-nothing") == 1
    assert "is not of a scaling study" in capsys.readouterr().err
