"""Figures as text: what people read, and a dash where there is no figure."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cloudmask import text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((0, "0.000"), (0.1234, "0.123"), (-0.5, "-0.500"), (5.418, "5.42"), (54.18, "54.18")),
        *((541.8, "541.8"), (5418.2, "5418"), (1.5e6, "1.5e+06"), (0.00012, "0.00012")),
        (np.float32(2.5), "2.50"),
    ],
)
def test_significant_figures_have_no_exponent_for_what_people_count(value, shown):
    assert text.significant(value) == shown


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        *((1.5, "s", "1.5 s"), (0.0123, "s", "12.3 ms"), (2.5e9, "B/s", "2.5 GB/s")),
        *((1.5e8, "B", "0.15 GB"), (4.2e6, "B/s", "4.2 MB/s"), (12, "B", "12 B")),
        *((0.5, "", "0.5"), (3.25, "1/s", "3.25 1/s")),
    ],
)
def test_unit_fits_the_value(value, unit, shown):
    assert text.with_unit(value, unit) == shown


def test_shares_and_differences():
    assert text.percent(0.1234) == "12.3 %"
    assert text.percent(0.1, 0, sign=True) == "+10 %"
    assert text.points(-0.0123) == "\N{MINUS SIGN}1.23"


@pytest.mark.parametrize("value", [None, True, "5", math.nan, math.inf])
@pytest.mark.parametrize(
    "write",
    [text.number, text.count, text.percent, text.points, text.p_value, text.significant],
)
def test_what_is_no_figure_is_a_dash(write, value):
    assert write(value) == text.NONE


def test_plurals_and_lists():
    found = [text.plural(number, "rank") for number in (0, 1, 2, 2048)]
    assert found == ["0 ranks", "1 rank", "2 ranks", "2,048 ranks"]
    assert text.listed([1, 2, 4]) == "1, 2, 4"
    assert text.listed(range(9), most=2) == "0, 1, ..."
    assert text.listed(range(2), most=2) == "0, 1"
