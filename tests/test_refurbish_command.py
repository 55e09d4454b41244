"""`cloudmask refurbish` after real runs that left out a fold, broken off, refused and repeated."""

import json
import shutil

import numpy as np
import pytest
import tiny
from tiny import Case

from cloudmask import __main__ as cli
from cloudmask.cli.errors import AgreedError
from cloudmask.data.acquisition import fold_of
from cloudmask.data.patchset.encoding import FILL
from cloudmask.data.patchset.files import read_patches
from cloudmask.data.patchset.open import open_patchset
from cloudmask.files import open_hdf5, sha256_of
from cloudmask.labels.refurbish import eta_of, group_names, refurbish, sums_of
from cloudmask.model import calibration, keras_file


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Two folds, a run that saw everything, what goes on from them, and what two ranks and one
    make of the patches."""
    work = tmp_path_factory.mktemp("refurbish")
    data = tiny.make_patchset(work / "set", scenes=8, patches=3)
    short = ("--widths", 4, 8, "--epochs", 3, "--batch-size", 3, "--threads", 1, "--lr", 0.01)
    short += ("--no-tensorboard",)

    def run(name, *words, out=None, data=data):
        return Case(name, ("--data", data, "--out", work / (out or name), *short, *words))

    def again(name, *words):
        return run(name, "--resume", *words, out="zero")

    one = tiny.run_cases(
        [
            run("zero", "--fold", "0/2", "--epochs", 2),
            again("same", "--fold", "0/2"),
            again("other", "--fold", "1/2", "--epochs", 4),
            again("none", "--epochs", 4),
            run("one", "--fold", "1/2"),
            run("whole", "--loss", "gce", "--epochs", 1),
            run("from-whole", "--fold", "0/2", "--init", work / "whole"),
            run("from-fold", "--fold", "0/2", "--init", work / "zero", "--epochs", 1),
            case(work, "alone", "zero", "one"),
            case(work, "strip", "one", "zero", "--strip", 8, 50, "--fill", "--least-logit", 0),
            case(work, "saw", "zero", "whole"),
            case(work, "half", "zero"),
            case(work, "twice", "zero", "zero"),
            run("student", "--fold", "1/2", data=work / "alone"),
            case(work, "second", "zero", "student", data="alone"),
        ],
        work / "results",
        ranks=1,
    )
    two = tiny.run_cases([case(work, "pair", "zero", "one")], work / "pair-results", ranks=2)
    return work, one | two


RUNS = ("zero", "one", "whole", "student")


def case(work, out, *words, data="set"):
    runs = [work / word for word in words if word in RUNS]
    options = [word for word in words if word not in RUNS]
    words = ("refurbish", *runs, work / data, "--out", work / out, *options)
    return Case(out, words, program="cloudmask", folder=work / out)


def test_a_run_records_its_fold_and_goes_on_with_no_other(work):
    folder, found = work
    assert found["zero"].codes == found["same"].codes == [0]
    assert "fold 0/2 is left out of training" in found["zero"].out[0]
    assert keras_file.read_info(folder / "zero/model.keras").fold == "0/2"
    summary = json.loads((folder / "zero/summary.json").read_text())
    assert (summary["fold"], summary["config"]["fold"]) == ("0/2", "0/2")
    assert "fold: 0/2" in (folder / "zero/config.yaml").read_text()
    for name, now in (("other", "1/2"), ("none", "None")):
        (line,) = found[name].error_lines
        assert line.endswith(f"is of another model or patch set: fold was 0/2, is {now}")


def test_a_run_takes_a_loss_for_labels_that_err(work):
    folder, found = work
    assert found["whole"].codes == [0]
    final = json.loads((folder / "whole/summary.json").read_text())["final"]
    assert 0 < final["loss"] < 1 / 0.7  # no pixel of generalised cross-entropy costs more
    assert 0 < final["valid"]["loss"] < 1 / 0.7


def test_a_run_that_leaves_out_a_fold_starts_from_no_model_that_has_seen_it(work):
    _, found = work
    (line,) = found["from-whole"].error_lines
    assert "has learned from all scenes, so this run would not leave out fold 0/2" in line
    assert found["from-fold"].codes == [0]


def test_two_ranks_write_the_bytes_of_one(work):
    _, found = work
    assert (found["alone"].codes, found["pair"].codes) == ([0], [0, 0]), found["pair"].err
    assert found["alone"].tree == found["pair"].tree
    assert not any(".refurbish" in name for name in found["alone"].tree)


def test_each_scene_is_judged_by_the_run_that_never_saw_it(work):
    """Against the networks in plain numpy: their mean over four mirrored patches."""
    import cloudmask

    folder, _ = work
    before, after = open_patchset(folder / "set"), open_patchset(folder / "alone")
    record = after.options["refurbished"]
    assert [after.options[name] for name in before.options] == list(before.options.values())
    models = {
        k: cloudmask.load(folder / n, precision="float32") for k, n in enumerate(("zero", "one"))
    }
    probability, label, missing = [], [], []
    for entry in before.files:
        patches = read_patches(folder / "set" / entry.path)
        model = models[fold_of(entry.scene_name, 2)]
        for number in range(entry.patches):
            stored = patches.image[number]
            image = stored * patches.scale + patches.offset
            image = np.where(stored == FILL, np.nan, image).astype(np.float32)
            flipped = [
                np.flip(model.predict(np.flip(image, axes)).probability, axes)
                for axes in ((), (0,), (1,), (0, 1))
            ]
            probability.append(np.mean(flipped, axis=0))
            missing.append((stored == FILL).any(axis=-1))
        label.append(patches.label)
    probability, label = np.stack(probability), np.concatenate(label)
    group = np.stack(missing).astype(np.uint8)
    eta = eta_of(sums_of(probability, label, group, 2))
    for number, told in enumerate(record["groups"]):
        np.testing.assert_allclose(told["eta"], eta[number], rtol=1e-4)
    expected = refurbish(probability, label, group, eta, least_logit=0.4, fill=False)
    soft = np.concatenate([soft_of(folder / "alone", entry) for entry in after.files])
    known = (soft != 255) & (expected.soft != 255)
    assert known.sum() > 10_000
    assert (soft != 255).sum() == pytest.approx(known.sum(), abs=5)  # at the edge of least_logit
    assert np.abs(soft[known].astype(int) - expected.soft[known]).max() <= 1
    assert soft[label == 255].min() == 255
    models = {model["fold"]: model["sha256"] for model in record["models"]}
    assert models == {
        f"{k}/2": sha256_of(folder / n / "model.keras") for k, n in enumerate(("zero", "one"))
    }


def soft_of(folder, entry):
    with open_hdf5(folder / entry.path) as file:
        return file["soft"][()]


def test_a_strip_makes_groups_of_its_own_and_filling_counts_every_measured_pixel(work):
    folder, found = work
    assert found["strip"].codes == [0]
    lines = found["strip"].out[0].splitlines()
    assert [line.partition(":")[0] for line in lines[:4]] == list(group_names((8, 50)))
    assert all("without a label filled" in line for line in lines[:4])
    for entry in open_patchset(folder / "strip").files:
        patches = read_patches(folder / "strip" / entry.path)
        measured = (patches.image != FILL).any(axis=-1)
        np.testing.assert_array_equal(soft_of(folder / "strip", entry) != 255, measured)


def test_runs_that_cannot_judge_are_refused_in_one_line(work):
    _, found = work
    for name, message in (
        ("saw", "whole was trained without --fold: it has seen the scenes that it should judge"),
        ("half", "are in no fold that a run has left out (0/2); train the other folds too"),
        ("twice", "two of the runs have the same model; name each once"),
    ):
        assert found[name].codes != [0]
        (line,) = found[name].error_lines
        assert message in line
        assert found[name].tree == {}


def test_a_calibrated_model_is_no_judge_of_patches(work, tmp_path):
    folder, _ = work
    weights = {kind: [1, 0, 0, 0] for kind in calibration.KINDS}
    record = {"teacher": None, "blurs": [1.5, 6], "teacher_blur": 1.5, "scenes": []}
    model = tmp_path / "calibrated.keras"
    keras_file.write_calibrated(model, folder / "zero/model.keras", record | {"weights": weights})
    words = ["refurbish", model, folder / "one", folder / "set", "--out", tmp_path / "out"]
    with pytest.raises(AgreedError, match=r"is calibrated, .*; name the model that it was made fr"):
        cli.main([str(word) for word in words])
    assert not (tmp_path / "out").exists()


def test_a_second_round_takes_the_runs_and_the_patches_of_the_first(work):
    folder, found = work
    assert (found["student"].codes, found["second"].codes) == ([0], [0]), found["second"].err
    first, second = (
        open_patchset(folder / name).options["refurbished"] for name in ("alone", "second")
    )
    assert second["before"] == first
    assert second["patchset"] == open_patchset(folder / "alone").fingerprint


def again(work, out, *words):
    """The same command as `alone`, into a folder that may hold a part of it."""
    words = ("refurbish", work / "one", work / "zero", work / "set", "--out", out, *words)
    return cli.main([str(word) for word in words])


def test_what_was_broken_off_goes_on_and_ends_with_the_same_bytes(
    work, tmp_path, tree, monkeypatch
):
    from cloudmask.labels import refurbish_command as command

    folder, _ = work
    out, judged = tmp_path / "out", []
    probability_of = command.probability_of

    def broken(patches, models):
        judged.append(len(models))
        if len(judged) == 4:
            raise OSError(28, "No space left on device", "somewhere")
        return probability_of(patches, models)

    monkeypatch.setattr(command, "probability_of", broken)
    with pytest.raises(Exception, match="the disk is full"):
        again(folder, out)
    assert not (out / "manifest.json").exists()
    with pytest.raises(ValueError, match="was begun from other runs, patches or precision"):
        again(folder, out, "--precision", "bfloat16")
    note = next((out / ".refurbish").rglob("*.npy"))
    note.write_bytes(note.read_bytes()[:100])  # it is made again
    monkeypatch.setattr(command, "write_manifest", None)  # broken off once more, at the very end
    with pytest.raises(TypeError):
        again(folder, out)
    assert len(judged) == 4 + 8 - 3 + 1
    monkeypatch.undo()
    monkeypatch.setattr(command, "probability_of", None)
    assert again(folder, out) == 0
    assert tree(out) == tree(folder / "alone")


def test_a_finished_set_is_left_alone_and_never_changed(work, tmp_path, tree, capsys):
    folder, _ = work
    out = tmp_path / "out"
    shutil.copytree(folder / "alone", out)
    before = tree(out)
    assert again(folder, out) == 0
    assert capsys.readouterr().out == f"{out} is complete, nothing to do\n"
    with pytest.raises(ValueError, match=r"made from something else \(fill differ\)"):
        again(folder, out, "--fill")
    with pytest.raises(ValueError, match="holds soft targets, which prepare does not make"):
        cli.main(["prepare", str(folder / "set-scenes"), "--out", str(out), "--patch-size", "32"])
    with pytest.raises(ValueError, match=r"made from something else \(version, patchset"):
        again(folder, folder / "set")
    assert tree(out) == before


def test_a_finished_set_that_has_lost_a_file_is_made_again(work, tmp_path, tree, capsys):
    folder, _ = work
    out = tmp_path / "out"
    shutil.copytree(folder / "alone", out)
    lost = out / open_patchset(out).files[2].path
    lost.unlink()
    assert again(folder, out) == 0
    assert f"{lost} is missing: the set is made again" in capsys.readouterr().err
    assert tree(out) == tree(folder / "alone")


def test_what_cannot_be_is_refused_before_a_model_is_loaded(work, tmp_path):
    folder, _ = work
    for words, message in (
        (("--strip", "9", "9"), "--strip 9 9 must be a first column and a later end"),
        (("--least-logit", "6"), "--least-logit 6 must be from 0 to below 6"),
    ):
        with pytest.raises(ValueError, match=message):
            again(folder, tmp_path / "out", *words)
    wrong = ["refurbish", folder / "set", folder / "one", "--out", tmp_path / "out"]
    with pytest.raises(ValueError, match=r"/set is a patch set, which comes last: RUN \.\.\. /"):
        cli.main([str(word) for word in wrong])
    three = tiny.make_patchset(tmp_path / "three", scenes=4, patches=1, classes=3)
    with pytest.raises(ValueError, match="has 3 classes; soft targets are of two"):
        cli.main(["refurbish", str(folder / "one"), str(three), "--out", str(tmp_path / "out")])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and no patch set"):
        again(folder, tmp_path / "full")
    assert not (tmp_path / "out").exists()


def test_a_changed_patch_file_is_found_before_it_is_judged(work, tmp_path):
    folder, _ = work
    copy = tmp_path / "set"
    shutil.copytree(folder / "set", copy)
    path = copy / open_patchset(copy).files[2].path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    words = ["refurbish", folder / "zero", folder / "one", copy, "--out", tmp_path / "out"]
    with pytest.raises(Exception, match="has changed: its sha256 differs; prepare or copy"):
        cli.main([str(word) for word in words])


def test_the_record_is_json_that_names_no_place(work):
    folder, _ = work
    text = (folder / "alone/manifest.json").read_text()
    assert str(folder) not in text
    record = json.loads(text)["options"]["refurbished"]
    assert record["eta_from_to"] == [0.02, 0.98]
    assert (record["most_logit"], record["least_logit"], record["strip"]) == (6, 0.4, None)
