"""`cloudmask quicklook`: every mask becomes pictures that stand by themselves."""

import numpy as np
import pytest
from PIL import Image

from cloudmask import __main__ as cli
from cloudmask.cli import errors
from cloudmask.predict.masks import SceneMask, classify, write_mask
from cloudmask.report.colours import BACKGROUND, class_styles


@pytest.fixture
def work(tmp_path):
    """Two masks of 40 x 50 pixels, the first row missing, and the scene of the first."""
    rng = np.random.default_rng(0)
    for number, classes in enumerate([("clear", "cloud"), ("water", "thin ice", "thick ice")]):
        kinds = 1 if number == 0 else 3
        probability = rng.dirichlet([1] * 3, (40, 50))[..., :kinds].astype(np.float32)
        probability[0] = np.nan
        found = classify(probability, threshold=0.5)
        mask = SceneMask(f"s{number}", classes, probability, None, found)
        write_mask(tmp_path / "masks" / f"s{number}.nc", mask)
    image = rng.random((40, 50, 3)).astype(np.float32)
    image[0] = np.nan
    label = rng.integers(0, 2, (40, 50)).astype(np.uint8)
    names = {"channels": ("red", "green", "blue"), "classes": ("clear", "cloud")}
    np.savez(tmp_path / "s0.npz", image=image, label=label, **names)
    return tmp_path


def run(*words):
    return errors.run(cli.main, ["quicklook", *map(str, words)], program="cloudmask")


def test_every_mask_of_a_folder_is_drawn_with_title_and_legend(work, capsys):
    assert run(work / "masks", "--out", work / "looks") == 0
    assert capsys.readouterr().out == f"4 pictures of 2 masks in {work / 'looks'}\n"
    names = {f"s{number}-{kind}.png" for number in (0, 1) for kind in ("network", "probability")}
    assert {path.name for path in (work / "looks").iterdir()} == names
    picture = np.asarray(Image.open(work / "looks" / "s0-network.png").convert("RGB"))
    assert picture.shape[0] > 40, "a legend stands below"
    assert picture.shape[1] >= 300, "wide enough to be read"
    assert (picture[0, :50] == BACKGROUND).all()
    colours = {style.colour for style in class_styles(2).values()}
    seen = {tuple(int(part) for part in pixel) for pixel in picture[1:40, :50].reshape(-1, 3)}
    assert seen <= colours
    assert (picture[40:] < 60).all(axis=-1).sum() > 50, "letters"


def test_with_the_scene_there_are_its_colours_label_and_differences(work):
    assert run(work / "masks/s0.nc", "--scene", work / "s0.npz", "--out", work / "looks") == 0
    kinds = {path.stem.partition("-")[2] for path in (work / "looks").iterdir()}
    assert kinds == {"colour", "label", "network", "difference", "probability"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["masks", "--scene", "s0.npz"], "--scene goes with a single mask, and 2 are named"),
        (["s0.npz"], "s0.npz is no mask file; give .nc, .h5, .tif or a folder"),
        (["nothing.nc"], "nothing.nc is no mask file"),
        (["empty"], "empty holds no masks; predict first"),
        (["masks", "again"], "would give pictures of the same names"),
        (["damaged/s3.nc"], "s3.nc is not a mask of this program"),
        (["masks/s1.nc", "--scene", "s0.npz"], "s1.nc: its scene has classes clear, cloud instead"),
        (["small.nc", "--scene", "s0.npz"], "do not belong together"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(work, monkeypatch, capsys, words, told):
    monkeypatch.chdir(work)
    (work / "empty").mkdir()
    for folder in ("again", "damaged"):
        (work / folder).mkdir()
    (work / "again/s0.nc").write_bytes((work / "masks/s0.nc").read_bytes())
    (work / "damaged/s3.nc").write_bytes(b"half")
    small = np.zeros((4, 5, 1), np.float32)
    found = classify(small, threshold=0.5)
    write_mask(work / "small.nc", SceneMask("small", ("clear", "cloud"), small, None, found))
    assert run(*words, "--out", "looks") == 1
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1


def test_a_damaged_mask_among_others_is_left_out(work, capsys):
    (work / "masks/s3.nc").write_bytes(b"half")
    assert run(work / "masks", "--out", work / "looks") == 1
    told = capsys.readouterr()
    assert "s3.nc is not a mask of this program" in told.err
    assert told.out == f"4 pictures of 3 masks in {work / 'looks'}, 1 failed\n"
