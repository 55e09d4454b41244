"""Channels that are made missing: which, in which patches, and that nothing else changes."""

import json

import numpy as np
import pytest
import tiny

from cloudmask import __main__ as cli
from cloudmask.cli.options import TrainConfig
from cloudmask.data.patchset.encoding import FILL
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.metrics import UNKNOWN
from cloudmask.train.batches import Source
from cloudmask.train.device_cache import DeviceSource
from cloudmask.train.hiding import Hiding, make_hiding
from cloudmask.train.plan import make_plan
from cloudmask.train.schedule import PAD
from cloudmask.train.stall import Watch
from cloudmask.train.state import State, rest_of_epoch

NAMES = tiny.CHANNELS  # reflectance, warm, cold
FILES, PATCHES = 3, 4


@pytest.fixture(scope="module")
def patchset(tmp_path_factory):
    """Three training scenes, of which the second lacks the reflectance, as by night."""
    folder = tmp_path_factory.mktemp("hiding")
    for seed in range(4):
        path = tiny.write_scene(folder / f"scene_{seed}.npz", size=32, patches=PATCHES, seed=seed)
        values = dict(np.load(path))
        if seed == 1:
            values["image"][..., 0] = np.nan
        values["image"][3:6, 3:6, 1:] = np.nan  # by day the reflectance alone is there
        np.savez(path, **values)
    words = ["prepare", folder, "--out", folder / "set", "--patch-size", 32]
    words += ["--split", "train=0.75,valid=0.25", "--seed", 3]
    assert cli.main([str(word) for word in words]) == 0
    found = open_patchset(folder / "set")
    assert found.always_there == ("warm", "cold")
    return found


@pytest.fixture
def reader(patchset):
    with PatchReader(patchset, "train") as reader:
        yield reader


def plan(patchset, *, ranks=1, **changes):
    config = TrainConfig(data=patchset.folder, out="out", widths=(4, 8), **changes)
    return make_plan(config, tiny.pretended_ranks(size=ranks, local_size=ranks))


def batches(source, rows, epoch):
    """{patch: image, scale, offset, label as bytes} of an epoch's rows."""
    found = {}
    for row in rows:
        arrays = [np.asarray(part) for part in source.batch(row, epoch=epoch)]
        for place, patch in enumerate(row[row != PAD].tolist()):
            found[patch] = tuple(part[place].tobytes() for part in arrays)
    return found


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("cache", ["none", "memory", "device"])
def test_a_hidden_channel_is_missing_and_nothing_else_is_changed(patchset, reader, augment, cache):
    """Against the same patches, augmented alike, without it."""
    found = plan(patchset, augment=augment, augment_missing=0.5)
    seen = set()
    for epoch in range(4):
        row = np.arange(FILES * PATCHES)
        sources = [make(found, reader, cache, hiding) for hiding in (None, found.hiding)]
        plain, hidden = ([np.asarray(a) for a in s.batch(row, epoch=epoch)] for s in sources)
        for patch in row.tolist():
            hides = found.hiding.hides(patch, epoch)
            image, label = plain[0][patch].copy(), plain[3][patch].copy()
            if hides:
                image[..., 0] = FILL
                label[np.isin(image, [FILL]).all(axis=-1)] = UNKNOWN
            np.testing.assert_array_equal(hidden[0][patch], image)
            np.testing.assert_array_equal(hidden[3][patch], label)
            seen.add((hides, bool((label != plain[3][patch]).any())))
        for part in (1, 2):
            np.testing.assert_array_equal(hidden[part], plain[part])
    assert seen == {(False, False), (True, False), (True, True)}


def make(found, reader, cache, hiding):
    from cloudmask.train.augmentation import augmentation

    settings = {"augmentation": augmentation(found), "hiding": hiding}
    if cache == "device":
        patches = np.arange(FILES * PATCHES)
        return DeviceSource(reader, patches, watch=Watch(0), **settings)
    return Source(reader, cache=cache == "memory", **settings)


def test_what_is_kept_in_memory_is_never_hidden_itself(patchset, reader):
    source = Source(reader, cache=True, hiding=Hiding((0,), 1.0, 0))
    row = np.arange(PATCHES)
    for epoch in range(2):
        image, *_ = source.batch(row, epoch=epoch)
        assert (np.asarray(image)[..., 0] == FILL).all()
    source._hiding = None
    np.testing.assert_array_equal(source.batch(row, epoch=2)[0], reader.read(row).image)


def test_patches_are_drawn_anew_in_each_epoch_in_the_share_that_was_asked_for():
    hiding = Hiding((0,), 0.3, seed=7)
    drawn = np.array([[hiding.hides(patch, epoch) for patch in range(500)] for epoch in range(8)])
    # Of 4000 draws the share has a standard deviation of 0.007.
    assert drawn.mean() == pytest.approx(0.3, abs=0.03)
    assert len({row.tobytes() for row in drawn}) == 8
    other = [Hiding((0,), 0.3, seed=8).hides(patch, 0) for patch in range(500)]
    assert other != drawn[0].tolist()
    assert all(Hiding((0,), 1.0, 0).hides(patch, 0) for patch in range(50))


@pytest.mark.parametrize("shuffle", ["shard", "global"])
def test_draws_are_the_same_on_any_number_of_ranks_and_after_a_resumption(
    patchset, reader, shuffle
):
    options = {"augment_missing": 0.5, "shuffle": shuffle, "global_batch": 4}
    alone = plan(patchset, **options)
    source = make(alone, reader, "none", alone.hiding)
    for epoch in range(3):
        expected = batches(source, alone.rows(0, epoch), epoch)
        assert len(expected) == FILES * PATCHES
        for ranks in (2, 4):
            of_all = {}
            for rank in range(ranks):
                of_all |= batches(
                    source, plan(patchset, ranks=ranks, **options).rows(rank, epoch), epoch
                )
            assert of_all == expected
        state = State(epoch=epoch, step=3 * epoch + 1, step_in_epoch=1)
        left = batches(source, rest_of_epoch(alone, 0, state).rows, epoch)
        assert 0 < len(left) < len(expected)
        assert left.items() <= expected.items()


