"""Training on several ranks: real processes under mpirun and horovodrun, a few seconds each.

Most cases run one after the other in one pair of ranks (many_runs.py); runs that are killed, and
those of other launchers and numbers of ranks, have processes of their own.
"""

import json
import re
import shutil

import numpy as np
import pytest
import tiny
from many_runs import tree
from tiny import Case

from cloudmask import metrics
from cloudmask.cli.flags import parse
from cloudmask.cli.options import TrainConfig
from cloudmask.data.patchset.encoding import decode
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.model import keras_file
from cloudmask.train import checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.mpi]

TINY = ("--preset", "tiny", "--threads", 1, "--no-tensorboard")
# 20 steps of 12 patches of 30, so that every third global batch is half empty.
SAME = (*TINY, "--precision", "float32", "--shuffle", "global", "--global-batch", 12)
SAME += ("--epochs", 20, "--max-steps", 20)
HIDING = ("--missing-channel", "--augment-missing", 0.5)
HIDING += ("--augment-missing-channels", "reflectance")
NEAR = ("--cache", "device", "--noise-scale", "--rank-times")
KILLED = (*TINY, "--batch-size", 1, "--dropout", 0.1, 0.1, "--checkpoint-steps", 2)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def patchset(work):
    """30 patches for training and 10 for validation."""
    return tiny.make_patchset(work / "set")


@pytest.fixture(scope="module")
def killed(work):
    """A run of 24 steps an epoch, all of whose processes were killed in its second epoch."""
    run = work / "killed"
    words = ("--data", tiny.make_patchset(work / "killed-set", patches=16), "--out", run, *KILLED)
    process, _ = tiny.start_held(30, work / "held", *words, ranks=2)
    tiny.kill_everything(process)
    process.communicate()
    assert not (run / "summary.json").exists()
    return run


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def bad(work, patchset, killed):
    """Places where no run can begin or go on: name -> (words, what the error must say)."""

    def copy(name):
        return shutil.copytree(patchset, work / f"{name}-set")

    missing, changed, version = (copy(name) for name in ("missing", "changed", "version"))
    victim = open_patchset(patchset).splits["train"].files[-1].path
    (missing / victim).unlink()
    flip_a_byte(changed / victim)
    manifest = json.loads((version / "manifest.json").read_text())
    manifest["format_version"] += 9
    (version / "manifest.json").write_text(json.dumps(manifest))
    (copy("unfinished") / "manifest.json").unlink()
    few = tiny.make_patchset(work / "few-set", scenes=2, patches=1)

    (work / "file").touch()
    (work / "something").mkdir()
    (work / "something" / "precious.txt").touch()

    def data(folder, *words):
        return ("--data", folder, "--out", work / "never", *TINY, *words)

    def out(folder, *words):
        return ("--data", patchset, "--out", folder, *TINY, *words)

    def resume(name, *words, data=work / "killed-set"):
        folder = shutil.copytree(killed, work / name)
        return ("--data", data, "--out", folder, *KILLED, *words)

    return {
        "more-ranks-than-patches": (data(few), "1 patches cannot feed 2 ranks; use at most 1"),
        "batch-too-large": (
            data(patchset, "--batch-size", 16),
            "a batch of 16 per rank is larger than a rank's 15 of 30 training patches",
        ),
        "global-batch-too-small": (data(patchset, "--global-batch", 1), "cannot feed 2 ranks"),
        "missing-file": (data(missing), f"{victim} is missing"),
        "changed-file-staged": (
            data(changed, "--stage", work / "never-local"),
            f"{victim} has changed: its sha256 differs",
        ),
        "changed-file": (data(changed), f"{victim} has changed: its sha256 differs"),
        "other-version": (data(version), "has format version"),
        "no-manifest": (data(work / "unfinished-set"), "holds no manifest.json"),
        "no-folder": (data(work / "nowhere"), "nowhere is not a folder"),
        "odd-size": (data(patchset, "--widths", *[1] * 7), "32 pixels do not halve 6 times"),
        "one-level": (data(patchset, "--widths", 4), "two levels or more"),
        "flat-channel": (
            data(patchset, "--fixed-mean", 0, 0, 0, "--fixed-std", 1, 0, 1),
            "std above zero",
        ),
        "unknown-option": (data(patchset, "--epohcs", 3), "--epohcs"),
        "out-is-a-file": (out(work / "file"), "file is a file; choose another --out"),
        "file-in-the-way": (out(work / "file" / "run"), "a part of that path is a file"),
        "out-is-something-else": (out(work / "something"), "exists and holds no run (precious.txt"),
        "unfinished-run": (resume("unfinished-run"), "holds an unfinished run; add --resume"),
        "other-model": (
            resume("other-model", "--resume", "--widths", 4, 4),
            "is of another model or patch set: widths was [4, 8], is [4, 4]",
        ),
        "other-set": (
            resume("other-set", "--resume", data=patchset),
            "is of another model or patch set: mean was",
        ),
        "nan": (
            data(patchset, "--out", work / "nan", "--lr", 1e38, "--checkpoint-steps", 1),
            "not finite at step",
        ),
        "finished-run": (
            ("--data", patchset, "--out", work / "same", *SAME),
            "holds a finished run; choose another --out",
        ),
        "disk-full": (
            resume("disk-full", "--resume"),
            "the file would be larger than is allowed",
        ),
    }


