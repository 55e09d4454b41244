"""Scores against plain computations, against scikit-image, and over units."""

import tracemalloc

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from cloudmask.evaluate import agreement, intervals
from cloudmask.metrics import UNKNOWN
from seaice import colour, scores, spread
from seaice.colour import PAPER, THICK, THIN, WATER
from seaice.rule import Rule, label_scene

RNG = np.random.default_rng(8)


def pair(shape, seed=0):
    """Two class maps that agree in most places, with what is unknown in either."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    first = ((rows // 9 + columns // 13) % 3).astype(np.uint8)
    second = np.where(rng.random(shape) < 0.8, first, rng.integers(0, 3, shape)).astype(np.uint8)
    second[:4] = UNKNOWN
    first[:, :3] = UNKNOWN
    return first, second


def shades(classes, known):
    table = {WATER: 0, THIN: 128, THICK: 255}
    found = np.zeros(classes.shape, np.uint8)
    for index, value in table.items():
        found[(classes == index) & known] = value
    return found


def plain_similarity(first, second, known):
    """Mean structural similarity over known pixels, window by window (Wang et al. 2004)."""
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    grays = [shades(classes, known).astype(float) for classes in (first, second)]
    padded = [np.pad(gray, 3, mode="symmetric") for gray in grays]
    values = np.zeros(known.shape)
    for row, column in np.ndindex(known.shape):
        x, y = (p[row : row + 7, column : column + 7].ravel() for p in padded)
        xy = np.cov(x, y)
        above = (2 * x.mean() * y.mean() + c1) * (2 * xy[0, 1] + c2)
        below = (x.mean() ** 2 + y.mean() ** 2 + c1) * (xy[0, 0] + xy[1, 1] + c2)
        values[row, column] = above / below
    return values[known].mean()


def known_to_both(first, second):
    return (first != UNKNOWN) & (second != UNKNOWN)


def test_structural_similarity_is_that_of_the_documented_shades():
    first, second = pair((24, 30))
    known = known_to_both(first, second)
    total, pixels = scores.similarity(first, second)
    assert pixels == known.sum()
    assert total / pixels == pytest.approx(plain_similarity(first, second, known), abs=1e-12)


@pytest.mark.parametrize("shape", [(7, 7), (9, 200), (133, 40), (134, 7), (300, 90), (391, 128)])
def test_similarity_in_blocks_is_that_of_the_whole_maps(shape):
    first, second = pair(shape)
    known = known_to_both(first, second)
    total, pixels = scores.similarity(first, second)
    _, local = structural_similarity(
        shades(first, known), shades(second, known), win_size=7, data_range=255, full=True
    )
    assert pixels == known.sum()
    assert total / max(pixels, 1) == pytest.approx(local[known].mean(), abs=1e-12)


def test_maps_smaller_than_a_window_have_no_similarity():
    first, second = pair((6, 50))
    assert scores.similarity(first, second) == (0, 0)


def test_scores_of_scenes_add_up_to_the_score_of_all():
    pairs = [RNG.integers(0, 3, (2, 16, 16)).astype(np.uint8) for _ in range(3)]
    total = scores.Score()
    for reference, predicted in pairs:
        total.add(scores.score(reference, predicted))
    found = total.as_dict()
    stacked = np.stack(pairs)
    assert found["accuracy"] == pytest.approx((stacked[:, 0] == stacked[:, 1]).mean())
    assert found["scenes"] == 3
    assert np.sum(found["confusion"]) == 3 * 256


def test_what_is_unknown_is_told_as_coverage_and_counts_as_wrong_beside():
    reference = np.array([[0, 1, UNKNOWN, 2, 2]], np.uint8)
    predicted = np.array([[0, UNKNOWN, 1, 1, 2]], np.uint8)
    found = scores.score(reference, predicted).as_dict()
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["coverage"] == pytest.approx(3 / 4)
    beside = found["with_abstentions_wrong"]
    assert beside["accuracy"] == pytest.approx(2 / 4)
    assert beside["mean_iou"] == pytest.approx((1 + 0 + 1 / 2) / 3)
    assert beside["kappa"] < found["kappa"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_joint_counts_are_those_of_the_clouds(number):
    kinds = np.array([0, 1, 2, UNKNOWN], np.uint8)
    maps = [RNG.choice(kinds, (130, 70)) for _ in range(number)]
    expected = agreement.joint_counts(maps, num_classes=3)
    assert np.array_equal(scores.joint_counts(*maps), expected)


def test_what_is_no_class_and_what_does_not_fit_are_refused():
    good, bad = np.zeros((8, 8), np.uint8), np.full((8, 8), 3, np.uint8)
    with pytest.raises(ValueError, match="not 0 to 2 or 255"):
        scores.joint_counts(good, bad)
    with pytest.raises(ValueError, match="of 8 x 8 and 9 x 8 pixels"):
        scores.joint_counts(good, np.zeros((9, 8), np.uint8))


def tables_of(units, seed=0):
    """(K, K, K) joint counts [reference, a, b] of units of unequal size."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(units):
        reference = rng.integers(0, 3, rng.integers(50, 900))
        a, b = (
            np.where(
                rng.random(len(reference)) < rng.uniform(0.6, 0.95), reference, (reference + 1) % 3
            )
            for _ in range(2)
        )
        found.append(np.bincount(reference * 9 + a * 3 + b, minlength=27).reshape(3, 3, 3))
    return found