def test_the_channels_are_those_that_some_training_scenes_lack_or_those_that_are_named(patchset):
    assert plan(patchset).hiding is None
    assert plan(patchset, augment_missing=0.25, seed=3).hiding == Hiding((0,), 0.25, 3)
    named = plan(patchset, augment_missing=1.0, augment_missing_channels=("cold", "warm"))
    assert named.hiding.channels == (1, 2)
    assert named.info.always_there == (), "the network has learned to do without them"
    assert plan(patchset, augment_missing=0.25).info.always_there == ("warm", "cold")


@pytest.mark.parametrize(
    ("names", "always_there", "message"),
    [
        ((), NAMES, "finds nothing to hide: no training scene lacks a channel; name some with"),
        (("hot",), NAMES, "--augment-missing-channels hot: the patch set has reflectance, warm"),
        ((), (), "would leave no channel, as none is in all training scenes; name those"),
        (NAMES, (), "would leave no channel"),
    ],
)
def test_what_cannot_be_hidden_is_refused(names, always_there, message):
    config = TrainConfig(data="set", out="run", augment_missing=0.5, augment_missing_channels=names)
    with pytest.raises(ValueError, match="--augment-missing") as caught:
        make_hiding(config, channels=NAMES, always_there=always_there)
    assert message in str(caught.value)


def test_a_run_without_it_and_one_of_before_it_are_the_same_to_a_checkpoint(patchset):
    """Their records differ in nothing that is compared: None, as what is not told at all."""
    old = plan(patchset).identity(1)
    assert old["settings"]["augment missing"] is None
    assert old["model"]["missing channel"] is None
    assert old["model"]["upsampling"] is None
    new = plan(patchset, augment_missing=0.5, missing_channel=True).identity(1)
    assert json.loads(json.dumps(new["settings"]["augment missing"])) == [0.5, [0]]
    assert new["model"]["missing channel"] is True
    learned = plan(patchset, upsampling="transposed").identity(1)
    assert learned["model"]["upsampling"] == "transposed"


# --- Whole runs -----------------------------------------------------------------------------------

RUN = (
    *("--widths", 4, 8, "--batch-size", 2, "--epochs", 4, "--lr-decay", "none", "--threads", 1),
    *("--precision", "float32", "--no-tensorboard", "--missing-channel", "--augment-missing", 0.5),
)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def results(work, patchset):
    """All runs of one rank, in one process."""

    def case(name, *words, **changes):
        out = work / name
        words = ("--data", patchset.folder, "--out", out, *RUN, *words)
        return tiny.Case(name, words, folder=out, **changes)

    whole, part = ("--max-steps", 10), ("--max-steps", 5)
    cases = [
        case("whole", *whole),
        case("device", *whole, "--cache", "device"),
        case("part", *part),
        case("resumed", *whole, "--resume", copy_of=work / "part"),
        case("other-share", *whole, "--resume", "--augment-missing", 0, copy_of=work / "part"),
        case("no-plane", *whole, "--resume", "--no-missing-channel", copy_of=work / "part"),
        case("unfit", *part, "--init", work / "whole", "--no-missing-channel"),
        case("bare", *part, "--no-missing-channel", "--augment-missing", 0),
        case("unfit-too", *part, "--init", work / "bare"),
    ]
    return tiny.run_cases(cases, work / "cases", ranks=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["device", "resumed"])
def test_runs_end_with_the_same_bits(results, name):
    """From the memory of the device, and in two parts."""
    assert results[name].codes == results["whole"].codes == [0]
    assert results[name].weights == results["whole"].weights
    assert results[name].weights != results["bare"].weights


@pytest.mark.slow
def test_a_change_on_resuming_is_told_or_refused(results):
    assert results["other-share"].codes == [0]
    assert (
        "resuming with a change: augment missing was [0.5, [0]], is None"
        in (results["other-share"].err[0])
    )
    (line,) = results["no-plane"].error_lines
    assert "another model or patch set: missing channel was True, is None" in line


@pytest.mark.slow
def test_weights_are_not_taken_over_from_models_of_another_kind(results):
    for name, where in (("unfit", "there and not here"), ("unfit-too", "here and not there")):
        (line,) = results[name].error_lines
        assert f"model.keras does not fit this run: --missing-channel {where}; give it" in line


@pytest.mark.slow
def test_a_model_tells_of_its_missing_channel(results, work):
    told = {}
    for name in ("whole", "bare"):
        found = json.loads((work / name / "model.json").read_text())["properties"]
        told[name] = (
            found["mlm:hyperparameters"].get("missing_channel"),
            (found["mlm:hyperparameters"]["augment_missing"]),
        )
        assert len(found["mlm:input"][0]["bands"]) == 3, "what it takes has stayed the same"
    assert told == {"whole": (True, 0.5), "bare": (None, 0.0)}


@pytest.mark.slow
def test_a_model_with_a_missing_channel_predicts_scenes(results, work, patchset):
    scenes = patchset.folder.parent
    words = ["predict", work / "whole", scenes, "--out", work / "masks", "--precision", "float32"]
    assert cli.main([str(word) for word in words]) == 0
    assert len(list((work / "masks").glob("scene_*.nc"))) == 4
