"""The report's page: its words follow from the figures, and nothing from a file is trusted."""

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import browser
import evaluation_fake
import numpy as np
import pytest
from PIL import Image

from cloudmask import __main__ as cli
from cloudmask.predict.masks import SceneMask, classify, write_netcdf
from cloudmask.report import colours, highlights, pixels
from cloudmask.report.highlights import worst_first
from cloudmask.report.sentences import comparison, mcnemar, trained
from cloudmask.report.sources import Part, Run

MARKUP = "<script>alert(1)</script>"
CHANNELS = ("S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9")


def write_mask(path, truth, *, classes=("clear", "cloud"), wrong=0.1, model="run", seed=0):
    """A mask that is right but for a share of its pixels; the first rows are missing."""
    rng = np.random.default_rng(seed)
    given = np.where(rng.random(truth.shape) < wrong, (truth + 1) % len(classes), truth)
    if len(classes) == 2:
        probability = np.where(given == 1, 0.9, 0.2)[..., None].astype(np.float32)
    else:
        probability = (0.1 + 0.7 * np.eye(len(classes))[given]).astype(np.float32)
    probability[:3] = np.nan
    mask = classify(probability, threshold=0.5)
    attributes = {"model": str(model), "options": '{"threshold": 0.5}'}
    path.parent.mkdir(parents=True, exist_ok=True)
    scene = SceneMask(path.stem, tuple(classes), probability, None, mask, attributes=attributes)
    write_netcdf(path, scene)


def write_scene(
    path, *, classes=("clear", "cloud"), channels=CHANNELS, night=False, seed=0, **more
):
    """A scene of 70 x 90 pixels; its label is right but for a twentieth. Gives the truth."""
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, len(classes), (7, 9)), np.ones((10, 10))).astype(np.uint8)
    image = rng.normal(0.3 + 0.2 * truth[..., None], 0.02, (70, 90, len(channels)))
    image[..., -2:] = 290 - 20.0 * truth[..., None] + rng.normal(0, 1, (70, 90, 2))
    if night:
        image[..., :6] = np.nan
    image[:3] = np.nan
    label = np.where(rng.random(truth.shape) < 0.05, (truth + 1) % len(classes), truth)
    label[10:14] = 255
    names = {"channels": np.array(channels), "classes": np.array(classes)}
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"image": image.astype(np.float32), "label": label.astype(np.uint8), **more}
    np.savez(path, **arrays, **names)
    return truth


def write_run(folder, *, epochs=3):
    """What a training leaves behind."""
    folder.mkdir(parents=True)
    history = [
        {
            "epoch": epoch,
            "loss": 1 / epoch,
            "patches_per_second": 10.0 + epoch,
            "valid": {"loss": 1.1 / epoch, "accuracy": 0.7 + 0.05 * epoch, "majority": 0.6},
        }
        for epoch in range(1, epochs + 1)
    ]
    summary = {
        **{"format": "cloudmask-summary", "status": "finished", "stopped_by": "epochs"},
        **{"date": "2026-11-20T10:11:12.000+00:00", "commit": "abcdef0123456789+"},
        **{"ranks": 2, "global_batch": 8, "steps_run": 30, "epochs_run": epochs, "seed": 5},
        **{"precision": "bfloat16", "patchset": "cafe" * 16, "config": {"data": "the/patches"}},
        **{"channels": list(CHANNELS), "history": history, "best": history[-1]["valid"]},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "environment.json").write_text(json.dumps({"cpu": "A processor", "cores": 2}))
    (folder / "config.yaml").write_text(f"data: the/patches\nout: {MARKUP}\n")
    evaluation = {"split": "valid", "patches": 9, "accuracy": 0.81, "majority": 0.6, "pixels": 99}
    (folder / "evaluation-valid.json").write_text(json.dumps(evaluation))
    return folder


def report(*words):
    assert cli.main(["report", *map(str, words)]) == 0


