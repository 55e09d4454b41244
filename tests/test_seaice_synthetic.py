import dataclasses
import json

import cv2
import numpy as np
import pytest

from cloudmask.metrics import UNKNOWN
from seaice import __main__ as cli
from seaice import looks, missing, synthetic
from seaice.colour import THICK
from seaice.rule import Rule, label_scene

EXPOSURES = (0.7, 0.85, 1.0, 1.15, 1.3)
COUNTS, MEANS = [34468, 24539, 20929, 1984], (113.745, 118.524, 123.017)


def accuracy(label, truth):
    known = truth != UNKNOWN
    return (label[known] == truth[known]).mean()


def black(image):
    """What reaches the border of a scene without data, as those that are read have it."""
    kinds = missing.framed(image.shape[:2])
    kinds[1:-1, 1:-1][~image.any(axis=2)] = missing.BLACK
    return missing.settle(kinds)


def labelled(scene, **rule):
    return label_scene(scene.image, black(scene.image), Rule(**rule)).label


def test_the_same_arguments_give_the_same_scene():
    first, again = (synthetic.make_scene(3, height=96, width=128, seed=5) for _ in range(2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.truth, again.truth)
    other = synthetic.make_scene(4, height=96, width=128, seed=5)
    assert not np.array_equal(first.image, other.image)


def test_varied_scenes_have_the_ice_of_plain_ones_and_looks_of_their_own():
    size = {"height": 192, "width": 192, "seed": 4}
    looks_seen = []
    for index in range(len(looks.KINDS)):
        plain = synthetic.make_scene(index, **size)
        varied = synthetic.make_scene(index, family="varied", **size)
        again = synthetic.make_scene(index, family="varied", **size)
        assert np.array_equal(varied.image, again.image)
        assert np.array_equal(varied.truth, plain.truth)
        assert varied.cloud_cover == plain.cloud_cover
        assert not np.array_equal(varied.image, plain.image)
        looks_seen.append(varied.look)
    assert [look.kind for look in looks_seen] == list(looks.KINDS)


def test_looks_stay_in_their_ranges():
    rng = np.random.default_rng(0)
    for kind in looks.KINDS * 40:
        look = looks.draw(rng, kind)
        assert 190 <= look.snow <= 250
        assert 0.9 <= look.snow_whiteness <= 1
        assert 40 <= look.young[0] < look.young[1] <= 190
        assert 0.6 <= look.young_whiteness <= 0.97


@pytest.mark.parametrize("kind", ["ponds", "dirty"])
def test_ponds_and_dirt_lie_on_thick_ice_and_change_nothing_else(kind):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, (160, 160)).astype(np.uint8)
    light = np.full((160, 160, 3), 200, np.float32)
    look = looks.draw(rng, kind)
    found = looks.add(rng, light, truth, look)
    changed = (found != light).any(axis=2)
    assert (truth[changed] == THICK).all()
    assert changed.sum() / (truth == THICK).sum() == pytest.approx(look.share, abs=0.05)


def test_the_plain_family_is_what_it_was():
    """Figures of a scene as made before there was another family."""
    scene = synthetic.make_scene(1, height=256, width=320, seed=3, exposure=(0.7, 1.2))
    counts = np.bincount(scene.truth.ravel(), minlength=256)[[0, 1, 2, 255]]
    assert counts.tolist() == COUNTS
    assert scene.image.mean(axis=(0, 1)) == pytest.approx(MEANS, abs=0.01)


def test_missing_data_is_unknown_in_the_truth_and_found_again():
    scenes = [synthetic.make_scene(index, height=128, width=128) for index in range(8)]
    assert any((scene.truth == UNKNOWN).any() for scene in scenes)
    for scene in scenes:
        expected = scene.truth == UNKNOWN
        assert np.array_equal((scene.image == 0).all(axis=2), expected)
        assert np.array_equal(black(scene.image), expected)


def test_every_class_occurs_and_cloud_cover_varies():
    scenes = [synthetic.make_scene(index, height=128, width=128) for index in range(12)]
    found = set.union(*(set(np.unique(scene.truth)) for scene in scenes))
    assert found >= {0, 1, 2}
    covers = [scene.cloud_cover for scene in scenes]
    assert min(covers) < 0.05
    assert max(covers) > 0.2


def test_without_cloud_the_published_rule_is_nearly_right():
    scene = synthetic.degenerate("nodata_corners")
    assert accuracy(labelled(scene, filter="none"), scene.truth) > 0.99


def test_filtering_comes_nearer_to_the_truth_than_the_colour_rule():
    scenes = [synthetic.make_scene(index, height=512, width=512, seed=2) for index in range(8)]
    cloudy = [scene for scene in scenes if scene.cloud_cover > 0.1]
    assert len(cloudy) > 1
    raw = np.mean([accuracy(labelled(s, filter="none"), s.truth) for s in cloudy])
    filtered = np.mean([accuracy(labelled(s), s.truth) for s in cloudy])
    assert filtered > raw + 0.005


@pytest.mark.parametrize("exposure", EXPOSURES)
@pytest.mark.parametrize("kind", synthetic.KINDS)
def test_adaptive_labels_degenerate_scenes_right(kind, exposure):
    scene = synthetic.degenerate(kind, exposure=exposure)
    assert accuracy(labelled(scene, adaptive=True), scene.truth) > 0.99


@pytest.mark.parametrize(
    ("kind", "exposure"), [("uniform_snow", 1.0), ("uniform_thin_ice", 1.0), ("one_bright_floe", 1)]
)
def test_the_published_filter_fails_where_the_guarded_one_does_not(kind, exposure):
    scene = synthetic.degenerate(kind, exposure=exposure)
    assert accuracy(labelled(scene, filter="published"), scene.truth) < 0.7
    assert accuracy(labelled(scene), scene.truth) > 0.99


def test_fixed_thresholds_fail_on_dark_snow_and_adaptive_ones_do_not():
    scene = synthetic.degenerate("nodata_corners", exposure=0.7)
    assert accuracy(labelled(scene), scene.truth) < 0.7
    assert (labelled(scene, adaptive=True) == THICK).mean() > 0.3


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [({"height": 32}, "has 64 rows"), ({"seed": -1}, "must be 0 or more")],
)
def test_scenes_that_cannot_be_made_are_refused(arguments, problem):
    with pytest.raises(ValueError, match=problem):
        synthetic.make_scene(0, **({"height": 64, "width": 64} | arguments))


def test_a_varied_archive_tells_the_look_of_each_scene_and_another_family_makes_it_anew(tmp_path):
    words = ["synth", "--out", str(tmp_path), "--scenes", "2", "--height", "64", "--width", "64"]
    assert cli.main([*words, "--family", "varied"]) == 0
    scene = synthetic.make_scene(1, height=64, width=64, family="varied")
    record = json.loads((tmp_path / "truth/ice_0_0001.json").read_text())
    assert record["made_from"]["family"] == "varied"
    assert record["look"] == json.loads(json.dumps(dataclasses.asdict(scene.look)))
    assert record["look"]["kind"] == "ponds"
    path = tmp_path / "scenes/ice_0_0001.png"
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], scene.image)
    assert cli.main(words) == 0
    plain = synthetic.make_scene(1, height=64, width=64)
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], plain.image)
