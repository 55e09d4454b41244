"""Labels by what the classes look like: the mixtures, the looks, the command."""

import os
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import tiny
from scipy.stats import multivariate_normal

from cloudmask import __main__ as cli
from cloudmask.cli.errors import AgreedError
from cloudmask.data.entry import entry_of
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.read import read_scene
from cloudmask.data.scene import Scene
from cloudmask.data.slstr import Reading
from cloudmask.data.synthetic.scenes import make_scene, write_scene
from cloudmask.labels import densities, densities_command
from cloudmask.labels.densities import FARTHEST, Mixture, fit, fit_all, fit_mixture, log_odds
from cloudmask.labels.looks import Looks, looks_of, roughness
from cloudmask.labels.surroundings import smooth_background
from cloudmask.labels.units import thermal
from cloudmask.metrics import UNKNOWN


def scene_of(image, channels, label=None):
    return Scene("s", image.astype(np.float32), channels, label, ("clear", "cloud"))


def test_a_mixture_has_the_density_of_its_gaussians():
    random = np.random.default_rng(0)
    means = random.normal(size=(2, 3))
    parts = random.normal(size=(2, 3, 3))
    covariances = parts @ parts.transpose(0, 2, 1) + np.eye(3)
    whiteners = np.linalg.inv(np.linalg.cholesky(covariances))
    mixture = Mixture(np.array([0.3, 0.7]), means, whiteners)
    pixels = random.normal(size=(50, 3))
    expected = sum(
        weight * multivariate_normal(mean, covariance).pdf(pixels)
        for weight, mean, covariance in zip((0.3, 0.7), means, covariances, strict=True)
    )
    np.testing.assert_allclose(mixture.log_density(pixels), np.log(expected))


def test_two_heaps_of_pixels_are_found():
    random = np.random.default_rng(1)
    pixels = np.concatenate(
        [random.normal([-3, 0], [1, 0.5], (3000, 2)), random.normal([3, 1], [0.5, 1], (1000, 2))]
    )
    found = fit_mixture(pixels, 2)
    order = np.argsort(found.weights)
    np.testing.assert_allclose(found.weights[order], [0.25, 0.75], atol=0.01)
    np.testing.assert_allclose(found.means[order], [[3, 1], [-3, 0]], atol=0.06)
    spread = np.sqrt([np.diag(np.linalg.inv(w.T @ w)) for w in found.whiteners[order]])
    np.testing.assert_allclose(spread, [[0.5, 1], [1, 0.5]], atol=0.05)


def test_labels_that_follow_the_looks_are_better_than_the_teacher_they_came_from():
    """A teacher that misses three clouds in ten, wherever its own error says so."""
    random = np.random.default_rng(2)
    truth = random.random(20_000) < 0.5
    looks = random.normal(np.where(truth, 1.5, -1.5)[:, None], 1, (20_000, 2))
    teacher = truth & ~(random.random(20_000) < 0.3)
    fitted = fit(looks, teacher)
    found = fitted.log_odds(looks) > 0
    assert (teacher == truth).mean() < 0.86
    assert (found == truth).mean() > (teacher == truth).mean() + 0.05
    assert np.abs(fitted.log_odds(np.array([[1e4, 1e4]]))) == FARTHEST


def test_too_few_pixels_of_a_class_are_no_ground_for_a_mixture():
    looks = np.random.default_rng(0).normal(size=(5000, 2))
    assert fit(looks, np.arange(5000) < densities.FEWEST - 1) is None
    assert fit(looks, np.arange(5000) < densities.FEWEST) is not None


def test_the_background_is_what_clear_pixels_have_and_reaches_over_the_clouds():
    ramp = np.broadcast_to(np.linspace(280, 300, 96, dtype=np.float32), (96, 96)).copy()
    clear = np.ones((96, 96), bool)
    clear[40:56, 40:56] = False
    seen = np.where(clear, ramp, 230).astype(np.float32)
    seen[0] = np.nan
    found = smooth_background(seen, clear)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[48, 20:76], ramp[48, 20:76], atol=2)
    none = smooth_background(seen, np.zeros_like(clear))
    assert none.mean() > 295, "the warmest tenth stands in where nothing is known to be clear"


def test_roughness_is_the_deviation_among_neighbours():
    random = np.random.default_rng(3)
    values = random.normal(290, 2, (40, 40)).astype(np.float32)
    values[5, 5] = np.nan
    found = roughness(values, least=0)
    np.testing.assert_allclose(np.exp(found[20, 20]), values[19:22, 19:22].std(), rtol=1e-3)
    assert np.isnan(found[5, 5])
    around = values[4:7, 5:8][np.isfinite(values[4:7, 5:8])]
    np.testing.assert_allclose(np.exp(found[5, 6]), around.std(), rtol=1e-3)


