"""The figures of the table of labels, by counting again in the plainest way."""

import numpy as np
import pytest

from benchmarks import better_masks_figures as figures
from benchmarks.better_masks_figures import Scenes
from cloudmask.evaluate import intervals

SCENES, SIZE = 48, 12


@pytest.fixture(scope="module")
def scenes():
    random = np.random.default_rng(0)
    shape = (SCENES, SIZE, SIZE)
    depth = random.exponential(0.5, shape)
    teacher = (depth > 0.3) ^ (random.random(shape) < 0.2)
    measured = random.random(shape) < 0.9
    night = np.arange(SCENES) % 2 == 1
    return Scenes(depth, teacher, measured, night, [f"s{i}" for i in range(SCENES)])


@pytest.fixture(scope="module")
def probability(scenes):
    random = np.random.default_rng(1)
    noisy = np.where(scenes.truth, 0.65, 0.35) + random.normal(0, 0.2, scenes.truth.shape)
    found = noisy.clip(0, 1).round(3)
    found[~scenes.measured] = np.nan
    return found.astype(np.float32)


def test_figures_of_a_probability_are_those_of_all_thresholds_tried_by_hand(scenes, probability):
    found = figures.of_probability(scenes, probability, "day")
    where = scenes.measured & ~scenes.night[:, None, None]
    p, truth, teacher = probability[where], scenes.truth[where], scenes.teacher[where]
    thresholds = np.arange(figures.STEPS + 1) / figures.STEPS
    masks = [p >= np.float32(t - 1e-5) for t in thresholds]
    accuracy = np.array([(mask == truth).mean() for mask in masks])
    assert found["accuracy"] == pytest.approx(((p >= 0.5) == truth).mean())
    assert found["best_accuracy"] == pytest.approx(accuracy.max())
    nearest = np.argmin([abs(mask.mean() - teacher.mean()) for mask in masks])
    assert found["accuracy_at_teachers_fraction"] == pytest.approx(accuracy[nearest])
    there, absent = p[truth], p[~truth]
    above = (there[:, None] > absent).mean() + 0.5 * (there[:, None] == absent).mean()
    assert found["auc"] == pytest.approx(above)
    cloud = p >= 0.5
    assert found["iou"] == pytest.approx((cloud & truth).sum() / (cloud | truth).sum())
    deep = scenes.depth[where] > 1
    assert found["accuracy_depth_1"] == pytest.approx((cloud == deep).mean())


def test_the_gain_over_the_teacher_is_the_difference_of_the_accuracies(scenes, probability):
    masks = [probability >= limit for limit in (0.4, 0.5, 0.6)]
    for part in figures.PARTS:
        found = figures.against_teacher(scenes, masks, part)
        teacher = figures.of_mask(scenes, scenes.teacher, part)["accuracy"]
        mine = [figures.of_mask(scenes, mask, part)["accuracy"] for mask in masks]
        assert found["gain"] == pytest.approx(np.mean(mine) - teacher)
        assert found["scenes"] == SCENES // 2
        low, high = found["interval"]
        assert low < found["gain"] < high


def test_its_interval_is_over_scenes_and_not_over_pixels_or_seeds(scenes, probability):
    """Each scene twice as large, or each seed twice, tells nothing more."""
    mask = probability >= 0.5
    once = figures.against_teacher(scenes, [mask], "night")
    assert figures.against_teacher(scenes, [mask, mask], "night") == once
    wide = Scenes(
        *(np.repeat(a, 2, axis=2) for a in (scenes.depth, scenes.teacher, scenes.measured)),
        night=scenes.night,
        names=scenes.names,
    )
    again = figures.against_teacher(wide, [np.repeat(mask, 2, axis=2)], "night")
    assert again["interval"] == pytest.approx(once["interval"])
    assert again["clustered_mcnemar_p"] == pytest.approx(once["clustered_mcnemar_p"])


def test_a_teacher_beside_itself_gains_nothing_and_few_scenes_give_no_interval(scenes):
    found = figures.against_teacher(scenes, [scenes.teacher], "day")
    assert (found["gain"], found["interval"], found["clustered_mcnemar_p"]) == (0, None, None)
    few = Scenes(
        *(a[: intervals.LEAST_UNITS] for a in (scenes.depth, scenes.teacher, scenes.measured)),
        night=scenes.night[: intervals.LEAST_UNITS],
        names=[],
    )
    assert figures.against_teacher(few, [few.truth], "day")["interval"] is None