@pytest.fixture(scope="module")
def results(work, patchset, killed, bad):
    """All cases of two ranks."""

    def case(name, *words, data=work / "killed-set", **changes):
        out = work / name
        return Case(name, ["--data", data, "--out", out, *words], folder=out, **changes)

    damaged = shutil.copytree(killed, work / "damaged")
    newest = checkpoint.steps(damaged / "checkpoints")[-1]
    flip_a_byte(damaged / "checkpoints" / f"step-{newest:08d}.h5")
    cases = [
        case("same", *SAME, data=patchset),
        case("near", *SAME, *NEAR, "--stage", work / "local", data=patchset),
        case("compiled", *SAME, "--xla", data=patchset),
        case("tuned", *SAME, "--init", work / "same", data=patchset),
        case("hiding", *SAME, *HIDING, data=patchset),
        case("unbroken", *KILLED),
        case("resumed", *KILLED, "--resume", copy_of=killed),
        case("damaged", *KILLED, "--resume"),
        case("again", *KILLED, "--resume", copy_of=work / "resumed"),
    ]
    for name, (words, _) in bad.items():
        folder = work / name if (work / name).is_dir() else None
        limit = 30_000 if name == "disk-full" else None
        cases.append(Case(name, words, folder=folder, largest_file=limit))
    cases.append(case("room-again", *KILLED, "--resume", copy_of=work / "disk-full"))
    cases.append(evaluation("two", work, patchset))
    return tiny.run_cases(cases, work / "cases", ranks=2)


def evaluation(name, work, patchset):
    """Evaluate the run `same`; three patches a batch do not divide ten."""
    words = ["evaluate", work / "same", patchset, "--batch-size", 3]
    return Case(name, [*words, "--out", work / f"{name}.json"], program="cloudmask")


def summary_of(run):
    return json.loads((run / "summary.json").read_text())


def losses(run):
    """The loss of each step."""
    return [record["loss"] for record in tiny.events(run, "step")]


# --- One run of two ranks -------------------------------------------------------------------------


def test_weights_are_identical_on_all_ranks(results):
    for name in ("same", "near", "compiled", "tuned", "hiding", "unbroken", "resumed", "damaged"):
        assert results[name].codes == [0, 0]
        assert len(set(results[name].weights)) == 1
        assert len(set(results[name].optimizer)) == 1