def test_looks_by_day_and_by_night_are_kinds_of_their_own():
    random = np.random.default_rng(4)
    names = ("S1", "S8", "S9", "TS")
    image = np.concatenate([random.random((20, 20, 1)), random.normal(290, 5, (20, 20, 3))], -1)
    image[:10, :, 0] = np.nan
    image[0] = np.nan
    looks = looks_of(scene_of(image, names), np.ones((20, 20), bool))
    kinds = {kind: where for kind, where, _ in looks.kinds()}
    night = ("background-S8", "roughness of S8", "S8-S9", "TS-S8")
    assert set(kinds) == {night, (*night, "root of S1")}
    assert kinds[night][1:10].all()
    assert not kinds[night][10:].any()
    assert not any(where[0].any() for where in kinds.values())
    values = dict(zip(looks.names, np.moveaxis(looks.values, -1, 0), strict=True))
    np.testing.assert_allclose(values["S8-S9"][5], (image[5, :, 1] - image[5, :, 2]), rtol=1e-4)
    np.testing.assert_allclose(values["root of S1"][15], np.sqrt(image[15, :, 0]), rtol=1e-4)


def test_a_pixel_whose_looks_nothing_was_fitted_to_has_no_log_odds():
    random = np.random.default_rng(5)
    values = random.normal(size=(60, 60, 2)).astype(np.float32)
    values[:20, :, 1] = np.nan
    looks = Looks(("a", "b"), values)
    label = (values[..., 0] > 0).astype(np.uint8)
    samples = densities.sample(looks, np.where(label == 1, 1, UNKNOWN), pixels=500, seed=0)
    assert {names: len(cloud) for names, (_, cloud) in samples.items()} == {
        ("a",): 500,
        ("a", "b"): 500,
    }
    fitted = fit_all([densities.sample(looks, label, pixels=9999, seed=0)])
    assert set(fitted) == {("a", "b")}, "of the other kind there are too few"
    found = log_odds(looks, fitted)
    assert np.isnan(found[:20]).all()
    assert ((found[20:] > 0) == (label[20:] == 1)).mean() > 0.97


def test_a_channel_is_thermal_by_its_name_or_its_values_and_never_by_its_unit():
    random = np.random.default_rng(6)
    kelvin, dark = random.normal(290, 5, (30, 30)), random.uniform(0, 0.4, (30, 30))
    both = np.stack([kelvin, dark], axis=-1)
    assert thermal(both, ("x", "y")) == [True, False]
    assert thermal(both, ("S8", "S1")) == [True, False]
    everywhere = np.ones((30, 30), bool)
    for names in (("x", "y"), ("S8", "S1"), ("x", "blue")):
        with pytest.raises(ValueError, match="no reflectance from 0 to 1; scale it") as found:
            looks_of(scene_of(both * [1, 10_000], names), everywhere)
        assert "\n" not in str(found.value)
    filled = both.copy()
    filled[:5] = -9999
    with pytest.raises(ValueError, match="holds -9999, which is no reflectance; store NaN"):
        looks_of(scene_of(filled, ("x", "blue")), everywhere)
    filled[:5] = 0
    assert np.isnan(looks_of(scene_of(filled, ("x", "y")), everywhere).values[:5]).all()


def test_a_single_scene_with_few_clouds_has_enough_of_them(tmp_path):
    random = np.random.default_rng(7)
    label = (random.random((256, 256)) < 0.1).astype(np.uint8)
    image = random.normal(np.where(label, 0.5, 0.1)[..., None], 0.05, (256, 256, 2))
    names = {"channels": np.array(["a", "b"]), "classes": np.array(["clear", "cloud"])}
    scene = tmp_path / "scene.npz"
    np.savez(scene, image=image.astype(np.float32), label=label, **names)
    line = words(scene, tmp_path / "out", "--teacher", "any", "--split", "train=1")
    assert cli.main(line) == 0


