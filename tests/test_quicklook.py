"""`cloudmask quicklook`: every mask becomes pictures that stand by themselves."""

import dataclasses
import json

import numpy as np
import pytest
import sen3
from PIL import Image

from cloudmask import __main__ as cli
from cloudmask.cli import errors
from cloudmask.data.read import read_scene
from cloudmask.predict.masks import SceneMask, classify, write_mask
from cloudmask.report import pixels, sheet
from cloudmask.report.colours import BACKGROUND, class_styles
from cloudmask.report.looks import Legend


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
    picture = framed(picture, 40, 50)
    assert (picture[0, :50] == BACKGROUND).all()
    colours = {style.colour for style in class_styles(2).values()}
    seen = {tuple(int(part) for part in pixel) for pixel in picture[1:40, :50].reshape(-1, 3)}
    assert seen <= colours
    assert (picture[40:] < 60).all(axis=-1).sum() > 50, "letters"


def framed(picture, height, width):
    """A sheet from where its picture begins, inside a grey line on all four sides."""
    for edge in (picture[[0, height + 1], : width + 2], picture[: height + 2, [0, width + 1]]):
        assert (edge == 128).all()
    return picture[1:, 1:]


def test_text_of_any_length_is_whole_and_the_title_comes_first(tmp_path):
    from PIL import ImageFont

    name = "S3A_SL_1_RBT____20170313T110000_20170313T110300_20170313T130000_0179_SVL_O_NR_004"
    font = ImageFont.load_default(sheet.TEXT)
    for text in (name, f"short {name} words", "open water with waves on it and foam, and more"):
        lines = sheet.wrapped(text, 200, font)
        assert len(lines) > 1
        assert "".join("".join(lines).split()) == "".join(text.split())
        assert max(font.getlength(line) for line in lines) <= 200
    white = np.full((30, 3, 3), 255, np.uint8)
    short, long, other = (
        sheet.sheet(white, *words, Legend()) for words in (("A", "s"), ("A", name), ("B", name))
    )
    line = slice(30 + 2 + sheet.MARGIN, 30 + 2 + sheet.MARGIN + sheet.LINE)
    framed(long, 30, 3)
    np.testing.assert_array_equal(long[line], short[line])
    assert (long[line] != other[line]).any()
    assert len(long) >= len(short) + sheet.LINE
    assert (long[:, -sheet.MARGIN // 2 :] == 255).all(), "nothing is cut"


def test_a_legend_that_is_too_long_goes_on_in_the_next_line():
    white = np.full((30, 3, 3), 255, np.uint8)
    swatch = pixels.data_address(pixels.encode(np.zeros((10, 20, 3), np.uint8)))
    words = "open water with waves on it and foam and more words here"
    legend = Legend(((swatch, words), (swatch, "thin"), (swatch, "thick")))
    found = sheet.sheet(white, "Network", "s", legend)
    few = sheet.sheet(white, "Network", "s", Legend(legend.swatches[1:]))
    assert len(found) == len(few) + 2 * sheet.LINE
    assert (found[:, -sheet.MARGIN // 2 :] == 255).all(), "nothing is cut"


def test_the_scene_is_read_as_it_was_for_the_mask(tmp_path, capsys):
    """With another largest solar zenith there are other reflectances to show."""
    product = sen3.write_product(tmp_path, sen3.make_values())
    scene = read_scene(product, need_label=False)
    probability = np.zeros((*scene.image.shape[:2], 1), np.float32)
    found = classify(probability, threshold=0.5)
    seen = []
    for zenith in (88.0, 30.0):
        options = json.dumps({"max_solar_zenith": zenith, "drop_flagged": [], "oblique": False})
        mask = SceneMask("s", scene.classes, probability, None, found)
        path = tmp_path / f"{zenith:g}.nc"
        write_mask(path, dataclasses.replace(mask, attributes={"options": options}))
        assert run(path, "--scene", product, "--out", tmp_path / "looks") == 0
        seen.append((tmp_path / f"looks/{zenith:g}-colour.png").exists())
    assert seen == [True, False], "the sun is never 60 degrees high there"
    write_mask(path, dataclasses.replace(mask, attributes={"options": '{"oblique": 3}'}))
    capsys.readouterr()
    assert run(path, "--scene", product, "--out", tmp_path / "looks") == 1
    told = capsys.readouterr().err
    assert "30.nc does not tell how its scene was read" in told
    assert told.count("\n") == 1


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
