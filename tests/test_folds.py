"""Folds of scenes: the same in any patch set. What runs make of them: test_refurbish_command."""

import pytest
import tiny

from cloudmask.cli.options import TrainConfig
from cloudmask.data.acquisition import fold_of
from cloudmask.data.patchset.folds import Fold
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.train.plan import make_plan

FRAME = (
    "S3A_SL_1_RBT____20190501T{start}_20190501T{start}_20190502T000000_0179_044_{orbit}_1980_LN2"
)


@pytest.fixture(scope="module")
def patchset(tmp_path_factory):
    """Eight scenes, of which the six for training are in two folds."""
    return tiny.make_patchset(tmp_path_factory.mktemp("folds") / "set", scenes=8, patches=5)


def plan(patchset, **changes):
    config = TrainConfig(data=patchset, out="out", widths=(4, 8), **changes)
    return make_plan(config, tiny.pretended_ranks())


def test_folds_never_change():
    """Whoever trained a fold yesterday must find the same scenes in it tomorrow."""
    assert [fold_of(f"scene_{number}", 2) for number in range(8)] == [0, 0, 0, 1, 1, 1, 0, 0]
    assert [fold_of(f"scene_{number}", 5) for number in range(8)] == [4, 2, 1, 0, 1, 1, 2, 0]
    assert fold_of("nuit d'\udce9t\udce9", 3) in range(3)  # a name of another encoding


def test_an_orbit_stays_together_whatever_form_its_frames_have():
    frames = [FRAME.format(start=f"10{minute:02d}00", orbit="050") for minute in range(0, 30, 3)]
    stores = ["S03SLSRBT_20190501T100000_0179_A050_S015", f"{frames[0]}_tile_2"]
    assert len({fold_of(name, 97) for name in frames + stores}) == 1
    others = {fold_of(FRAME.format(start="100000", orbit=f"{o:03d}"), 5) for o in range(1, 60)}
    assert others == set(range(5))


def test_folds_share_scenes_about_evenly():
    for folds in (2, 3, 10):
        found = [fold_of(f"S3A_{number:04d}", folds) for number in range(3000)]
        for number in range(folds):
            assert abs(found.count(number) - 3000 / folds) < 5 * (3000 / folds) ** 0.5


@pytest.mark.parametrize("text", ["", "1", "2/2", "0/1", "0/0", "-1/2", "1/2/3", "a/b", "0/2\n"])
def test_what_is_no_fold_is_refused_in_one_line(text):
    with pytest.raises(ValueError, match=r"--fold .*must be K/N, the K-th of N folds from 0 on"):
        Fold.of(text)


def test_the_folds_of_a_set_leave_out_each_scene_once_and_nothing_for_validation(patchset):
    whole = plan(patchset)
    names = [entry.scene_name for entry in whole.patchset.splits["train"].files]
    left_out = []
    for number in range(2):
        found = plan(patchset, fold=f"0{number}/2")
        assert found.info.fold == f"{number}/2"
        kept = [entry.scene_name for entry in found.patchset.splits["train"].files]
        assert kept == [name for name in names if fold_of(name, 2) != number]
        left_out += [name for name in names if name not in kept]
        assert found.num_patches == 5 * len(kept)
        assert found.patchset.splits["valid"] == whole.patchset.splits["valid"]
        assert (found.info.mean, found.info.std) == (whole.info.mean, whole.info.std)
        with PatchReader(found.patchset, "train") as reader:
            assert len(reader) == found.num_patches
            files = reader.files_of(found.training_patches(0))
            assert [entry.scene_name for entry in files] == kept
    assert sorted(left_out) == sorted(names)


def test_a_fold_is_part_of_a_runs_identity_and_none_is_as_it_always_was(patchset):
    assert plan(patchset, fold="0/2").identity(1)["model"]["fold"] == "0/2"
    assert plan(patchset).identity(1)["model"]["fold"] is None
    assert plan(patchset).info.fold == ""


def test_a_fold_that_leaves_no_training_patch_is_one_line(tmp_path):
    folder = tiny.make_patchset(tmp_path / "set", scenes=2, patches=1)
    (train,) = open_patchset(folder).splits["valid"].files
    (train,) = (e for e in open_patchset(folder).files if e != train)
    number = fold_of(train.scene_name, 2)
    with pytest.raises(ValueError, match=rf"--fold {number}/2 leaves no training patch: all"):
        plan(folder, fold=f"{number}/2")
    assert plan(folder, fold=f"{1 - number}/2", batch_size=1).num_patches == 1
