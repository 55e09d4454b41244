"""model.json: a STAC Item with what catalogues want to know of a model."""

import hashlib
import json
import re

import numpy as np
import pytest

from cloudmask import __main__ as cli
from cloudmask.model import keras_file

# What version 1.5.2 of the extension requires: definitions mlmItemFields, ModelInput,
# InputStructure, ModelOutput, ResultStructure and HasArtifactType of its JSON schema,
# https://stac-extensions.github.io/mlm/v1.5.2/schema.json; Item: STAC 1.1.0, item-spec.
ITEM = {"stac_version", "type", "id", "geometry", "properties", "links", "assets"}
PROPERTIES = {"datetime", "mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"}
KNOWN = {
    *("mlm:name", "mlm:architecture", "mlm:tasks", "mlm:framework", "mlm:framework_version"),
    *("mlm:memory_size", "mlm:total_parameters", "mlm:pretrained", "mlm:pretrained_source"),
    *("mlm:batch_size_suggestion", "mlm:accelerator", "mlm:accelerator_constrained"),
    *("mlm:accelerator_summary", "mlm:accelerator_count", "mlm:input", "mlm:output"),
    "mlm:hyperparameters",
}
STRUCTURE = {"shape", "dim_order", "data_type"}


@pytest.fixture(scope="module", params=[("clear", "cloud"), ("water", "thin ice", "ice/thick")])
def model(request, tmp_path_factory):
    """A run folder with a model of random weights, and what its options were."""
    run = tmp_path_factory.mktemp("stac") / "my run"
    info = keras_file.ModelInfo(
        channels=("red", "warm"),
        classes=request.param,
        widths=(4, 8, 8),
        dropout=(),
        mean=(0.1, 280.0),
        std=(0.2, 15.0),
        patchset="p" * 64,
    )
    network = keras_file.build(info)
    weights = [np.asarray(variable.value) for variable in network.trainable_variables]
    keras_file.save(run / "model.keras", weights, info)
    options = {"epochs": 3, "lr": 1e-3, "init": None, "data": "/secret/place", "seed": 7}
    (run / "summary.json").write_text(json.dumps({"config": options}))
    return run, info, weights


def test_it_has_all_that_the_extension_requires(model, capsys):
    run, _, weights = model
    assert cli.main(["describe", str(run)]) == 0
    assert capsys.readouterr().out == f"description: {run / 'model.json'}\n"
    found = json.loads((run / "model.json").read_text())
    assert found.keys() >= ITEM
    assert (found["type"], found["stac_version"]) == ("Feature", "1.1.0")
    assert found["id"] == "my_run"
    assert "https://stac-extensions.github.io/mlm/v1.5.2/schema.json" in found["stac_extensions"]
    told = found["properties"]
    assert told.keys() >= PROPERTIES
    assert {name for name in told if name.startswith("mlm:")} <= KNOWN
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["datetime"])
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", told["mlm:name"])
    (taken,), (given,) = told["mlm:input"], told["mlm:output"]
    assert taken.keys() >= {"name", "input"}
    assert given.keys() >= {"name", "tasks", "result"}
    assert taken["input"].keys() == given["result"].keys() == STRUCTURE
    for structure in (taken["input"], given["result"]):
        assert len(structure["shape"]) == len(structure["dim_order"]) == 4
    (asset,) = found["assets"].values()
    assert asset["roles"] == ["mlm:model"]
    assert asset["mlm:artifact_type"]
    assert told["mlm:total_parameters"] == sum(array.size for array in weights)


def test_it_tells_bands_classes_scaling_and_the_file(model):
    run, info, _ = model
    keras_file.write_description(run / "model.keras", {"epochs": 3, "data": "/secret/place"})
    text = (run / "model.json").read_text()
    assert "secret" not in text, "where somebody's data lie is nobody's business"
    found = json.loads(text)
    told = found["properties"]
    (taken,), (given,) = told["mlm:input"], told["mlm:output"]
    assert taken["bands"] == [band["name"] for band in told["bands"]] == list(info.channels)
    assert taken["input"]["shape"][-1] == 2
    assert "bands" in taken["input"]["dim_order"]
    classes = given["classification:classes"]
    assert [one["description"] for one in classes] == list(info.classes)
    assert [one["value"] for one in classes] == list(range(len(info.classes)))
    assert all(re.fullmatch(r"[0-9A-Za-z_-]+", one["name"]) for one in classes)
    assert given["result"]["shape"][-1] == (1 if len(info.classes) == 2 else 3)
    made = told["mlm:hyperparameters"]
    assert (made["mean"], made["std"], made["widths"]) == ([0.1, 280.0], [0.2, 15.0], [4, 8, 8])
    assert made["epochs"] == 3
    content = (run / "model.keras").read_bytes()
    asset = found["assets"]["model"]
    assert (run / asset["href"]).samefile(run / "model.keras")
    assert asset["file:size"] == len(content)
    assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()


def test_a_model_by_itself_is_described_beside_it_and_no_model_is_refused(model, tmp_path):
    run, _, _ = model
    (tmp_path / "ours.keras").write_bytes((run / "model.keras").read_bytes())
    assert cli.main(["describe", str(tmp_path / "ours.keras")]) == 0
    found = json.loads((tmp_path / "ours.json").read_text())
    assert found["assets"]["model"]["href"] == "./ours.keras"
    (tmp_path / "no.keras").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"no\.keras is not a cloudmask model"):
        cli.main(["describe", str(tmp_path / "no.keras")])
    assert not (tmp_path / "no.json").exists()
