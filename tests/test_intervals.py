"""Intervals of differences: they hold what they say, or there is none."""

import numpy as np
import pytest

from benchmarks import intervals as simulated
from cloudmask.data.acquisition import orbit_of
from cloudmask.evaluate import agreement, intervals
from cloudmask.evaluate.agreement import Duel

SAFE = (
    "S3A_SL_1_RBT____20191001T{time}_20191001T{time}_20191002T000000_0179_050_{orbit}_LN2_O_NT_003"
)


def duels(seed, scenes, *, worse=0.0):
    """Scenes of 1000 pixels in which the first mask gains 20 and sometimes loses much."""
    rng = np.random.default_rng(seed)
    lost = np.where(rng.random(scenes) < worse, 150, 0)
    a_only = rng.binomial(200, 0.55, scenes)
    return [Duel(700, int(a), int(200 - a + b), 100) for a, b in zip(a_only, lost, strict=True)]


@pytest.mark.parametrize("population", simulated.SMOOTH)
@pytest.mark.parametrize(("scenes", "by_orbit"), [(20, False), (50, False), (100, True)])
def test_nineteen_of_twenty_studies_hold_the_true_difference(population, scenes, by_orbit):
    found = simulated.row(population, scenes, by_orbit, studies=1500)
    assert found["given"] == 1
    assert found["covered_where_given"] > 0.925  # 0.93 but for the chance of 1500 studies
    assert found["before"] < found["covered_where_given"]


def test_a_network_that_fails_in_one_scene_of_ten_is_not_judged_by_a_few():
    few, many = (simulated.row("rare", scenes, False, studies=1500) for scenes in (12, 50))
    assert few["given"] == 0
    assert few["covered"] < 0.85, "which is why"
    assert many["covered_where_given"] > 0.925


def test_units_that_differ_by_rounding_alone_have_no_interval():
    gained = np.arange(1, 31, dtype=float)
    assert intervals.of_pooled(gained, 3 * gained) is None


def test_six_scenes_and_twenty_of_four_orbits_have_no_interval():
    assert agreement.difference_interval(duels(1, 6)) is None
    assert agreement.difference_interval(duels(1, 19)) is None
    assert agreement.difference_interval(duels(1, 20)) is not None
    names = [SAFE.format(time=f"{n:06d}", orbit=f"{n % 4 + 1:03d}") for n in range(20)]
    groups, unit = agreement.groups_of(names)
    units = agreement.units_of(duels(1, 20), groups)
    assert (unit, len(units)) == ("orbit", 4)
    assert agreement.difference_interval(units) is None


def test_neighbours_of_one_orbit_do_not_make_an_interval_narrower():
    once = duels(2, 24, worse=0.2)
    names = [
        SAFE.format(time=f"00{n // 60:02d}{n % 60:02d}", orbit=f"{n % 24 + 1:03d}")
        for n in range(120)
    ]
    units = agreement.units_of(once * 5, agreement.groups_of(names)[0])
    np.testing.assert_allclose(
        agreement.difference_interval(units), agreement.difference_interval(once)
    )
    alone = agreement.difference_interval(once * 5)
    assert np.ptp(alone) < 0.6 * np.ptp(agreement.difference_interval(once))
    assert agreement.clustered_mcnemar(units) == agreement.clustered_mcnemar(once)


def test_scenes_that_do_not_differ_say_nothing_of_how_far_they_may():
    assert agreement.difference_interval([Duel(90, 4, 2, 4)] * 20) is None
    assert agreement.difference_interval([]) is None


def test_one_orbit_that_holds_most_pixels_widens_the_interval():
    few = np.array([8.0, 12, 9, 11, 10, 10, 9, 11, 8, 12] * 2)
    plain = intervals.of_pooled(few, np.full(20, 1000.0))
    pixels = np.array([181_000.0, *[1000] * 19])
    held = intervals.of_pooled(few * pixels / 1000, pixels)
    assert np.ptp(held) > 3 * np.ptp(plain)


@pytest.mark.parametrize("degrees", [1, 1.7, 2, 5.5, 30, 4000, 1e6])
def test_quantiles_are_those_of_students_distribution(degrees):
    stats = pytest.importorskip("scipy.stats")
    assert intervals.quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=3e-4)


def test_degrees_of_freedom_are_those_of_the_whole_table():
    """Satterthwaite's figure as tr(A)^2 / tr(A^2), A being the M x M form of the variance."""
    weight = np.array([0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.04, 0.03, 0.03])
    centre = np.eye(len(weight)) - np.outer(np.ones(len(weight)), weight)
    form = centre.T @ np.diag(weight**2 / (1 - weight)) @ centre
    expected = np.trace(form) ** 2 / np.trace(form @ form)
    assert intervals._degrees_of_freedom(weight) == pytest.approx(expected)
    assert intervals._degrees_of_freedom(np.full(12, 1 / 12)) == pytest.approx(11)


def test_thirty_thousand_scenes_take_no_memory_to_speak_of():
    import tracemalloc

    rng = np.random.default_rng(0)
    pixels = rng.uniform(1e6, 2e6, 30_000)
    gained = pixels * rng.normal(0.01, 0.05, 30_000)
    tracemalloc.start()
    low, high = intervals.of_pooled(gained, pixels)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert 0.009 < low < high < 0.011


@pytest.mark.parametrize(
    ("name", "orbit"),
    [
        (SAFE.format(time="101112", orbit="123"), "S3A_050_123"),
        (SAFE.format(time="101112", orbit="123").replace("S3A", "S3D") + ".SEN3", "S3D_050_123"),
        ("S03SLSRBT_20191227T124111_0179_A123_S00_ABCD", "S3A_053_123"),
        ("S03SLSRBT_20191399T124111_0179_A123_S00_ABCD", None),
        ("landsat", None),
    ],
)
def test_orbits_are_read_from_names(name, orbit):
    assert orbit_of(name) == orbit
    groups, unit = agreement.groups_of([name, "another"])
    assert (len(set(groups)), unit) == (2, "orbit" if orbit else "scene")


@pytest.mark.parametrize(
    "name",
    [  # real ones
        "S3A_SL_1_RBT____20170313T110343_20170313T110643_20170314T172757_0179_015_208_2520",
        "S3A_SL_1_RBT____20170602T090746_20170602T091046_20181003T205946_0179_018_207_____",
        "S3A_SL_1_RBT____20200522T231202_20200522T231502_20200524T053503_0179_058_286_5580",
        "S3A_SL_1_RBT____20220118T083600_20220118T083900_20220118T110259_0179_081_064_2160",
        "S3A_SL_1_RBT____20250428T081931_20250428T082231_20250428T104108_0179_125_178_1620",
        "S3B_SL_1_RBT____20181221T002724_20181221T003024_20181222T080855_0179_020_059_3060",
        "S3B_SL_1_RBT____20200824T105515_20200824T105815_20200825T151744_0179_042_322_2340",
        "S3B_SL_1_RBT____20230315T095847_20230315T100147_20230316T030042_0179_077_150_4320",
        "S3B_SL_1_RBT____20260118T231041_20260118T231341_20260119T014624_0180_115_358_1080",
    ],
)
def test_an_orbit_is_one_whoever_names_it(name):
    cycle, orbit = name.split("_")[-3:-1] if not name.endswith("_____") else ("018", "207")
    assert orbit_of(name) == f"{name[:3]}_{cycle}_{orbit}"
    assert orbit_of(f"S03SLSRBT_{name[16:31]}_0179_{name[2]}{orbit}_S015") == orbit_of(name)
