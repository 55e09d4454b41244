"""Joint counts and what follows from them, against plain computations pixel by pixel."""

import numpy as np
import pytest

from cloudmask import metrics
from cloudmask.evaluate import agreement
from cloudmask.evaluate.agreement import Duel


def masks(seed, *, classes=3, shape=(40, 50)):
    """Four masks that agree often, each unknown in places of its own."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, shape).astype(np.uint8)
    found = []
    for wrong in (0.1, 0.2, 0.3, 0.0):
        mask = np.where(rng.random(shape) < wrong, rng.integers(0, classes, shape), truth)
        mask[rng.random(shape) < 0.1] = 255
        found.append(mask.astype(np.uint8))
    return found


@pytest.mark.parametrize("of", range(4))
@pytest.mark.parametrize("against", range(4))
def test_every_pair_is_the_confusion_of_what_both_know(of, against):
    if of == against:
        return
    four = masks(1)
    known = (four[of] != 255) & (four[against] != 255)
    expected = metrics.confusion(four[against][known], four[of][known], num_classes=3)
    joint = agreement.joint_counts(four, num_classes=3)
    np.testing.assert_array_equal(agreement.known(joint, against, of), expected)


@pytest.mark.parametrize(("a", "b", "reference"), [(0, 1, 3), (3, 0, 2), (2, 1, 0)])
def test_a_duel_counts_who_is_right_where_all_three_know(a, b, reference):
    four = masks(2)
    known = (four[a] != 255) & (four[b] != 255) & (four[reference] != 255)
    right_a = four[a][known] == four[reference][known]
    right_b = four[b][known] == four[reference][known]
    duel = agreement.duel(
        agreement.joint_counts(four, num_classes=3), a=a, b=b, reference=reference
    )
    assert duel.both_right == np.sum(right_a & right_b)
    assert duel.a_only == np.sum(right_a & ~right_b)
    assert duel.b_only == np.sum(~right_a & right_b)
    assert duel.pixels == known.sum()


def test_a_part_and_a_mask_that_is_not_there():
    four = masks(3)
    part = np.zeros(four[0].shape, bool)
    part[:10] = True
    joint = agreement.joint_counts([four[0], None, four[2], None], num_classes=3, where=part)
    assert joint.sum() == part.sum()
    assert not agreement.known(joint, 1, 0).any()
    known = part & (four[0] != 255) & (four[2] != 255)
    assert agreement.known(joint, 2, 0).sum() == known.sum()


def test_masks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not lie on each other"):
        agreement.joint_counts(
            [np.zeros((3, 3), np.uint8), np.zeros((3, 4), np.uint8)], num_classes=2
        )
    with pytest.raises(ValueError, match="beyond the 2"):
        agreement.joint_counts([np.full((3, 3), 2, np.uint8)], num_classes=2)


def test_mcnemar_of_a_published_table():
    # Agresti, Categorical Data Analysis: approval of a prime minister, 150 against 86 changed;
    # 17.36 without the correction, (64 - 1)^2 / 236 with it.
    chi2, p = agreement.mcnemar(150, 86)
    assert chi2 == pytest.approx(63**2 / 236)
    stats = pytest.importorskip("scipy.stats")
    assert p == pytest.approx(stats.chi2.sf(chi2, 1), rel=1e-10)
    assert agreement.mcnemar(0, 0) is None
    assert agreement.mcnemar(5, 5) == (0.0, 1.0)


def equal_masks(rng, scenes, *, shared):
    """Duels of two masks that are equally good; `shared` is how alike the pixels of a scene are."""
    made = []
    for _ in range(scenes):
        lean = np.clip(0.5 + shared * rng.normal(), 0, 1)
        a_only = rng.binomial(200, lean)
        made.append(Duel(700, a_only, 200 - a_only, 100))
    return made


def test_only_the_test_by_scenes_keeps_its_level_where_pixels_go_together():
    rng = np.random.default_rng(4)
    studies = [equal_masks(rng, 20, shared=0.2) for _ in range(400)]
    by_scene = np.mean([agreement.clustered_mcnemar(study)[1] < 0.05 for study in studies])
    by_pixel = np.mean(
        [
            agreement.mcnemar(sum(d.a_only for d in study), sum(d.b_only for d in study))[1] < 0.05
            for study in studies
        ]
    )
    assert by_scene < 0.08
    assert by_pixel > 0.3


def test_a_mask_that_is_better_in_every_scene_is_found_better():
    duels = [Duel(700, 150 + n % 12, 50, 100) for n in range(24)]
    _, p = agreement.clustered_mcnemar(duels)
    low, high = agreement.difference_interval(duels)
    assert p < 0.01
    assert 0.1 < low < high < 0.12
    assert agreement.clustered_mcnemar([Duel(10, 0, 0, 5)]) is None