def test_digital_numbers_are_refused_by_the_name_of_the_file(tmp_path):
    image = np.random.default_rng(0).integers(0, 10_000, (64, 64, 2)).astype(np.uint16)
    names = {"channels": np.array(["a", "b"]), "classes": np.array(["clear", "cloud"])}
    label = (image[..., 0] > 5000).astype(np.uint8)
    np.savez(tmp_path / "scene.npz", image=image, label=label, **names)
    line = words(tmp_path / "scene.npz", tmp_path / "out", "--teacher", "any", "--split", "train=1")
    with pytest.raises(AgreedError, match=r"scene.npz: a is about \d+ and up to \d+, which is no"):
        cli.main(line)
    with pytest.raises(AgreedError, match="choose another --teacher, such as any"):
        cli.main(words(tmp_path / "scene.npz", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Eight synthetic scenes, by day and by night."""
    folder = tmp_path_factory.mktemp("archive")
    for index in range(8):
        write_scene(make_scene(index, height=96, width=128, seed=3), folder)
    return folder


def words(archive, out, *more):
    line = ["label", archive, "--out", out, "--method", "densities", "--patch-size", "32", *more]
    return [str(word) for word in line]


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(archive, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "set"
    assert cli.main(words(archive, out)) == 0
    return out


def right(folder, archive):
    """Share of the labelled pixels that are true, and of the teacher's in the same place."""
    counts = np.zeros(3)
    patchset = open_patchset(folder)
    for split in patchset.splits.values():
        for entry in split.files:
            scene = read_scene(archive / f"{entry.scene}.hdf")
            with h5py.File(folder / entry.path) as file:
                corners = zip(file["row"][...], file["col"][...], strict=True)
                for label, (row, col) in zip(file["label"][...], corners, strict=True):
                    place = np.s_[row : row + 32, col : col + 32]
                    known = label != UNKNOWN
                    for i, mask in enumerate((label, scene.label[place])):
                        counts[i] += (mask == scene.truth[place])[known].sum()
                    counts[2] += known.sum()
    return counts[0] / counts[2], counts[1] / counts[2]


def test_the_labels_of_an_archive_are_nearer_to_the_truth_than_the_teacher(made, archive):
    mine, teacher = right(made, archive)
    assert mine > teacher + 0.005
    patchset = open_patchset(made)
    assert (patchset.label_source, patchset.options["teacher"]) == ("densities", "dual")
    assert len(patchset.options["densities"]) == 64


@pytest.mark.slow
@pytest.mark.mpi
def test_two_ranks_write_the_bytes_of_one(archive, made, tmp_path):
    out = tmp_path / "set"
    line = [*tiny.launcher("mpirun", 2), *cloudmask(words(archive, out))]
    subprocess.run(line, check=True, capture_output=True, env=os.environ | tiny.environment())
    assert contents(out) == contents(made)


def cloudmask(line):
    import sys

    return [sys.executable, "-m", "cloudmask", *line]


def test_it_goes_on_and_notices_an_archive_that_has_changed(archive, made, tmp_path, capsys):
    before = contents(made)
    assert cli.main(words(archive, made)) == 0
    assert "is complete: 8 scenes, nothing to do" in capsys.readouterr().out
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    for path in sorted(archive.iterdir())[:7]:
        (fewer / path.name).symlink_to(path)
    with pytest.raises(AgreedError, match="were fitted to have changed since"):
        cli.main(words(fewer, made))
    assert contents(made) == before


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (("--model", "run"), "--model has no effect with --method densities"),
        (("--method", "unsupervised", "--teacher", "any"), "--teacher has no effect"),
    ],
)
def test_options_without_effect_are_refused(archive, tmp_path, more, problem):
    with pytest.raises(ValueError, match=problem):
        cli.main(words(archive, tmp_path / "out", *more))
    assert not (tmp_path / "out").exists()


def test_too_few_labelled_pixels_are_refused(tmp_path):
    image = np.random.default_rng(0).random((32, 32, 2)).astype(np.float32)
    label = np.zeros((32, 32), np.uint8)
    names = {"channels": np.array(["a", "b"]), "classes": np.array(["clear", "cloud"])}
    np.savez(tmp_path / "scene.npz", image=image, label=label, **names)
    line = words(tmp_path / "scene.npz", tmp_path / "out", "--teacher", "any", "--split", "train=1")
    with pytest.raises(AgreedError, match="fewer than 1000 pixels of 1 scene are labelled cloud"):
        cli.main(line)


def save(folder, name, cloud, classes, channels=("a", "b")):
    label = cloud == classes.index("cloud") if classes[0] == "clear" else ~cloud
    image = np.random.default_rng(0).normal(np.where(cloud, 0.5, 0.1)[..., None], 0.05, (64, 64, 2))
    names = {"channels": np.array(channels), "classes": np.array(classes)}
    folder.mkdir(exist_ok=True)
    np.savez(folder / name, image=image.astype(np.float32), label=label.astype(np.uint8), **names)


def test_a_scene_that_goes_or_fails_on_the_way_is_told_of_once(tmp_path, monkeypatch, capsys):
    """Of another order of classes, gone between the two looks, of three classes."""
    cloud = np.random.default_rng(1).random((64, 64)) < 0.5
    for name in "abcd":
        order = ("cloud", "clear") if name == "b" else ("clear", "cloud")
        save(tmp_path / "in", f"{name}.npz", cloud, order)
    save(tmp_path / "in", "e.npz", cloud, ("clear", "cloud", "haze"))
    found = []

    def then(samples, prior=None):
        (tmp_path / "in" / "d.npz").unlink()
        found.extend(samples)
        return fit_all(samples, prior=prior)

    monkeypatch.setattr(densities, "fit_all", then)
    line = words(tmp_path / "in", tmp_path / "out", "--teacher", "any", "--split", "train=1")
    assert cli.main(line) == 1
    err = capsys.readouterr().err
    assert err.count("left out:") == 2
    assert err.count("has 3 classes") == err.count("d.npz") == 1
    for sample in found:
        for looks, known in sample.values():
            assert ((looks[:, 0] > np.sqrt(0.3)) == known).mean() > 0.9
    assert len(open_patchset(tmp_path / "out").options["scenes"]) == 5


