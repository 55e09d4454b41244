"""What a model takes and gives as a STAC Item, by which catalogues find and run models.

Fields of the Machine Learning Model extension (MLM), https://github.com/stac-extensions/mlm, and of
the file extension. Values alone: nothing is read or written here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from cloudmask.model.calibration import sentence

MLM = "https://stac-extensions.github.io/mlm/v1.5.2/schema.json"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
TRAINING = (
    *("epochs", "max_steps", "global_batch", "batch_size", "lr", "lr_decay", "loss", "precision"),
    *("augment", "augment_missing", "seed"),
)
"""options of a training that are told, where they are known"""


def item(
    *,
    name: str,
    file: str,
    sha256: str,
    bytes: int,
    date: str,
    keras: str,
    parameters: int,
    info: Mapping[str, Any],
    training: Mapping[str, Any],
) -> dict[str, Any]:
    """The item of a model in a .keras file; `date` is ISO 8601 in UTC, `keras` its version.

    `info` holds the fields of a ModelInfo, `training` options of the run that are known.
    """
    channels, classes = list(info["channels"]), list(info["classes"])
    logits = 1 if len(classes) == 2 else len(classes)
    tasks = ["semantic-segmentation"]
    told = {key: training[key] for key in TRAINING if training.get(key) is not None}
    made = {key: info[key] for key in ("widths", "dropout", "mean", "std", "patchset")}
    later = ("reading", "missing_channel", "decorrelation", "upsampling", "calibration")
    made |= {key: info[key] for key in later if info.get(key)}
    origin = training.get("init")
    return {
        "stac_version": "1.1.0",
        "stac_extensions": [MLM, FILE],
        "type": "Feature",
        "id": _word(name),
        "geometry": None,
        "properties": {
            "datetime": date,
            "description": f"U-Net that tells {', '.join(classes)} apart in {', '.join(channels)}"
            + (f"; {sentence(info['calibration'])}" if info.get("calibration") else ""),
            "bands": [{"name": channel} for channel in channels],
            "mlm:name": f"cloudmask {_word(name)}",
            "mlm:architecture": "U-Net",
            "mlm:tasks": tasks,
            "mlm:framework": "Keras",
            "mlm:framework_version": keras,
            "mlm:total_parameters": parameters,
            "mlm:pretrained": origin is not None,
            "mlm:pretrained_source": None if origin is None else PurePath(origin).name,
            "mlm:input": [_input(channels, len(info["widths"]))],
            "mlm:output": [
                {
                    "name": "logits",
                    "description": (f"of {classes[1]}" if logits == 1 else "of each class")
                    + (", before the calibration" if info.get("calibration") else ""),
                    "tasks": tasks,
                    "result": {
                        "shape": [-1, -1, -1, logits],
                        "dim_order": ["batch", "height", "width", "class"],
                        "data_type": "float32",
                    },
                    "classification:classes": [
                        {"value": value, "name": _word(text), "description": text}
                        for value, text in enumerate(classes)
                    ],
                    "post_processing_function": {
                        "format": "python",
                        "expression": f"keras.ops.{'sigmoid' if logits == 1 else 'softmax'}",
                    },
                }
            ],
            "mlm:hyperparameters": made | told,
        },
        "links": [],
        "assets": {
            "model": {
                "href": f"./{file}",
                "title": "Network with its normalisation and its weights",
                "type": "application/zip; application=keras",
                "roles": ["mlm:model"],
                "mlm:artifact_type": "tf.keras.Model.save",
                "file:size": bytes,
                "file:checksum": f"1220{sha256}",
            }
        },
    }


def _input(channels: list[str], levels: int) -> dict[str, Any]:
    return {
        "name": "scene",
        "description": (
            "Physical units as in training, NaN where nothing was measured; the network scales "
            f"them itself. Height and width are multiples of {2 ** (levels - 1)}."
        ),
        "bands": channels,
        "input": {
            "shape": [-1, -1, -1, len(channels)],
            "dim_order": ["batch", "height", "width", "bands"],
            "data_type": "float32",
        },
    }


def _word(text: str) -> str:
    """Letters, digits, minus and underscore, as identifiers and names of classes want it."""
    return re.sub(r"[^0-9A-Za-z_-]+", "_", text).strip("_-") or "model"