def test_the_run_folder_is_complete(results, work, patchset):
    names = {path.split("/")[0] for path in results["same"].tree}
    assert names == {
        *("config.yaml", "environment.json", "events.jsonl", "summary.json"),
        *("model.keras", "model.json", "ranks", "checkpoints"),
    }
    folder = work / "same"
    assert [path.name for path in (folder / "ranks").iterdir()] == ["rank-0000.jsonl"]
    for rank in (0, 1):
        lines = (work / "near" / "ranks" / f"rank-{rank:04d}.jsonl").read_text().splitlines()
        assert len(lines) == 7
        assert sum(len(json.loads(line)["step_seconds"]) for line in lines) == 20
    found = summary_of(folder)
    assert [len(values) for values in found["per_rank"].values()] == [2] * 4
    assert found["per_step"]["step_seconds"]["slowest_rank"] == pytest.approx(
        max(found["per_rank"]["step_seconds"]), abs=1e-6
    )
    assert found["last_rank_exposed_seconds"] > 0
    assert found["first_epoch_patches"] == found["training_patches"]
    for step in checkpoint.steps(folder / "checkpoints"):
        checkpoint.load(folder / "checkpoints", step)
    config = parse(TrainConfig, ["--config", str(folder / "config.yaml")], prog="train_hvd.py")
    assert (config.data, config.max_steps, config.widths) == (patchset, 20, (4, 8))
    assert len(tiny.events(folder, "step")) == 20
    assert len(tiny.events(folder, "epoch")) == 7
    assert len(tiny.events(folder, "end")) == 1
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["settings"]["HOROVOD_CYCLE_TIME"] == "10"
    assert environment["settings"]["OMPI_MCA_mpi_yield_when_idle"] == "1"


def test_the_summary_says_what_was_done_how_fast_and_how_well(results, work, patchset):
    found = summary_of(work / "same")
    expected = {
        "status": "finished",
        "stopped_by": "max_steps",
        "ranks": 2,
        "num_hosts": 1,
        "device": "CPU",
        "controller": "mpi",
        "threads_per_rank": 1,
        "global_batch": 12,
        "batch_per_rank": 6,
        "precision": "float32",
        "epochs_run": 7,
        "steps_run": 20,
        "patches_trained": 6 * 30 + 24,
        "training_patches": 30,
        "validation_patches": 10,
        "seed": 0,
        "learning_rate": 1e-3,
        "patchset": open_patchset(patchset).fingerprint,
        "target": None,
    }
    assert {key: found[key] for key in expected} == expected
    seconds = found["seconds"]
    parts = ("startup", "validation", "checkpoints", "first_epoch", "steady_epoch")
    assert all(0 < seconds[part] < seconds["total"] for part in parts)
    assert seconds["before_resume"] == 0
    assert {place["rank"] for place in found["placement"]} == {0, 1}
    assert all(len(place["cores"]) >= 1 for place in found["placement"])
    rate = found["patches_per_second"]
    assert 0 < rate["p05"] <= rate["median"] <= rate["p95"]
    for name in timing_columns():
        times = found["per_step"][name]
        assert 0 <= times["mean_rank"] <= times["slowest_rank"]
    whole = found["per_step"]["step_seconds"]["mean_rank"]
    parts = [found["per_step"][name]["mean_rank"] for name in timing_columns()[1:]]
    assert 0.5 * whole < sum(parts) <= 1.05 * whole, "waiting, computing, communicating"
    assert found["gradient_bytes"] == 4 * found["parameters"] > 0
    assert len(found["gradient_messages"]) == 4
    assert sum(found["gradient_messages"]) == found["gradient_bytes"]
    assert found["best"]["loss"] == min(r["valid"]["loss"] for r in found["history"])
    assert found["final"] == found["history"][-1]
    assert 0.5 < found["final"]["valid"]["majority"] < 0.6
    assert {"versions", "settings", "commit", "date", "config", "hosts"} <= set(found)


def timing_columns():
    names = ("step", "data_wait", "compute", "exposed_communication")
    return [f"{name}_seconds" for name in names]