def test_the_main_thermal_channel_is_that_of_11_um_and_channels_are_not_too_many():
    everywhere = np.ones((20, 20), bool)
    image = np.random.default_rng(0).normal(290, 5, (20, 20, 5))
    found = looks_of(scene_of(image, ("S7", "S8", "S9", "S8o", "S9o")), everywhere)
    assert found.names[0] == "background-S8"
    many = scene_of(np.full((20, 20, 70), 0.1), tuple(f"x{i}" for i in range(70)))
    with pytest.raises(ValueError, match="has 70 channels, and looks are told apart of at most 60"):
        looks_of(many, everywhere)


@pytest.mark.real
@pytest.mark.parametrize("name", ["landsat5", "landsat7"])
@pytest.mark.parametrize("limit", [0.15, 0.25])
def test_on_real_scenes_looks_are_better_than_the_rule_they_learned_from(name, limit):
    """The teacher is a threshold in the blue; the labels by hand judge both."""
    folder = os.environ.get("CLOUDMASK_REAL_DATA")
    if not folder:
        pytest.skip("CLOUDMASK_REAL_DATA is not set")
    scene = read_scene(Path(folder) / "landsat" / f"{name}.npz")
    rule = (scene.image[..., 0] > limit).astype(np.uint8)
    looks = looks_of(scene, rule == 0)
    fitted = fit_all([densities.sample(looks, rule, pixels=20_000, seed=0)])
    found = log_odds(looks, fitted) > 0
    assert (found == scene.label).mean() > (rule == scene.label).mean() + 0.002


@pytest.mark.slow
def test_without_any_mask_the_looks_of_unsupervised_labels_are_learned(tmp_path):
    """The scenes' own masks are all clear, which must not matter."""
    for index in range(8):
        scene = make_scene(index, height=160, width=208, seed=500)
        path = write_scene(scene, tmp_path)
        with h5py.File(path, "r+") as file:
            file["bayes"][...] = 0
    out = tmp_path / "set"
    assert cli.main(words(tmp_path, out, "--teacher", "unsupervised")) == 0
    mine, clear = right(out, tmp_path)
    assert mine > 0.85 > clear + 0.1
    assert open_patchset(out).options["teacher"] == "unsupervised"


def test_the_prior_is_what_is_thought_before_a_pixel_is_looked_at():
    random = np.random.default_rng(0)
    looks = random.normal(size=(6000, 2))
    cloud = random.random(6000) < 0.25
    odds = [fit(looks, cloud, prior=prior).log_odds(looks[:50]) for prior in (0.0, 1.5)]
    np.testing.assert_allclose(odds[1] - odds[0], 1.5, atol=1e-5)
    own = fit(looks, cloud)
    assert own.prior == pytest.approx(np.log(cloud.sum() / (~cloud).sum()))
    np.testing.assert_allclose(own.log_odds(looks[:50]) - odds[0], own.prior, atol=1e-5)


def test_the_teacher_is_asked_in_the_strip_alone_and_clear_sky_is_told_of_everywhere(archive):
    scene = entry_of(sorted(archive.iterdir())[3])
    given = {"reading": Reading(), "verify": True, "pixels": 10**6}
    strips = {128: (47, 100)}
    strip = densities_command.sample_of(scene, teacher="dual", strips=strips, **given)
    whole = densities_command.sample_of(scene, teacher="any", strips=None, **given)
    mask = read_scene(scene.path, label="any").label
    for samples, label in ((strip, mask[:, 47:100]), (whole, mask)):
        cloud = np.concatenate([found for _, found in samples.values()])
        assert (len(cloud), cloud.sum()) == ((label <= 1).sum(), (label == 1).sum())


def test_the_fingerprint_changes_with_any_pixel_that_is_fitted_to():
    looks, cloud = np.zeros((3, 2), np.float32), np.array([True, False, True])
    other, more = looks.copy(), ~cloud
    other[1, 1] = 1e-3
    names = ("a", "b")
    samples = [(names, looks, cloud), (names, other, cloud), (names, looks, more)]
    samples.append((("a", "c"), looks, cloud))
    found = {densities_command._fingerprint([{name: (x, y)}]) for name, x, y in samples}
    assert len(found) == 4