RANGES = {"accuracy": (0.0, 1.0), "mean_iou": (0.0, 1.0), "kappa": (-1.0, 1.0)}


def test_intervals_of_accuracy_are_those_of_pooled_shares():
    tables = [joint.sum(axis=2) for joint in tables_of(25)]
    hits = np.array([np.trace(table) for table in tables], float)
    pixels = np.array([table.sum() for table in tables], float)
    found = spread.of_figures(tables, scores.of_known, within=RANGES)
    assert found["accuracy"] == pytest.approx(intervals.of_pooled(hits, pixels), abs=1e-12)


@pytest.mark.parametrize("name", ["mean_iou", "kappa"])
def test_intervals_of_other_figures_follow_from_how_units_pull_them(name):
    tables = [1000 * joint.sum(axis=2) for joint in tables_of(30)]
    total, pixels = sum(tables), np.array([table.sum() for table in tables], float)
    whole = scores.of_known(total)[name]
    # What a unit does to the figure, by a small part of it more and less.
    pull = [
        (scores.of_known(total + t // 50)[name] - scores.of_known(total - t // 50)[name]) * 25
        for t in tables
    ]
    gained = (whole * pixels / pixels.sum() + np.array(pull)) * pixels.sum()
    expected = intervals.of_pooled(gained, pixels)
    found = spread.of_figures(tables, scores.of_known, within=RANGES)[name]
    assert found == pytest.approx(expected, abs=0.05 * (expected[1] - expected[0]))


def test_a_difference_of_accuracies_has_the_interval_of_paired_masks():
    joint = tables_of(40)
    padded = [np.pad(table, [(0, 1)] * 3) for table in joint]
    duels = [agreement.duel(table, a=1, b=2, reference=0) for table in padded]

    def difference(table):
        a, b = (scores.of_known(table.sum(axis=axis))["accuracy"] for axis in (2, 1))
        return {"accuracy": a - b}

    found = spread.of_figures(joint, difference, within={"accuracy": (-1, 1)})["accuracy"]
    assert found == pytest.approx(agreement.difference_interval(duels), abs=1e-12)


def test_few_units_and_equal_ones_have_no_interval():
    few = [joint.sum(axis=2) for joint in tables_of(spread.LEAST_UNITS - 1)]
    equal = [few[0]] * 30
    nothing = dict.fromkeys(RANGES)
    assert spread.of_figures(few, scores.of_known, within=RANGES) == nothing
    assert spread.of_figures(equal, scores.of_known, within=RANGES) == nothing
    assert spread.of_figures([], scores.of_known, within=RANGES) == nothing


def test_scenes_of_a_day_are_one_unit():
    names = ["a", "b", "c"]
    units, kind = spread.units_of(names, ["2024-10-01T10:00:00Z", "2024-10-01T12:00:00Z", None])
    assert (len(set(units)), kind) == (2, "day")
    assert spread.units_of(names, [None] * 3)[1] == "scene"
    tables = [np.eye(3, dtype=int)] * 3
    assert [table.sum() for table in spread.summed(tables, units)] == [6, 3]


def peak_bytes(work):
    work()  # what is loaded once does not count
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_scores_and_labels_of_large_scenes_take_few_bytes_a_pixel():
    """A tile has 1.2e8 pixels: 16 GiB were taken for its score, and 1.4 GiB for its label."""
    shape = (9000, 512)
    pixels = shape[0] * shape[1]
    first, second = pair(shape)
    assert peak_bytes(lambda: scores.score(first, second)) < 4 * pixels
    assert peak_bytes(lambda: colour.count(first)) < 4 * pixels
    image = np.repeat((first * np.uint8(90))[..., None], 3, axis=2)
    missing = np.zeros(shape, bool)
    assert peak_bytes(lambda: label_scene(image, missing, Rule(PAPER))) < 5 * pixels