def test_staged_patches_in_the_devices_memory_train_the_same_bits(results, work, patchset):
    assert results["near"].weights == results["same"].weights
    assert losses(work / "near") == losses(work / "same")
    found = summary_of(work / "near")
    assert found["best"]["loss"] == summary_of(work / "same")["best"]["loss"]
    staging = found["staging"]
    assert staging["folder"] == str(work / "local" / open_patchset(patchset).fingerprint)
    assert (staging["files"], staging["copied_bytes"]) == (4, staging["bytes"])
    assert staging["seconds"] == found["seconds"]["staging"] < found["seconds"]["startup"]
    assert "staging" not in summary_of(work / "same")["seconds"]
    assert summary_of(work / "same")["staging"] is None


def test_a_run_that_measures_its_noise_keeps_its_bits(results, work):
    """That its weights are those of the run without is in the test before."""
    found = summary_of(work / "near")["noise_scale"]
    assert (found["ranks"], found["batch_per_rank"], found["biased"]) == (2, 6, False)
    assert found["steps"] == 14, "of every third of 20 steps, rank 0 has all patches"
    assert found["s"] > 0
    assert [epoch for epoch, *_ in found["curve"]] == [7], "two steps an epoch are too few"
    told = [record["noise_scale"] for record in tiny.events(work / "near", "epoch")]
    assert [epoch["steps"] for epoch in told] == [2] * 7
    assert sum(2 * epoch["s"] for epoch in told) == pytest.approx(14 * found["s"])
    assert summary_of(work / "same")["noise_scale"] is None
    assert not any("noise_scale" in record for record in tiny.events(work / "same", "epoch"))


def test_compiled_steps_train_the_same_within_rounding(results, work):
    assert losses(work / "compiled") == pytest.approx(losses(work / "same"), rel=1e-4)


def test_two_ranks_start_from_the_weights_of_a_trained_model(results, work):
    assert losses(work / "tuned")[0] < 0.9 * losses(work / "same")[0]
    assert summary_of(work / "tuned")["init"]["path"] == str(work / "same" / "model.keras")
    assert results["tuned"].out[0].count("starting from the weights of") == 1
    assert "starting from" not in results["tuned"].out[1]


def test_validation_counts_every_pixel_of_all_ranks_once(results, work, patchset):
    best = summary_of(work / "same")["best"]
    model, info = keras_file.load(work / "same")
    with PatchReader(open_patchset(patchset), "valid") as reader:
        batch = reader.read(range(len(reader)))
    logits = model(decode(batch.image, batch.scale, batch.offset)).numpy()[..., 0]
    counts = metrics.confusion(batch.label, (logits >= 0).astype(int), num_classes=2)
    assert best["confusion"] == counts.tolist()
    assert best["accuracy"] == metrics.derive(counts, info.classes).accuracy
    known = batch.label != 255
    z, truth = logits[known].astype(np.float64), batch.label[known]
    loss = np.mean(np.logaddexp(0, z) - truth * z)
    assert best["loss"] == pytest.approx(loss, rel=1e-5)


def test_people_read_one_line_per_epoch_from_rank_0_alone(results):
    first, second = results["same"].out
    assert second == ""
    assert len(re.findall(r"^epoch \d+/20 \| loss .* \| 2 ranks$", first, re.MULTILINE)) == 7
    assert results["same"].error_lines == []


# --- The same training at any number of ranks, under any launcher ---------------------------------


@pytest.fixture(scope="module")
def alone(work, patchset, results, killed):
    """The losses of one rank, without any launcher."""
    fewer = ["--data", work / "killed-set", "--out", work / "fewer", *KILLED, "--resume"]
    cases = [
        Case("alone", ["--data", patchset, "--out", work / "alone", *SAME]),
        Case("hiding", ["--data", patchset, "--out", work / "hiding-alone", *SAME, *HIDING]),
        evaluation("one", work, patchset),
        Case("fewer", fewer, folder=work / "fewer", copy_of=killed),
    ]
    found = tiny.run_cases(cases, work / "alone-cases", ranks=1)
    assert [found[case.name].codes for case in cases] == [[0]] * 4
    assert "resuming with a change: num_ranks was 2, is 1" in found["fewer"].err[0]
    return losses(work / "alone")


