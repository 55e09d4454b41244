"""Synthetic scenes on the ground: where they say, and the same where they overlap."""

import numpy as np
import pytest
import rasterio

from seaice import __main__ as cli
from seaice.io import classmap

PLACED = ("--crs", "EPSG:32622", "--origin", "400000", "7600000", "--pixel-size", "20")


def synth(out, *words):
    size = ("--height", "64", "--width", "80")
    return cli.main(["synth", "--out", str(out), *size, *words])


def files(out):
    return {p.relative_to(out): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_neighbours_share_a_tenth_of_their_columns(tmp_path):
    assert synth(tmp_path, "--scenes", "6", "--days", "2", *PLACED) == 0
    names = [f"ice_0_{n:04d}_{date}" for n, date in enumerate(["20191104"] * 3 + ["20191114"] * 3)]
    images, truths = [], []
    for number, name in enumerate(names):
        with rasterio.open(tmp_path / f"scenes/{name}.tif") as file:
            assert file.crs.to_epsg() == 32622
            assert file.transform[:6] == (
                20,
                0,
                400_000 + 20 * 72 * (number % 3),
                0,
                -20,
                7_600_000,
            )
            images.append(file.read())
        truth = classmap.read(tmp_path / f"truth/{name}.tif")
        assert truth.date == f"{name[-8:-4]}-{name[-4:-2]}-{name[-2:]}T00:00:00Z"
        truths.append(truth.label)
    for one, other in ((0, 1), (1, 2), (3, 4), (4, 5)):
        assert np.array_equal(images[one][:, :, 72:], images[other][:, :, :8])
        assert np.array_equal(truths[one][:, 72:], truths[other][:, :8])
    assert not np.array_equal(images[0], images[3])


def test_the_same_seed_writes_the_same_bytes_and_a_second_run_nothing(tmp_path):
    for folder in ("one", "other"):
        assert synth(tmp_path / folder, "--scenes", "2", *PLACED) == 0
    assert files(tmp_path / "one") == files(tmp_path / "other")
    before = {path: (tmp_path / "one" / path).stat().st_ino for path in files(tmp_path / "one")}
    assert synth(tmp_path / "one", "--scenes", "2", *PLACED) == 0
    assert {path: (tmp_path / "one" / path).stat().st_ino for path in before} == before
    assert synth(tmp_path / "one", "--scenes", "2", *PLACED[:-1], "30") == 0
    assert files(tmp_path / "one") != files(tmp_path / "other")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--days", "2"], "--days is for scenes on the ground"),
        (["--scenes", "5", "--days", "2", *PLACED], "cannot be shared out over --days 2"),
        (["--crs", "EPSG:1", *PLACED[2:]], "is not understood"),
        ([*PLACED[:-1], "0"], "--pixel-size 0.0 must be above 0"),
    ],
)
def test_what_cannot_be_laid_out_is_one_line(words, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        synth(tmp_path, *words)
