import numpy as np
import pytest

from cloudmask.metrics import confusion, derive

CLASSES = ("sea", "land", "cloud")


@pytest.fixture
def masks():
    """(4, 9, 7) labels with unknown pixels, and predictions that are right half of the time."""
    rng = np.random.default_rng(0)
    label = rng.choice([0, 1, 2, 2, 2, 255], (4, 9, 7)).astype(np.uint8)
    guess = rng.integers(0, 3, label.shape)
    right = rng.random(label.shape) < 0.5
    return label, np.where(right & (label != 255), label, guess).astype(np.int32)


def plain_counts(label, predicted):
    """Pixel by pixel."""
    counts = [[0] * 3 for _ in range(3)]
    for truth, answer in zip(label.ravel().tolist(), predicted.ravel().tolist(), strict=True):
        if truth != 255:
            counts[truth][answer] += 1
    return counts


def test_counts_equal_those_of_a_plain_loop(masks):
    counts = confusion(*masks, num_classes=3)
    assert counts.tolist() == plain_counts(*masks)
    assert counts.dtype == np.int64


def test_counts_of_parts_add_to_those_of_the_whole(masks):
    label, predicted = masks
    parts = [confusion(label[i], predicted[i], num_classes=3) for i in range(len(label))]
    assert sum(parts).tolist() == confusion(label, predicted, num_classes=3).tolist()


def test_unknown_pixels_never_count(masks):
    label, predicted = masks
    other = np.where(label == 255, 2 - predicted, predicted)
    assert (other != predicted).any()
    assert np.array_equal(
        confusion(label, other, num_classes=3), confusion(label, predicted, num_classes=3)
    )
    # Predictions that no class has are no matter where the label is unknown.
    wild = np.where(label == 255, 99, predicted)
    confusion(label, wild, num_classes=3)
    assert confusion(np.full(5, 255), np.zeros(5), num_classes=2).sum() == 0


def test_figures_equal_those_of_a_plain_loop(masks):
    label, predicted = masks
    known = label != 255
    found = derive(confusion(label, predicted, num_classes=3), CLASSES)
    hits = (label == predicted)[known]
    assert found.pixels == known.sum()
    assert found.accuracy == pytest.approx(hits.mean())
    assert found.majority == pytest.approx(max((label[known] == i).mean() for i in range(3)))
    ious, recalls = [], []
    for index, name in enumerate(CLASSES):
        truth, answer = label[known] == index, predicted[known] == index
        both, either = (truth & answer).sum(), (truth | answer).sum()
        ious.append(both / either)
        recalls.append(both / truth.sum())
        precision = both / answer.sum()
        assert found.iou[name] == pytest.approx(ious[-1])
        assert found.recall[name] == pytest.approx(recalls[-1])
        assert found.precision[name] == pytest.approx(precision)
        harmonic = 2 / (1 / precision + 1 / recalls[-1])
        assert found.f1[name] == pytest.approx(harmonic)
    assert found.mean_iou == pytest.approx(np.mean(ious))
    assert found.balanced_accuracy == pytest.approx(np.mean(recalls))
    assert found.confusion == plain_counts(label, predicted)


def test_kappa_is_agreement_beyond_chance(masks):
    label, predicted = masks
    counts = confusion(label, predicted, num_classes=3)
    share = counts / counts.sum()
    observed = np.trace(share)
    expected = sum(share[i].sum() * share[:, i].sum() for i in range(3))
    kappa = derive(counts, CLASSES).kappa
    assert kappa == pytest.approx((observed - expected) / (1 - expected))
    # The textbook example of two readers and 50 proposals: 20, 5, 10, 15.
    assert derive(np.array([[20, 5], [10, 15]]), ("yes", "no")).kappa == pytest.approx(0.4)
    assert derive(np.array([[30, 0], [0, 20]]), ("yes", "no")).kappa == pytest.approx(1)


def test_a_class_that_never_occurs_has_no_figures_and_spoils_no_mean():
    found = derive(np.array([[8, 2, 0], [1, 9, 0], [0, 0, 0]]), CLASSES)
    for figure in (found.iou, found.f1, found.precision, found.recall):
        assert figure["cloud"] is None
    assert found.balanced_accuracy == pytest.approx((0.8 + 0.9) / 2)
    assert found.mean_iou == pytest.approx((8 / 11 + 9 / 12) / 2)


def test_a_class_that_is_only_predicted_counts_as_wrong():
    found = derive(np.array([[8, 2], [0, 0]]), ("clear", "cloud"))
    assert (found.iou["cloud"], found.precision["cloud"], found.f1["cloud"]) == (0, 0, 0)
    assert found.recall["cloud"] is None
    assert found.balanced_accuracy == 0.8
    assert found.mean_iou == pytest.approx(0.4)


def test_nothing_counted_has_no_figures():
    found = derive(np.zeros((2, 2)), ("clear", "cloud"))
    assert found.pixels == 0
    assert found.accuracy is found.majority is found.kappa is found.mean_iou is None
    # One class alone, always right: agreement by chance is complete, so kappa is not defined.
    alone = derive(np.array([[7, 0], [0, 0]]), ("clear", "cloud"))
    assert (alone.accuracy, alone.kappa) == (1, None)


def test_counts_of_an_archive_do_not_overflow():
    counts = np.array([[3 * 10**12, 10**12], [10**12, 5 * 10**12]])
    found = derive(counts, ("clear", "cloud"))
    assert found.accuracy == pytest.approx(0.8)
    assert found.kappa == pytest.approx(derive(counts // 10**10, ("clear", "cloud")).kappa)


def test_figures_are_plain_values_for_json(masks):
    values = derive(confusion(*masks, num_classes=3), CLASSES).as_dict()
    assert {type(value) for value in values.values()} == {int, float, dict, list}


@pytest.mark.parametrize(
    ("label", "predicted", "message"),
    [
        ([0, 3], [0, 0], "a label of 3 is outside the 2 classes"),
        ([0, 1], [0, 2], "a prediction of 2 is outside the 2 classes"),
        ([0, 1], [-1, 1], "a prediction of -1 is outside the 2 classes"),
        ([0, 1, 1], [0, 1], "differ in shape"),
    ],
)
def test_what_cannot_be_counted_is_refused(label, predicted, message):
    with pytest.raises(ValueError, match=message):
        confusion(np.array(label), np.array(predicted), num_classes=2)


def test_counts_and_classes_must_fit():
    with pytest.raises(ValueError, match="do not fit 2 classes"):
        derive(np.zeros((3, 3)), ("clear", "cloud"))