def test_two_ranks_train_as_one(work, alone):
    assert len(alone) == 20
    assert alone[-1] < 0.8 * alone[0]
    assert losses(work / "same") == pytest.approx(alone, rel=1e-4)


def test_two_ranks_hide_the_same_patches_as_one(work, alone):
    one = losses(work / "hiding-alone")
    assert losses(work / "hiding") == pytest.approx(one, rel=1e-4)
    assert one != pytest.approx(alone, rel=1e-2)


def test_two_ranks_measure_the_same_as_one(results, work, alone):
    assert results["two"].codes == [0, 0]
    assert results["two"].out[0].count("kappa") == 1
    assert results["two"].out[1] == ""
    one, two = (json.loads((work / f"{name}.json").read_text()) for name in ("one", "two"))
    assert (one.pop("ranks"), two.pop("ranks")) == (1, 2)
    assert one | {"date": None} == two | {"date": None}


@pytest.mark.parametrize(
    ("by", "ranks"),
    [("mpirun", 3), ("mpirun", 4), ("horovodrun --gloo", 2), ("horovodrun --mpi", 2)],
)
def test_every_launcher_and_number_of_ranks_trains_as_one(work, patchset, alone, by, ranks):
    run = work / f"{by}-{ranks}".replace(" ", "")
    ended = tiny.train("--data", patchset, "--out", run, *SAME, ranks=ranks, by=by)
    assert ended.code == 0, ended.out + ended.err
    found = summary_of(run)
    assert (found["ranks"], found["status"]) == (ranks, "finished")
    assert found["controller"] == ("gloo" if "gloo" in by else "mpi")
    assert losses(run) == pytest.approx(alone, rel=1e-4)
    assert found["final"]["loss"] == pytest.approx(
        summary_of(work / "alone")["final"]["loss"], 1e-4
    )


# --- Killed and resumed ---------------------------------------------------------------------------


def resumed_at(result):
    """(epoch, step) from which a run went on."""
    found = re.search(r"resumed from .*: epoch (\d+), step (\d+)", result.out[0])
    return int(found[1]), int(found[2])


def test_killed_ranks_end_with_the_bits_of_an_unbroken_run(results):
    unbroken, resumed = results["unbroken"], results["resumed"]
    epoch, step = resumed_at(resumed)
    assert epoch == 1
    assert 24 < step < 48, "it went on in the middle of the second epoch"
    assert resumed.weights == unbroken.weights
    assert resumed.optimizer == unbroken.optimizer


def test_killed_ranks_go_on_as_one_in_mid_epoch_with_the_patches_left(work, alone):
    found = summary_of(work / "fewer")
    assert found["patches_trained"] == 2 * 48
    steps_of_two = 2 * 48 - found["steps_run"]  # of two patches each; those of one rank have one
    assert 24 < steps_of_two < 48, "it went on in the middle of the second epoch"
    assert [record["epoch"] for record in found["history"]] == [1, 2]


def test_a_damaged_checkpoint_is_passed_over_with_the_reason_and_kept(results, work, killed):
    result = results["damaged"]
    *_, earlier, newest = checkpoint.steps(killed / "checkpoints")
    assert f"warning: passed over step-{newest:08d}" in result.err[0]
    assert "checksum differs" in result.err[0] or "never finished" in result.err[0]
    assert resumed_at(result)[1] <= earlier
    kept = work / "damaged" / "checkpoints" / checkpoint.APART / f"step-{newest:08d}.h5"
    assert kept.stat().st_size == (killed / "checkpoints" / kept.name).stat().st_size
    assert result.weights == results["unbroken"].weights


def test_a_finished_run_is_left_as_it_is(results):
    assert results["again"].codes == [0, 0]
    assert results["again"].tree == results["resumed"].tree
    assert results["again"].out[0].count("nothing to do") == 1


