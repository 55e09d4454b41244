"""Refurbished labels: against formulas, and nearer to the truth than the labels."""

import numpy as np
import pytest

from cloudmask.labels.refurbish import (
    eta_of,
    group_names,
    group_of,
    refurbish,
    sums_of,
)


def drawn(seed=0, shape=(3, 8, 8), groups=4):
    random = np.random.default_rng(seed)
    probability = random.random(shape).astype(np.float32)
    probability[random.random(shape) < 0.05] = np.nan
    label = random.choice(np.array([0, 1, 1, 255], np.uint8), shape)
    return probability, label, random.integers(0, groups, shape).astype(np.uint8)


def test_sums_and_eta_are_their_formulas():
    probability, label, group = drawn()
    sums = sums_of(probability, label, group, 5)
    eta = eta_of(sums)
    for g in range(4):
        for b in range(2):
            p = probability[(group == g) & (label == b) & ~np.isnan(probability)].astype(float)
            p = np.clip(p, 1 / (1 + np.exp(6)), 1 / (1 + np.exp(-6)))
            assert sums[g, 1, b] == pytest.approx(p.sum(), rel=1e-12)
            assert sums[g, 0, b] == pytest.approx((1 - p).sum(), rel=1e-12)
        for a in range(2):
            assert eta[g, a] == pytest.approx(sums[g, a] / sums[g, a].sum(), rel=1e-12)
    assert np.isnan(eta[4]).all()  # nothing is known of a group without a pixel
    certain = eta_of(np.array([[[100.0, 0.0], [1.0, 99.0]]]))
    assert certain.tolist() == [[[0.98, 0.02], [0.02, 0.98]]]


def test_sums_of_parts_add_up_to_those_of_the_whole():
    parts = [drawn(seed) for seed in range(3)]
    whole = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    added = np.sum([sums_of(*part, 4) for part in parts], axis=0)
    np.testing.assert_allclose(added, sums_of(*whole, 4), rtol=1e-12)


@pytest.mark.parametrize("fill", [False, True])
def test_targets_are_the_formula_pixel_by_pixel(fill):
    probability, label, group = drawn()
    probability[0, 0, :4] = 0, 1, 1e-9, 0.5
    eta = eta_of(sums_of(probability, label, group, 4))
    made = refurbish(probability, label, group, eta, least_logit=0.4, fill=fill)
    expected = np.zeros((4, 4), int)  # labelled, changed, left out, filled of each group
    for place in np.ndindex(label.shape):
        p, b, g = float(probability[place]), int(label[place]), int(group[place])
        if np.isnan(p) or (b == 255 and not fill):
            assert made.soft[place] == 255
            continue
        with np.errstate(divide="ignore"):
            logit = np.clip(np.log(p) - np.log(1 - p), -6, 6)
        if b != 255:
            logit += np.log(eta[g, 1, b] / eta[g, 0, b])
            expected[g, 0] += 1
        if abs(logit) < 0.4:
            assert made.soft[place] == 255
            expected[g, 2] += b != 255
            continue
        assert made.soft[place] == round(254 / (1 + np.exp(-logit)))
        expected[g, 1] += b != 255 and (logit >= 0) != (b == 1)
        expected[g, 3] += b == 255
    found = np.stack([made.labelled, made.changed, made.left_out, made.filled], axis=1)
    assert found.tolist() == expected.tolist()
    assert expected[:, :3].min() > 0


def test_where_the_network_is_sure_of_a_whole_group_its_class_stays():
    """A sigmoid of float32 is 1.0 itself from a logit of 17 on: P(y = 0) is nothing then."""
    probability, label = np.ones((1, 4, 4), np.float32), np.ones((1, 4, 4), np.uint8)
    group = np.zeros(label.shape, np.uint8)
    probability[0, 0], label[0, 1] = (np.inf, -np.inf, np.nan, 1), (1, 255, 1, 1)
    sums = sums_of(probability, label, group, 1)
    made = refurbish(probability, label, group, eta_of(sums), least_logit=0.4, fill=False)
    assert made.soft[0, 0, :3].tolist() == [255] * 3
    assert made.soft[0, 1, 1] == 255
    counted = made.soft[made.soft != 255]
    assert len(counted) == 12
    assert counted.min() >= 252
    unknown = np.full((1, 2, 2), np.nan)
    made = refurbish(probability, label, group, unknown, least_logit=0.4, fill=True)
    assert np.argwhere(made.soft != 255).tolist() == [[0, 1, 1]]  # filled; no label weighs anything


def test_groups_are_told_by_what_is_measured_and_by_the_column_in_the_scene():
    complete = np.array([[[True, False, True, True]] * 4] * 2)
    column = np.array([[0, 1, 2, 3], [4, 5, 6, 7]])
    assert group_of(complete, column, None).tolist() == [[[0, 1, 0, 0]] * 4] * 2
    assert group_names(None) == ("all channels", "some missing")
    found = group_of(complete, column, (2, 5))
    assert found[:, 0].tolist() == [[2, 3, 0, 0], [0, 3, 2, 2]]
    names = [group_names((2, 5))[number] for number in (0, 1, 2, 3)]
    assert names == [
        *("all channels, in the strip", "some missing, in the strip"),
        *("all channels, beside it", "some missing, beside it"),
    ]


def test_labels_that_err_in_one_group_come_nearer_to_the_truth_there():
    """Three in ten clouds of the second group are missed; p knows nothing of that."""
    random = np.random.default_rng(1)
    truth = (random.random((40, 32, 32)) < 0.6).astype(np.uint8)
    group = (random.random(truth.shape) < 0.5).astype(np.uint8)
    missed = (truth == 1) & (group == 1) & (random.random(truth.shape) < 0.3)
    label = np.where(missed, 0, truth).astype(np.uint8)
    # Calibrated: the logit of a normal's two means, 3 and -3, is 2 * 3 / variance times the value.
    logit = random.normal(np.where(truth, 3.0, -3.0), 6**0.5) + np.log(0.6 / 0.4)
    probability = (1 / (1 + np.exp(-logit))).astype(np.float32)
    eta = eta_of(sums_of(probability, label, group, 2))
    made = refurbish(probability, label, group, eta, least_logit=0.4, fill=False)
    counts = made.soft != 255
    right = (made.soft >= 127) == (truth == 1)
    assert eta[1, 1, 0] > eta[0, 1, 0] + 0.2
    assert (label == truth)[group == 1].mean() < 0.83
    assert right[counts & (group == 1)].mean() > 0.94
    assert (label == truth).mean() < 0.92 < 0.96 < right[counts].mean()
    assert counts.mean() > 0.95
