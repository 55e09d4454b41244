"""Whose mask a file holds: models, options, arithmetic and scene; nothing else counts."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from cloudmask.cli.options import PredictConfig
from cloudmask.data.entry import entry_of
from cloudmask.data.parallel import World
from cloudmask.data.slstr import Reading
from cloudmask.predict.masks import SceneMask, write_mask
from cloudmask.predict.recipe import agreed, recipe_of, stale

OTHERS = {
    "run": None,  # its content counts, not its name
    "models": None,
    "scenes": None,
    "out": Path("elsewhere"),
    "tile": 64,
    "format": "hdf5",
    "verify": False,
    "overwrite": True,
    "threshold": 0.7,
    "overlap": 8,
    "precision": None,
}
COUNT = ("threshold", "overlap")


@pytest.fixture
def config(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"weights")
    (tmp_path / "scene.npz").write_bytes(b"pixels")
    return PredictConfig(
        run=tmp_path / "model.keras",
        scenes=(tmp_path / "scene.npz",),
        out=tmp_path / "masks",
        precision="float32",
    )


def recipe(config, **changes):
    return recipe_of(dataclasses.replace(config, **changes), World())


def test_fingerprint_changes_with_every_option_that_changes_a_mask(config):
    usual = recipe(config).fingerprint
    names = {field.name for field in dataclasses.fields(PredictConfig)}
    assert set(OTHERS) == names, "say of a new option whether masks depend on it"
    for name, value in OTHERS.items():
        if value is not None:
            changed = recipe(config, **{name: value}).fingerprint
            assert (changed != usual) == (name in COUNT), name


def test_tiles_count_where_they_may_leave_seams(config):
    with_seams = recipe(config, overlap=0).fingerprint
    assert recipe(config, overlap=0, tile=64).fingerprint != with_seams


def test_models_count_by_what_they_hold(config, tmp_path):
    usual = recipe(config).fingerprint
    (tmp_path / "copy.keras").write_bytes(b"weights")
    assert recipe(config, run=tmp_path / "copy.keras").fingerprint == usual
    assert recipe(config, models=(tmp_path / "copy.keras",)).fingerprint != usual
    config.run.write_bytes(b"other weights")
    assert recipe(config).fingerprint != usual


def test_arithmetic_is_recorded_and_counts_as_it_is(config):
    automatic = recipe(config, precision="auto")
    assert automatic.precision in ("float32", "bfloat16")
    assert automatic.fingerprint == recipe(config, precision=automatic.precision).fingerprint
    assert "auto" not in json.dumps(automatic.attributes(entry_of(config.scenes[0]), Reading()))
    fingerprints = {recipe(config, precision=one).fingerprint for one in ("float32", "bfloat16")}
    assert len(fingerprints) == 2


def test_ranks_that_differ_agree_on_the_arithmetic_that_all_have():
    assert agreed({"bfloat16"}) == "bfloat16"
    assert agreed({"float32"}) == "float32"
    assert agreed({"bfloat16", "float32"}) == "float32"


@pytest.mark.parametrize("suffix", ["nc", "h5", "tif"])
def test_a_mask_is_told_by_its_recipe_and_scene(config, tmp_path, suffix):
    if suffix == "tif":
        pytest.importorskip("rasterio")
    scene, path = config.scenes[0], tmp_path / f"scene.{suffix}"
    made = recipe(config)
    probability = np.zeros((4, 4, 1), np.float32)
    attributes = made.attributes(entry_of(scene), Reading())
    mask = SceneMask("scene", ("a", "b"), probability, None, probability[..., 0].astype("u1"))
    write_mask(path, dataclasses.replace(mask, attributes=attributes))
    assert stale(path, made, entry_of(scene)) is None
    assert stale(path, recipe(config, threshold=0.7), entry_of(scene)) == (
        "was made with threshold 0.5 instead of 0.7"
    )
    other = tmp_path / "other.keras"
    other.write_bytes(b"other weights")
    assert "made by another model" in stale(path, recipe(config, run=other), entry_of(scene))
    date = entry_of(scene).changed
    scene.write_bytes(b"PIXELS")
    os.utime(scene, ns=(date, date + 1))
    assert "is of another scene.npz (scene.npz, 6 bytes" in stale(path, made, entry_of(scene))
    os.utime(scene, ns=(date, date))
    assert stale(path, made, entry_of(scene)) is None
    scene.write_bytes(b"more pixels")
    os.utime(scene, ns=(date, date))
    assert "is of another scene.npz" in stale(path, made, entry_of(scene))


def test_a_mask_of_an_earlier_version_or_another_program_is_not_taken_for_ours(config, tmp_path):
    probability = np.zeros((4, 4, 1), np.float32)
    mask = SceneMask("scene", ("a", "b"), probability, None, probability[..., 0].astype("u1"))
    entry = entry_of(config.scenes[0])
    old = {"fingerprint": "f" * 64, "options": json.dumps({"threshold": 0.5, "precision": "auto"})}
    for attributes in (None, old, {"options": "no json"}, {"options": "[1]"}):
        write_mask(tmp_path / "scene.nc", dataclasses.replace(mask, attributes=attributes))
        told = stale(tmp_path / "scene.nc", recipe(config), entry)
        assert told == "was made by another program or version"
    (tmp_path / "scene.nc").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"scene\.nc is not a mask"):
        stale(tmp_path / "scene.nc", recipe(config), entry)