def test_a_killed_rank_ends_the_whole_run(work, patchset):
    run = work / "lost"
    words = ("--data", patchset, "--out", run, *TINY, "--epochs", 10_000)
    process = tiny.start(tiny.ROOT / "train_hvd.py", *words, ranks=2)
    tiny.wait_for_step(run, 20, process)
    tiny.kill_one_rank(process)
    assert tiny.finish(process, seconds=60).code != 0


def test_a_rank_that_cannot_read_ends_all_ranks_and_is_the_one_that_is_told(work, patchset):
    """The last file has become something else, and only the last rank reads it."""
    folder = shutil.copytree(patchset, work / "unreadable")
    victim = folder / open_patchset(folder).splits["train"].files[-1].path
    victim.write_bytes(bytes(victim.stat().st_size))
    words = ("--data", folder, "--out", work / "unread", *TINY, "--no-verify")
    ended = tiny.train(*words, ranks=2)
    assert ended.code != 0
    assert "Traceback" not in ended.err
    lines = [line for line in ended.err.splitlines() if line.startswith("train_hvd.py: ")]
    # mpirun hands on what two ranks say in any order.
    (line,) = [line for line in lines if line.startswith("train_hvd.py: error on rank 1: ")]
    lines.remove(line)
    assert lines in ([], ["train_hvd.py: error: stopped, because another rank has failed"])
    found = summary_of(work / "unread")
    assert (found["status"], found["rank"]) == ("failed", 1)
    assert found["error"] in line


# --- What cannot be done --------------------------------------------------------------------------

REFUSED = (
    *("more-ranks-than-patches", "batch-too-large", "global-batch-too-small", "missing-file"),
    *("changed-file", "other-version", "no-manifest", "no-folder", "odd-size", "one-level"),
    *("flat-channel", "unknown-option", "out-is-a-file", "file-in-the-way"),
    *("out-is-something-else", "unfinished-run", "other-model", "other-set", "nan"),
    *("finished-run", "disk-full", "changed-file-staged"),
)


def test_every_bad_case_is_tried(bad):
    assert set(bad) == set(REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_clear_line_and_ends_all_ranks(results, bad, name):
    result = results[name]
    assert 0 not in result.codes
    (line,) = result.error_lines
    assert line.startswith("train_hvd.py: error: ")
    assert bad[name][1] in line


@pytest.mark.parametrize("name", ["unfinished-run", "other-model", "other-set"])
def test_a_run_that_is_refused_leaves_the_folder_as_it_was(results, killed, name):
    assert results[name].tree == tree(killed)


def test_what_is_not_a_run_is_never_touched(results, work):
    assert results["finished-run"].tree == {}
    assert summary_of(work / "same")["status"] == "finished"
    assert [path.name for path in (work / "something").iterdir()] == ["precious.txt"]


def test_numbers_that_are_not_finite_stop_all_ranks_and_keep_the_last_checkpoint(results, work):
    """Which step finds it, by its loss or by its weights, is a matter of the arithmetic."""
    assert results["nan"].codes == [1, 1]
    found = summary_of(work / "nan")
    assert found["status"] == "failed"
    step = int(re.search(r"not finite at step (\d+); the checkpoint of", found["error"])[1])
    saved = checkpoint.steps(work / "nan" / "checkpoints")
    assert saved == list(range(1, step))[-3:]
    assert f"the checkpoint of step {saved[-1]} is kept" in found["error"]
    last = checkpoint.load(work / "nan" / "checkpoints", saved[-1])
    assert all(np.isfinite(value).all() for value in last.variables)


def test_a_full_disk_on_rank_0_loses_nothing(results, work, killed):
    assert results["disk-full"].codes == [1, 1]
    found = summary_of(work / "disk-full")
    assert (found["status"], found["rank"]) == ("failed", 0)
    assert "checkpoints/step-" in found["error"]
    assert checkpoint.steps(killed / "checkpoints")[-2] in checkpoint.steps(
        work / "disk-full" / "checkpoints"
    )
    assert results["room-again"].codes == [0, 0]
    assert results["room-again"].weights == results["unbroken"].weights