def refused(*words):
    """The message of a report that cannot be made, which must be one line."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        cli.main(["report", *map(str, words)])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    """A run, three scenes with hostile names, their masks within the run, and an evaluation."""
    top = tmp_path_factory.mktemp("report")
    run = write_run(top / "run")
    names = [f"{MARKUP.replace('/', '')} 'quote' \"double\"", "night & day", "..plain"]
    scenes = [top / "scenes" / f"{name}.npz" for name in names]
    for number, path in enumerate(scenes):
        night = number == 1
        truth = write_scene(path, night=night, seed=number)
        with np.load(path) as file:
            arrays = dict(file)
        np.savez(path, **arrays, truth=truth, summary=np.zeros_like(truth))
        wrong = (0.1, 0.3, 0.2)[number]
        write_mask(run / "masks" / f"{path.stem}.nc", truth, wrong=wrong, model=run, seed=number)
    failed = {f"scenes/{MARKUP}.npz": f"broken {MARKUP}"}
    evaluation_fake.write(run / "masks", scenes, failed=failed)
    return run / "masks"


@pytest.fixture(scope="module")
def page(masks, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "a page.html"
    report(masks.parent, "--out", out)
    return out


def plain(text):
    """The words of a page, without markup."""
    text = re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", text, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_page_says_what_was_measured(page, masks):
    words = plain(page.read_text())
    found = json.loads((masks / "evaluation.json").read_text())
    duel = found["comparisons"][0]
    assert duel["interval"][1] < 0  # the network is wrong four times as often as its label
    assert "The network seems worse than the Bayesian mask (any bit) it learned from" in words
    shares = [f"{100 * duel[key]:.2f} %" for key in ("accuracy_a", "accuracy_b")]
    assert f"the network is right on {shares[0]} of the pixels" in words
    assert f"the Bayesian mask (any bit) on {shares[1]}: a difference" in words
    assert "worse one in 3" in words
    truth = found["pooled"]["truth"]
    assert f"truth {truth['pixels']:,} {truth['accuracy']:.4f} {truth['majority']:.4f}" in words
    assert "legacy: whole frames, mean over scenes 0.5000" in words
    for text in ("Commit 0123456789ab", "A processor, 2 cores", "feedbeef", "a night scene"):
        assert text in words, text
    assert "1 scene could not be evaluated and is left out" in words
    assert "All 3 scenes, worst first" in words
    assert "No daylight: nothing was measured in S5, S3, S1" in words


def test_model_card_is_made_of_the_records_alone(page, masks, tmp_path):
    words = plain(page.read_text().partition('-card">Model card</h2>')[2].partition("<h2")[0])
    for text in (
        "Channels S1, S2, S3, S4, S5, S6, S7, S8, S9",
        "(clear, cloud) and how sure it is; cloud from a probability of 0.5 on.",
        "Patch set cafecafecafecafe",
        "3 whole scenes",
        "points, 95 % interval over 3 scenes",
        "Range of the sun's zenith angle: not in the records.",
        "Sensors: not in the records.",
        "Tried by day only.",
    ):
        assert text in words, text
    found = json.loads((masks / "evaluation.json").read_text())
    found["options"]["max_solar_zenith"] = 88.0
    found["classes"][1] = MARKUP
    duel = found["comparisons"][0]
    duel |= {"interval": None, "unit": "orbit", "units": 2, "least_units": 8}
    for scene in found["scenes"]:
        scene["name"] = "S3B_SL_1_RBT____20170313T110000_20170313T110300_20170313T130000"
    found["scenes"][0]["name"] = "S03SLSRBT_20191001T113221_0180_A035_T883"
    found["options"]["sha256"] = ["ab" * 32, "cd" * 32]
    found["members"]["label"] = "label"
    day = found["regions"]["day"]
    found["regions"] |= {name: json.loads(json.dumps(day)) for name in ("night", "sea")}
    found["regions"]["night"]["truth"]["accuracy"] += 1e-5  # the same as printed
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "evaluation.json").write_text(json.dumps(found))
    report(tmp_path / "masks", "--out", tmp_path / "report.html", "--show", 0)
    text = (tmp_path / "report.html").read_text()
    assert "<script" not in text
    words = plain(text)
    assert "the sun stands beyond 88 degrees" in words
    assert "Sensors: Sentinel-3A SLSTR, Sentinel-3B SLSTR." in words
    assert "Tried by day, by night and over sea only." in words
    assert "weakest" not in words
    assert "teacher was" not in words
    assert "scenes tried: label" not in words
    assert f"sha256 {'ab' * 8} and {'cd' * 8}" in words.replace("\u200b", "")
    assert "without an interval, which cannot be had from 2 orbits" in words


def test_worst_scene_comes_first(page, masks):
    titles = re.findall(r"<h3>(\d)\.&nbsp;(.*?)</h3>", page.read_text())
    assert [html.unescape(name)[:5] for _, name in titles] == ["night", "..pla", "<scri"]
    scenes = [
        {"name": name, "against": {"truth": {"accuracy": value}}}
        for name, value in (("b", 0.5), ("none", None), ("a", 0.5), ("c", 0.1))
    ]
    assert [scene["name"] for scene in worst_first(scenes, "truth")] == ["c", "a", "b", "none"]


def test_names_from_files_are_text_and_never_markup(page):
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert 'alt="' in text
    assert "broken &lt;script&gt;" in text
    assert "out: &lt;script&gt;" in text


def test_class_names_are_text_in_tables_figures_and_pictures(tmp_path):
    classes = ("clear", '"><script>alert(2)</script>$x$')
    path = tmp_path / "scene.npz"
    truth = write_scene(path, classes=classes)
    evaluation = tmp_path / "masks"
    write_mask(evaluation / "scene.nc", truth)
    evaluation_fake.write(evaluation, [path])
    found = json.loads((evaluation / "evaluation.json").read_text())
    hostile = json.loads(json.dumps(found).replace('"cloud"', json.dumps(classes[1])))
    (evaluation / "evaluation.json").write_text(json.dumps(hostile))
    report(evaluation, "--out", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "<script" not in text
    assert 'aria-label="Reliability of &quot;&gt;&lt;script&gt;' in text


def test_page_asks_for_nothing_and_links_only_its_pictures(page):
    text = page.read_text()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    outside = [a for a in addresses if not a.startswith(("data:image/", "#"))]
    folder = page.with_name("a page_files")
    assert {Path(unquote(html.unescape(a))).name for a in outside} == {
        path.name for path in folder.iterdir()
    }
    assert all(unquote(html.unescape(a)).startswith("a page_files/") for a in outside)
    assert len(set(outside)) == 3 * 7 - 1  # no false colour by night
    assert len(outside) == len(set(outside)) + 3 * 4  # the telling scenes show four each
    assert "http" not in re.sub(r"<svg.*?>|data:image/[^\"]*", "", text)
    for path in folder.iterdir():
        assert re.fullmatch(r"\d{4}-[A-Za-z0-9_-]+\.png", path.name)
        with Image.open(path) as image:
            assert image.size == (90, 70)


def test_full_size_difference_is_the_plain_computation(page, masks):
    found = json.loads((masks / "evaluation.json").read_text())
    record = next(scene for scene in found["scenes"] if scene["name"] == "..plain")
    with np.load(record["scene"]) as file:
        truth = file["truth"]
    from cloudmask.predict.masks import read_netcdf

    given = read_netcdf(masks / record["mask"]).mask
    (path,) = page.with_name("a page_files").glob("*-plain-difference.png")
    with Image.open(path) as image:
        shown = np.array(image.convert("RGB"))
    wanted = {(0, 0): (36, 62, 96), (1, 1): (250, 250, 250)}
    wanted |= {(1, 0): ((196, 80, 24), (255, 200, 130)), (0, 1): ((250, 214, 70), (0, 0, 0))}
    for row in range(70):
        for col in range(90):
            key = (int(truth[row, col]), int(given[row, col]))
            expected = wanted.get(key, colours.BACKGROUND)
            allowed = expected if isinstance(expected[0], tuple) else (expected,)
            assert tuple(shown[row, col].tolist()) in allowed, (row, col, key)


def test_difference_tells_hit_miss_false_alarm_and_unknown():
    predicted = np.array([[1, 0, 0, 1, 1, 255]])
    reference = np.array([[1, 0, 1, 0, 255, 1]])
    found = colours.difference(predicted, reference, num_classes=2)
    hit, clear, miss, alarm = (
        *(colours.HIT, colours.CORRECT_CLEAR),
        *(colours.MISS, colours.FALSE_ALARM),
    )
    expected = [[hit, clear, miss, alarm, colours.UNKNOWN, colours.MISSING]]
    np.testing.assert_array_equal(found, expected)
    many = colours.difference(np.array([[2, 1, 1]]), np.array([[2, 2, 255]]), num_classes=3)
    np.testing.assert_array_equal(many, [[colours.AGREE, colours.DIFFER, colours.UNKNOWN]])


@pytest.mark.parametrize("styles", [colours.DIFFERENCE, colours.AGREEMENT])
def test_categories_differ_without_colour(styles):
    """In greys: each pair differs in lightness, or one has a pattern that the other has not."""

    def lightness(colour):
        linear = [(c / 255) ** 2.2 for c in colour]
        return 116 * (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]) ** (1 / 3) - 16

    values = sorted(lightness(style.colour) for style in styles.values())
    assert np.diff(values).min() > 7
    errors = [style for style in styles.values() if style.pattern != "plain"]
    assert len({style.pattern for style in errors}) == len(errors)
    for style in errors:
        assert abs(lightness(style.colour) - lightness(style.ink)) > 25
        tile = colours.paint(np.zeros((16, 16), np.uint8), {0: style})
        inked = (tile == style.ink).all(axis=-1).mean()
        assert 0.1 < inked < 0.5


def test_small_map_holds_the_commonest_of_each_block():
    rng = np.random.default_rng(3)
    array = rng.choice([0, 1, 2, 255], (23, 31)).astype(np.uint8)
    small = colours.shrink_categories(array, 4)
    assert small.shape == (6, 8)
    for row in range(6):
        for col in range(8):
            block = array[4 * row : 4 * row + 4, 4 * col : 4 * col + 4]
            assert small[row, col] == np.bincount(block.ravel()).argmax()


def test_small_picture_is_the_mean_of_what_was_measured():
    array = np.random.default_rng(4).normal(size=(10, 11)).astype(np.float32)
    array[:4, :4] = np.nan
    array[5, 5] = np.nan
    small = pixels.box_mean(array, 4)
    assert small.shape == (3, 3)
    assert np.isnan(small[0, 0])
    assert small[1, 1] == pytest.approx(np.nanmean(array[4:8, 4:8]))
    assert small[2, 2] == pytest.approx(array[8:, 8:].mean())


@pytest.mark.parametrize(
    ("channels", "chosen"),
    [
        (CHANNELS, (4, 2, 0)),
        (("blue", "green", "Red", "nir"), (2, 1, 0)),
        (("a", "b", "c", "d"), (0, 1, 2)),
        (("a", "b"), (0, 1, 1)),
    ],
)
def test_false_colour_takes_known_names_else_the_first_three(channels, chosen):
    assert pixels.colour_channels(channels) == chosen


def test_false_colour_is_stretched_and_leaves_missing_pixels_plain():
    plane = np.array([[0.0, 0.5, 1.0, 9.0, np.nan]])
    picture = pixels.rgb([plane] * 3, [(0, 1)] * 3)
    expected = [0, round(255 * 0.5**pixels.GAMMA), 255, 255]
    assert picture[0, :4, 0].tolist() == expected
    assert tuple(picture[0, 4]) == colours.BACKGROUND


def test_more_than_two_classes_agree_or_differ(tmp_path):
    classes, channels = ("sea", "thin", "thick"), ("a", "b", "c", "d")
    path = tmp_path / "scene.npz"
    truth = write_scene(path, classes=classes, channels=channels)
    write_mask(tmp_path / "masks" / "scene.nc", truth, classes=classes)
    evaluation_fake.write(tmp_path / "masks", [path])
    report(tmp_path / "masks", "--out", tmp_path / "report.html")
    words = plain((tmp_path / "report.html").read_text())
    for text in ("agree, ", "differ, ", "unknown, ", "How sure the network is", "sea thin thick"):
        assert text in words, text
    assert "a, b, c as red, green and blue" in words
    assert "Brightness temperature" not in words
    assert "cannot be said: no scene has a truth" in words
    assert "The masks name no model" not in words
    assert "The run run is not there" in words


def test_run_without_scenes_is_reported_as_far_as_it_goes(tmp_path):
    run = write_run(tmp_path / "run")
    report(run, "--out", tmp_path / "deep" / "report.html")
    words = plain((tmp_path / "deep" / "report.html").read_text())
    assert "On the patches of the split valid the network agrees with its labels on 81.0 %" in words
    assert "No whole scenes have been evaluated" in words
    assert "Training" in words
    assert (tmp_path / "deep" / "report.html").read_text().count("<svg") == 3
    assert not (tmp_path / "deep" / "report_files").exists()


def test_masks_and_their_run_are_one_part(masks, tmp_path):
    report(masks, masks.parent, "--out", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert text.count('<section id="part') == 1
    assert text.count("Validation accuracy</h4>") == 1


def test_two_masks_folders_keep_their_pictures_apart(masks, tmp_path):
    path = tmp_path / "scene.npz"
    truth = write_scene(path)
    write_mask(tmp_path / "masks" / "scene.nc", truth)
    evaluation_fake.write(tmp_path / "masks", [path])
    report(masks.parent, tmp_path / "masks", "--out", tmp_path / "both.html", "--show", 1)
    text = (tmp_path / "both.html").read_text()
    assert text.count('<section id="part') == 2
    stems = {path.name[:11] for path in (tmp_path / "both_files").iterdir()}
    assert stems == {"part1-0001-", "part2-0001-"}


def test_show_limits_pictures_and_an_old_page_leaves_none_behind(masks, tmp_path):
    out = tmp_path / "report.html"
    report(masks, "--out", out, "--show", 3)
    (tmp_path / "report_files" / "my own.png").write_bytes(b"kept")
    report(masks, "--out", out, "--show", 1)
    words = plain(out.read_text())
    assert "1 of 3 scenes are shown, worst first" in words
    assert "..plain" in words
    names = {path.name for path in (tmp_path / "report_files").iterdir()}
    assert "my own.png" in names
    assert {name[:5] for name in names} == {"0001-", "my ow"}


def test_what_has_gone_is_said_in_its_place(tmp_path):
    scenes = [tmp_path / f"{name}.npz" for name in ("gone", "changed", "maskless")]
    for seed, path in enumerate(scenes):
        truth = write_scene(path, seed=seed)
        write_mask(tmp_path / "masks" / f"{path.stem}.nc", truth)
    evaluation_fake.write(tmp_path / "masks", scenes, calibration={}, legacy=None, regions={})
    scenes[0].unlink()
    np.savez(scenes[1], image=np.ones((8, 9, 3), np.float32))
    (tmp_path / "masks" / "maskless.nc").unlink()
    report(tmp_path / "masks", "--out", tmp_path / "report.html")
    words = plain((tmp_path / "report.html").read_text())
    assert f"The scene file {scenes[0]} is gone" in words
    assert "The scene has 8 x 9 pixels and its mask 70 x 90" in words
    assert "The mask maskless.nc is gone" in words
    assert "there is no reliability diagram and no ROC" in words


def test_mask_and_picture_names_cannot_leave_their_folders(tmp_path):
    path = tmp_path / "scene.npz"
    truth = write_scene(path)
    write_mask(tmp_path / "masks" / "scene.nc", truth)
    found = evaluation_fake.make(tmp_path / "masks", [path])
    found["scenes"][0] |= {"name": "../../../etc/passwd", "mask": "../../secret.nc"}
    (tmp_path / "masks" / "evaluation.json").write_text(json.dumps(found))
    write_mask(tmp_path / "secret.nc", truth)
    report(tmp_path / "masks", "--out", tmp_path / "page" / "report.html")
    assert "The mask secret.nc is gone" in plain((tmp_path / "page" / "report.html").read_text())
    found["scenes"][0]["mask"] = "scene.nc"
    (tmp_path / "masks" / "evaluation.json").write_text(json.dumps(found))
    report(tmp_path / "masks", "--out", tmp_path / "page" / "report.html")
    names = {path.name for path in (tmp_path / "page" / "report_files").iterdir()}
    assert all(name.startswith("0001-etc_passwd-") for name in names)
    assert {path.name for path in (tmp_path / "page").iterdir()} == {"report.html", "report_files"}


def test_moved_results_still_find_their_scenes(tmp_path, monkeypatch):
    old = tmp_path / "old"
    truth = write_scene(old / "scenes" / "scene.npz")
    write_mask(old / "masks" / "scene.nc", truth)
    monkeypatch.chdir(old)
    evaluation_fake.write(Path("masks"), [Path("scenes/scene.npz")])
    monkeypatch.chdir(tmp_path)
    old.rename(tmp_path / "new")
    report("new/masks", "--out", "report.html")
    assert "is gone" not in plain(Path("report.html").read_text())


def test_what_evaluate_writes_is_what_report_reads(tmp_path):
    path = tmp_path / "scenes" / "scene.npz"
    truth = write_scene(path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays, truth=truth)
    write_mask(tmp_path / "masks" / "scene.nc", truth)
    assert cli.main(["evaluate", str(tmp_path / "masks"), str(path)]) == 0
    report(tmp_path / "masks", "--out", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    words = plain(text)
    found = json.loads((tmp_path / "masks" / "evaluation.json").read_text())
    assert f"truth {found['pooled']['truth']['pixels']:,}" in words
    assert "no interval that holds can be given from 1 scene (it takes 20 that differ)" in words
    assert text.count("<svg") == 3  # reliability, ROC, thresholds; a run and more scenes add theirs
    assert len(list((tmp_path / "report_files").iterdir())) == 7


DUEL = {
    **{"reference": "truth", "a": "network", "b": "label", "accuracy_a": 0.95, "accuracy_b": 0.9},
    **{"difference": 0.05, "scenes": 20, "scenes_a_better": 18, "scenes_b_better": 2},
    **{"p": 1e-9, "clustered_p": 0.01, "interval": [0.02, 0.08]},
}
NAMES = {"members": {"network": "network", "label": "Bayesian mask", "truth": "truth"}}


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({}, "The network is better than the Bayesian mask it learned from"),
        ({"interval": [-0.08, -0.02]}, "The network is worse than the Bayesian mask"),
        ({"interval": [-0.01, 0.02]}, "The network cannot be told apart from the Bayesian mask"),
        ({"clustered_p": 0.2}, "The network seems better than"),
        ({"interval": None, "scenes": 1}, "Whether the network is better than the Bayesian mask"),
    ],
)
def test_verdict_follows_the_interval_over_scenes(changes, begins):
    answer, figures = comparison(NAMES, DUEL | changes)
    assert answer.startswith(begins)
    sentence = f"{answer} {figures}"
    assert ("leaves room for chance (p = 0.200)" in sentence) == ("clustered_p" in changes)
    assert ("18 of 20 scenes" in sentence) == (changes.get("interval", True) is not None)


def test_the_label_of_the_scenes_is_no_teacher_of_a_network_that_learned_from_another():
    answer, _ = comparison(NAMES, DUEL, teacher="mask by looks")
    assert answer == "The network is better than the Bayesian mask."
    answer, _ = comparison(NAMES, DUEL, teacher="Bayesian mask")
    assert answer == "The network is better than the Bayesian mask it learned from."


@pytest.mark.parametrize(
    ("source", "teacher", "learned"),
    [
        ("densities", "mask by looks", ""),
        ("any", "Bayesian mask (any bit)", " it learned from"),
        ("truth", "truth", ""),
    ],
)
def test_page_names_the_labels_that_the_run_learned_from(masks, tmp_path, source, teacher, learned):
    run = shutil.copytree(masks.parent, tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"label_source": source}))
    report(run, "--out", tmp_path / "report.html", "--show", 0)
    words = plain((tmp_path / "report.html").read_text())
    assert f"Its teacher was the {teacher}." in words
    assert f"labels learned from: {teacher}" in words
    assert f"than the Bayesian mask (any bit){learned}. " in words


def test_pixels_of_one_scene_are_not_taken_for_independent():
    assert "looks certain (p < 0.001)" in mcnemar({"p": 1e-9, "clustered_p": 0.3})
    assert "holds when whole scenes" in mcnemar({"p": 1e-9, "clustered_p": 0.001})
    assert "no test" in mcnemar({"p": 1e-9, "clustered_p": None})
    assert mcnemar({"p": 0.5, "clustered_p": 0.5}).startswith("the difference may be")


def test_bad_input_is_one_line(tmp_path, masks):
    out = ("--out", tmp_path / "report.html")
    (tmp_path / "empty").mkdir()
    assert "nothing to report in" in refused(tmp_path / "empty", *out)
    assert "name a run folder or a folder of masks" in refused(*out)
    assert "does not exist" in refused(tmp_path / "nowhere", *out)
    assert "negative" in refused(masks, *out, "--show", -1)
    assert "is a folder" in refused(masks, "--out", tmp_path / "empty")
    bad = tmp_path / "bad"
    bad.mkdir()
    for text, message in (
        ("{", "it is not JSON"),
        ("[]", "holds no JSON object"),
        ('{"format": "cloudmask-evaluation", "version": 1}', "of version 2"),
        ('{"format": "cloudmask-evaluation", "version": 2, "classes": []}', "usable 'members'"),
    ):
        (bad / "evaluation.json").write_text(text)
        assert message in refused(bad, *out)
    (tmp_path / "report_files").write_text("in the way")
    assert "is a file" in refused(masks, *out)
    assert "is a file" in refused(masks / "evaluation.json", *out)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_missing_packages_are_named_with_what_installs_them(package, masks, tmp_path):
    code = f"import sys; sys.modules[{package!r}] = None; from cloudmask.__main__ import console"
    code += f"; sys.argv = ['cloudmask', 'report', {str(masks)!r}, '--out', 'x.html']"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; sys.exit(console())"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(cli.__file__).parents[1])},
    )
    assert done.returncode == 1
    assert f"{package} is not installed" in done.stderr
    assert "pip install '.[report]'" in done.stderr
    assert "Traceback" not in done.stderr


LOOK = """(() => {
  const images = [...document.images], links = [...document.querySelectorAll('a')];
  const ids = [...document.querySelectorAll('[id]')].map(one => one.id);
  return {
    images: images.length,
    blank: images.filter(one => !(one.complete && one.naturalWidth > 0)).length,
    unnamed: images.filter(one => !one.hasAttribute('alt')).length,
    broken: links.map(one => one.getAttribute('href'))
      .filter(to => to.startsWith('#') && !document.getElementById(to.slice(1))),
    files: links.filter(one => !one.getAttribute('href').startsWith('#')).map(one => one.href),
    doubled: ids.length - new Set(ids).size,
    headers: document.querySelectorAll('th:not([scope])').length,
    language: document.documentElement.lang,
    wide: document.documentElement.scrollWidth,
    cut: [...document.querySelectorAll('.scroll, .scroll table')]
      .filter(one => one.scrollWidth > one.clientWidth + 1 || one.getBoundingClientRect().right
        > document.documentElement.clientWidth + 1)
      .map(one => [one.ariaLabel, one.scrollWidth, one.clientWidth]),
    alerts: document.querySelectorAll('script').length,
  }
})()"""


def scene(name, truth, label):
    return {"name": name, "against": {"truth": {"accuracy": truth}, "label": {"accuracy": label}}}


@pytest.mark.parametrize(
    ("scenes", "expected"),
    [
        ([("a", 0.5, 0.9), ("b", 0.6, 0.9), ("c", 0.7, 0.4), ("d", 0.8, 0.9)], ["a", "c", "b"]),
        ([("a", 0.5, 0.4), ("b", 0.6, 0.9), ("c", 0.7, 0.9), ("d", 0.8, 0.9)], ["a", "b", "d"]),
        ([("a", 0.5, 0.4), ("b", 0.6, 0.9), ("c", 0.7, 0.9)], ["a", "b", "c"]),
        ([("a", 0.5, 0.4), ("b", 0.6, 0.9)], ["a", "b"]),
        ([("a", 0.5, 0.4)], ["a"]),
        ([("a", None, None), ("b", None, None)], ["a", "b"]),
        ([], []),
    ],
)
def test_telling_scenes_are_the_worst_the_most_differing_and_the_middle_one(scenes, expected):
    ordered = [scene(*one) for one in scenes]
    found = highlights.choose(NAMES, ordered, "truth")
    assert [ordered[place - 1]["name"] for place in found] == expected[: len(found)]
    assert len(found) == min(3, len(scenes)) or expected == ["a", "b"]
    if scenes and scenes[0][2] == 0.4 and len(scenes) > 1:
        most = "network and Bayesian mask differ most here too, on 60.0 % of the pixels"
        assert found[1] == f"The worst scene; {most}"


def test_pictures_come_before_the_tables(page):
    text = page.read_text()
    assert text.index('class="verdict"') < text.index('class="few"') < text.index("<table>")
    few = text[text.index('class="few"') : text.index("<table>")]
    assert few.count('<img class="look"') == 3 * 4
    words = plain(few)
    assert "3 telling scenes" in words
    assert "The worst scene; network and Bayesian mask (any bit) differ most here too" in words


def test_links_to_pictures_hold_whatever_the_page_is_called(tmp_path):
    path = tmp_path / "scene.npz"
    truth = write_scene(path)
    write_mask(tmp_path / "masks" / "scene.nc", truth)
    evaluation_fake.write(tmp_path / "masks", [path])
    out = tmp_path / "run#3 100%41?.html"
    report(tmp_path / "masks", "--out", out)
    found = browser.page(out, script="[...document.links].map(one => one.href)")
    files = [address for address in found.value if "#part" not in address]
    assert len(files) == 6 + 4
    for address in files:
        where = urlsplit(address)
        assert (where.query, where.fragment) == ("", "")
        assert Path(unquote(where.path)).is_file()


def test_scenes_in_another_order_of_classes_are_shown_in_that_of_their_mask(tmp_path):
    pages = []
    for classes in (("clear", "cloud"), ("cloud", "clear")):
        folder = tmp_path / classes[0]
        truth = write_scene(folder / "scene.npz")
        if classes[0] == "cloud":
            with np.load(folder / "scene.npz") as file:
                arrays = dict(file)
            table = np.array([1, 0, *range(2, 256)], np.uint8)
            arrays |= {"label": table[arrays["label"]], "classes": np.array(classes)}
            np.savez(folder / "scene.npz", **arrays)
        write_mask(folder / "masks" / "scene.nc", truth)
        assert cli.main(["evaluate", str(folder / "masks"), str(folder / "scene.npz")]) == 0
        report(folder / "masks", "--out", folder / "report.html")
        (picture,) = (folder / "report_files").glob("*-difference.png")
        pages.append(picture.read_bytes())
    assert pages[0] == pages[1]


def test_a_page_of_thousands_of_scenes_shows_the_worst_and_stays_small(masks, tmp_path):
    found = json.loads((masks / "evaluation.json").read_text())
    figures = {"accuracy": 0.9, "majority": 0.6, "mean_iou": 0.7, "kappa": 0.5, "pixels": 100}
    lines = [
        "name,scene,mask,pixels,missing,day,against.truth.accuracy,fraction.network.cl.oud,error"
    ]
    lines += [f"s{n},gone/s{n}.npz,s{n}.nc,100,5,1.0,{0.5 + n / 1e4},0.25," for n in range(4000)]
    lines += ["bad,gone/bad.npz,,,,,,,broken"]
    top = tmp_path / "masks"
    top.mkdir()
    (top / "evaluation.csv").write_text("\n".join(lines))
    record = found | {"num_scenes": 4000, "listing": "../masks/evaluation.csv", "num_failed": 1200}
    record["failed"] = {f"f{n}": "broken" for n in range(200)}
    record["scenes"] = record["scenes"][:1]
    record["pooled"] |= {"truth": figures | {"confusion": [[1, 2], [3, 4]]}}
    (top / "evaluation.json").write_text(json.dumps(record))
    report(top, "--out", tmp_path / "report.html", "--show", 0)
    text = (tmp_path / "report.html").read_text()
    words = plain(text)
    assert len(text) < 500_000
    assert "tried on 4,000 whole scenes" in words
    assert "The 200 worst of 4,000 scenes" in words
    assert "1. s0 " in words.replace("\xa0", " ")
    assert "s200 " not in words.replace("\xa0", " ")
    assert "Every 10th scene is drawn" in words
    assert "1,150 more" in words
    assert "1,200 scenes could not be evaluated" in words
    (top / "evaluation.csv").unlink()
    assert "evaluation.csv is gone" in refused(top, "--out", tmp_path / "report.html")


@pytest.mark.parametrize("changes", [{"scenes": []}, {"scenes": [], "pooled": {}, "regions": {}}])
def test_empty_evaluation_makes_a_page(masks, tmp_path, changes):
    found = json.loads((masks / "evaluation.json").read_text())
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "evaluation.json").write_text(json.dumps(found | changes))
    report(tmp_path / "masks", "--out", tmp_path / "report.html")
    words = plain((tmp_path / "report.html").read_text())
    assert "No scene has been evaluated." in words
    assert "telling scene" not in words


@pytest.mark.parametrize(("width", "media"), [(1200, "screen"), (390, "screen"), (794, "print")])
def test_page_in_a_browser(page, width, media):
    found = browser.page(page, script=LOOK, width=width, media=media)
    assert found.console == ()
    assert found.failed == ()
    assert found.requests == (page.resolve().as_uri(),)
    seen = found.value
    assert seen["images"] > 17
    assert (seen["blank"], seen["unnamed"], seen["doubled"], seen["headers"]) == (0, 0, 0, 0)
    assert seen["broken"] == []
    assert len(set(seen["files"])) == 20
    assert seen["cut"] == []
    for address in seen["files"]:
        assert Path(unquote(address.removeprefix("file://"))).is_file()
    assert seen["language"] == "en"
    assert seen["wide"] <= width
    assert seen["alerts"] == 0


BARS = """[...document.querySelectorAll('.scores dd')].map(one => {
  const bar = one.querySelector('i').getBoundingClientRect();
  return [parseFloat(one.textContent), bar.width, bar.left];
})"""


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_bars_are_as_long_as_what_they_stand_for(masks, tmp_path, width):
    """At 390 the bar of 99.0 % was shorter than that of 95.2 %, as its bold value was wider."""
    found = json.loads((masks / "evaluation.json").read_text())
    found["pooled"]["truth"] |= {"accuracy": 0.99, "majority": 0.07}
    for pair, share in zip(
        [one for one in found["pairs"] if one["against"] == "truth"], (0.99, 0.952, 1), strict=True
    ):
        pair["accuracy"] = share
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "evaluation.json").write_text(json.dumps(found))
    report(tmp_path / "masks", "--out", tmp_path / "report.html", "--show", 0)
    bars = browser.page(tmp_path / "report.html", width=width, script=BARS).value
    assert [share for share, *_ in bars] == [99.0, 95.2, 100.0, 7.0]
    for share, length, left in bars:
        assert length == pytest.approx(share / 100 * bars[2][1], abs=0.6)
        assert left == bars[0][2]
    assert bars[2][1] > 60


def test_the_page_says_from_which_model_a_training_started():
    run = Run("run", {"training_patches": 400, "patch_size": 128, "init": None}, {}, "", ())
    part = Part("run", (run,))
    assert "It was trained on 400 patches of 128 x 128" in trained(part)
    run.summary["init"] = {"path": "models/synthetic.keras", "sha256": "ab"}
    assert "It started from the weights of models/synthetic.keras and was" in trained(part)
