import hashlib
import itertools
from collections import Counter
from fractions import Fraction

import pytest

from cloudmask.data.prepare.split import parse_split, split_scenes

USUAL = parse_split("train=0.8,valid=0.2")


def names(count):
    return [f"S3A_{index:04d}" for index in range(count)]


def of(split, result):
    return [index for index, name in enumerate(result) if name == split]


def test_benchmark_split_of_970_scenes_is_that_of_scikit_learn():
    """Recorded from its train_test_split(range(970), test_size=0.2, random_state=42)."""
    result = split_scenes(names(970), USUAL, by="random", seed=42)
    assert Counter(result) == {"train": 776, "valid": 194}
    assert {575, 259, 388, 495, 70, 906} <= set(of("valid", result))
    digest = hashlib.sha256(str(of("valid", result)).encode()).hexdigest()
    assert digest.startswith("1ba5e47779787150")


def test_small_splits_are_those_of_scikit_learn_too():
    assert of("valid", split_scenes(names(17), USUAL, by="random", seed=42)) == [0, 1, 5, 15]
    quarter = parse_split("train=0.75,valid=0.25")
    assert of("valid", split_scenes(names(10), quarter, by="random", seed=42)) == [1, 5, 8]


@pytest.mark.parametrize("by", ["random", "blocks"])
@pytest.mark.parametrize(
    "text", ["train=1", "train=0.8,valid=0.2", "train=0.1,valid=0.45,test=0.45", "a=1/3,b=2/3"]
)
@pytest.mark.parametrize("count", [3, 4, 5, 10, 101])
def test_every_split_gets_its_share_and_none_is_empty(by, text, count):
    shares = parse_split(text)
    result = Counter(split_scenes(names(count), shares, by=by, seed=1))
    assert set(result) == set(shares)
    assert sum(result.values()) == count
    if count > 100:
        for name, share in shares.items():
            assert abs(result[name] - share * count) <= (len(shares) if by == "random" else 10)


@pytest.mark.parametrize("by", ["random", "blocks"])
def test_the_seed_decides_and_nothing_else(by):
    first, again, other = (
        split_scenes(names(50), USUAL, by=by, seed=seed) for seed in (42, 42, 43)
    )
    assert first == again != other


def product(start, cycle, orbit):
    return f"S3A_SL_1_RBT____{start}_{start}_20191002T000000_0179_{cycle:03d}_{orbit:03d}_1980_LN2"


def test_blocks_keep_an_orbit_together_and_neighbours_too():
    products = [product(f"20191001T{i:06d}", 50, i // 7) for i in range(700)]
    result = split_scenes(products, USUAL, by="blocks", seed=42)
    for orbit in range(100):
        assert len(set(result[7 * orbit : 7 * orbit + 7])) == 1
    changes = sum(a != b for a, b in itertools.pairwise(result))
    assert changes <= 10  # random: about 220
    assert Counter(result)["valid"] == pytest.approx(140, abs=40)


def test_blocks_of_a_single_orbit_cannot_be_split():
    products = [product(f"20191001T{i:06d}", 50, 7) for i in range(9)]
    with pytest.raises(ValueError, match=r"9 scenes of 1 orbit .* --split-by random"):
        split_scenes(products, USUAL, by="blocks", seed=42)


def test_one_scene_cannot_be_split_and_the_way_out_is_named():
    with pytest.raises(ValueError, match=r"1 scene cannot be split .* --split train=1"):
        split_scenes(names(1), USUAL, by="random", seed=42)
    assert split_scenes(names(1), parse_split("train=1"), by="random", seed=42) == ["train"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "train",
        "train=",
        "train=0.8;valid=0.2",
        "Train=1",
        "train=-1,valid=2",
        "a=.5,a=.5",
        "a=1,",
    ],
)
def test_split_that_is_not_understood_is_refused(text):
    with pytest.raises(ValueError, match="not understood"):
        parse_split(text)


@pytest.mark.parametrize("text", ["train=0.8,valid=0.3", "train=0.8", "train=1,valid=0", "a=0,b=0"])
def test_shares_must_be_positive_and_add_to_one(text):
    with pytest.raises(ValueError, match="exactly 1"):
        parse_split(text)


@pytest.mark.parametrize("text", ["a=1..0", "a=1/0"])
def test_share_that_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match="not a number"):
        parse_split(text)


def test_shares_are_exact():
    assert parse_split(" train=0.7, valid=0.2 ,test=0.1") == {
        "train": Fraction(7, 10),
        "valid": Fraction(1, 5),
        "test": Fraction(1, 10),
    }


def test_seed_out_of_range_is_refused():
    with pytest.raises(ValueError, match="seed -1"):
        split_scenes(names(9), USUAL, by="random", seed=-1)
