"""How products are read travels from prepare by patch set and model to predict and evaluate."""

import dataclasses
import json

import numpy as np
import pytest
import sen3
import tiny

from cloudmask.cli import errors
from cloudmask.cli.options import PrepareConfig
from cloudmask.data import slstr
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.prepare.command import prepare
from cloudmask.data.read import read_scene
from cloudmask.data.slstr import UNRECORDED, Reading, recorded
from cloudmask.metrics import UNKNOWN

THIRTEEN = (*slstr.CHANNELS, *slstr.OBLIQUE, slstr.SKIN)


def test_the_options_of_prepare_are_the_fields_of_a_reading():
    options = {field.name: field.default for field in dataclasses.fields(PrepareConfig)}
    for field in dataclasses.fields(Reading):
        assert options[field.name] == field.default


@pytest.mark.parametrize(
    "reading",
    [
        *(Reading(), UNRECORDED, Reading(70.5, ("duplicate", "cosmetic"), oblique=True)),
        Reading(skin_temperature=True),
    ],
)
def test_a_record_gives_the_reading_back(reading):
    assert recorded(json.loads(json.dumps({"seed": 1, **reading.record()}))) == reading
    assert recorded({}) == UNRECORDED == Reading(90.0)


@pytest.mark.parametrize("zenith", [0, -1, 90.1, float("nan"), float("inf")])
def test_a_zenith_that_cannot_be_is_refused(zenith):
    with pytest.raises(ValueError, match="choose one above 0 and up to 90"):
        Reading(zenith)


@pytest.mark.parametrize(
    "record",
    [
        *({"max_solar_zenith": "80"}, {"max_solar_zenith": None}, {"oblique": 1}),
        *({"skin_temperature": "yes"}, {"skin_temperature": None}),
        *({"drop_flagged": "cosmetic"}, {"drop_flagged": ["snow"]}, {"drop_flagged": [[]]}),
    ],
)
def test_a_record_that_nobody_wrote_is_refused(record):
    with pytest.raises(ValueError, match=r"no record|no flag"):
        recorded(record)


def low_sun(folder, *, zenith=89.99, repeat=2, **changes):
    """A product of 48 x 60 pixels whose last rows see the sun at the horizon."""
    values = sen3.make_values(repeat=repeat)
    values.solar_zenith[:] = 60.0
    values.solar_zenith[-4:] = zenith
    values.bayes[::2, ::3] = 2
    for name, value in changes.items():
        setattr(values, name, value)
    return sen3.write_product(folder, values)


def prepared(out, *scenes, **options):
    config = PrepareConfig(tuple(scenes), out, patch_size=16, split="train=1", **options)
    return prepare(config)


def test_a_scene_at_the_horizon_costs_a_patch_set_nothing(tmp_path, capsys):
    product = low_sun(tmp_path / "in")
    assert prepared(tmp_path / "set", product) == 0
    patchset = open_patchset(tmp_path / "set")
    assert patchset.options["max_solar_zenith"] == 88.0
    assert patchset.reading == Reading().record()
    (entry,) = patchset.splits["train"].files
    assert max(entry.scale_factor[:6]) <= 2e-4
    assert (patchset.std[:6] < 0.3).all()
    assert capsys.readouterr().err == ""
    assert prepared(tmp_path / "poisoned", product, max_solar_zenith=90.0) == 0
    poisoned = open_patchset(tmp_path / "poisoned")
    assert poisoned.std[0] > 3 * patchset.std[0]
    lines = capsys.readouterr().err.splitlines()
    assert [line[:12] for line in lines] == [f"warning: S{n} " for n in range(1, 7)]
    assert "which lose more than 0.0001 of a value" in lines[0]
    assert product.stem in lines[0]


def without_record(folder):
    """As the program before wrote it."""
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    for name in Reading().record():
        del values["options"][name]
    path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")


def test_a_patch_set_from_before_is_complete_if_it_is_read_as_then(tmp_path, archive, capsys):
    product = low_sun(tmp_path / "in", zenith=80.0)
    assert prepared(tmp_path / "set", product, max_solar_zenith=90.0) == 0
    without_record(tmp_path / "set")
    assert open_patchset(tmp_path / "set").reading == {}
    assert prepared(tmp_path / "set", product, max_solar_zenith=90.0) == 0
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"max_solar_zenith 90\.0, asked 88\.0"):
        prepared(tmp_path / "set", product)
    assert prepared(tmp_path / "other", archive) == 0
    without_record(tmp_path / "other")
    assert prepared(tmp_path / "other", archive) == 0, "no product, so it does not matter"
    assert "nothing to do" in capsys.readouterr().out


def run(*words):
    return errors.run(tiny.cli.main, list(map(str, words)), program="cloudmask")


@pytest.mark.slow
def test_a_model_is_used_as_it_was_trained(tmp_path, capsys):
    """Thirteen channels, a lower sun and dropped pixels, said once: to prepare."""
    from test_evaluate import make_run

    from cloudmask.predict.masks import read_netcdf
    from cloudmask.train.plan import make_plan

    values = sen3.make_values(repeat=1)
    confidence = values.confidence.copy()
    confidence[3, 4] |= 256
    product = low_sun(
        tmp_path / "in",
        zenith=75.0,
        repeat=1,
        confidence=confidence,
        oblique=sen3.make_oblique(),
        skin=np.full((24, 130), 290, np.float32),
    )
    options = {"max_solar_zenith": 70.0, "drop_flagged": ("cosmetic",), "oblique": True}
    options["skin_temperature"] = True
    assert prepared(tmp_path / "set", product, label="summary", **options) == 0
    patchset = open_patchset(tmp_path / "set")
    assert patchset.channels == THIRTEEN
    config = tiny.cli.options.TrainConfig(
        tmp_path / "set", tmp_path / "x", widths=(4, 8), batch_size=1
    )
    info = make_plan(config, tiny.pretended_ranks()).info
    model = make_run(tmp_path / "run", tmp_path / "set", reading=info.reading)
    masks = tmp_path / "masks"
    assert run("predict", model, product, "--out", masks) == 0
    mask = read_netcdf(masks / f"{product.stem}.nc")
    said = json.loads(mask.attributes["options"])
    assert {name: said[name] for name in slstr.READING if name in said} == patchset.reading
    scene = read_scene(product, label="summary", reading=recorded(info.reading))
    assert np.isnan(scene.image[-4:, :, :6]).all()
    np.testing.assert_array_equal(mask.mask == UNKNOWN, np.isnan(scene.image).all(axis=-1))
    assert run("evaluate", masks, product, "--label", "summary") == 0
    record = json.loads((masks / "evaluation.json").read_text())
    known = (scene.label != UNKNOWN) & (mask.mask != UNKNOWN)
    assert record["pooled"]["label"]["pixels"] == known.sum()
    capsys.readouterr()
    before = make_run(tmp_path / "before", tmp_path / "set", reading={})
    assert run("evaluate", before, tmp_path / "set", "--split", "train") == 0
    assert "learned from products read otherwise (the sun down to 90 degrees" in (
        capsys.readouterr().err
    )
    assert run("predict", model, product, "--models", before, "--out", tmp_path / "m") == 1
    assert "use models that read alike" in capsys.readouterr().err
