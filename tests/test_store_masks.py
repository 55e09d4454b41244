"""Masks of products in other forms than the folder: predicted, and judged by the summary mask."""

import json

import forms
import numpy as np
import pytest
import sen3

from cloudmask import __main__ as cli
from cloudmask.data.slstr import CHANNELS, CLASSES
from cloudmask.model import keras_file
from cloudmask.model.keras_file import ModelInfo
from cloudmask.predict.masks import read_mask


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("masks")


@pytest.fixture(scope="module")
def product(work):
    return sen3.write_product(work / "folder", sen3.make_values())


@pytest.fixture(scope="module")
def model(work):
    """A network of random weights for SLSTR."""
    info = ModelInfo(
        **{
            **{"channels": CHANNELS, "classes": CLASSES, "widths": (4, 8), "dropout": ()},
            **{"mean": (0.2,) * 6 + (270.0,) * 3, "std": (0.2,) * 6 + (20.0,) * 3},
            "patchset": "0" * 64,
        }
    )
    path = work / "model.keras"
    weights = [v.numpy() for v in keras_file.build(info, seed=1).trainable_variables]
    keras_file.save(path, weights, info)
    return path


def run(*words):
    return cli.main([str(word) for word in words])


def test_masks_and_verdicts_of_all_forms_are_the_same(work, product, model):
    found = {}
    for form, make in (
        ("folder", lambda: product),
        ("zip", lambda: forms.zipped(product, work / "zip")),
        ("zarr", lambda: forms.stored(product, work / "zarr")),
        ("url", lambda: forms.stored(product, work, url=f"memory://m/{product.stem}.zarr")),
    ):
        place, out = make(), work / f"masks of {form}"
        assert run("predict", model, place, "--out", out, "--precision", "float32") == 0
        mask = read_mask(out / f"{product.stem}.nc", classes=CLASSES)
        assert run("evaluate", out, place, "--label", "summary") == 0
        record = json.loads((out / "evaluation.json").read_text())
        assert record["label_source"] == "summary"
        kept = {key: value for key, value in record.items() if key in ("scenes", "comparisons")}
        told = json.dumps(kept).replace(str(place), "PLACE").replace(str(out), "OUT")
        found[form] = (mask.probability, mask.latitude, told)
    for probability, latitude, told in found.values():
        np.testing.assert_array_equal(probability, found["folder"][0])
        np.testing.assert_array_equal(latitude, found["folder"][1])
        assert told == found["folder"][2]
        assert "PLACE" in told
