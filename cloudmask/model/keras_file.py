"""`model.keras`: a network that takes physical units, with what its numbers mean inside the file.

The file loads in plain Keras. `cloudmask.json` within it names channels and classes.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudmask.files import parse_json, write_whole

if TYPE_CHECKING:
    import keras

INFO = "cloudmask.json"


@dataclass(frozen=True)
class ModelInfo:
    """What a model takes and gives, and how to build it again."""

    channels: tuple[str, ...]
    classes: tuple[str, ...]
    widths: tuple[int, ...]
    dropout: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    patchset: str
    """fingerprint of the patch set it was trained on"""
    always_there: tuple[str, ...] = ()
    """channels that no training scene was without; a scene without one is new to the network"""
    reading: dict[str, Any] = field(default_factory=dict, hash=False)
    """how the scenes were read that it was trained on, as the patch set records it"""


def build(
    info: ModelInfo, *, seed: int = 0, portable: bool = False, narrow_gradients: bool = False
) -> keras.Model:
    """The untrained network that `info` describes; see unet() for the rest."""
    from cloudmask.model.unet import num_logits, unet

    return unet(
        len(info.channels),
        num_logits(len(info.classes)),
        widths=info.widths,
        dropout=info.dropout,
        mean=info.mean,
        std=info.std,
        seed=seed,
        portable=portable,
        narrow_gradients=narrow_gradients,
    )


def save(path: Path, weights: list, info: ModelInfo) -> None:
    """Write weights (in the model's order) as a portable float32 model, whole or not at all."""
    from cloudmask.model.precision import used

    with used("float32"):
        model = build(info, portable=True)
    assign(model, weights)
    with tempfile.TemporaryDirectory() as folder:  # Keras writes to a path that ends in .keras
        saved = Path(folder, "model.keras")
        model.save(saved)
        with zipfile.ZipFile(saved, "a") as archive:
            archive.writestr(INFO, json.dumps(asdict(info), indent=1))
        content = saved.read_bytes()
    write_whole(path, content)


def refuse_emulated(run: Path) -> None:
    """Raise ValueError for the folder of a run on an emulated device, which has learned nothing."""
    try:
        summary = parse_json((run / "summary.json").read_text())
    except (OSError, ValueError):  # no finished run, which is for the caller to tell
        return
    if isinstance(summary, dict) and summary.get("emulated_step_seconds") is not None:
        raise ValueError(
            f"{run} ran on an emulated device: nothing was learned, so there is no model and no "
            "accuracy; train without --emulate (python -m scaling reads such runs)"
        )


def path_of(run_or_model: Path) -> Path:
    """A run folder's model, or the .keras file itself. Raises ValueError if it is not there."""
    path = run_or_model / "model.keras" if run_or_model.is_dir() else run_or_model
    if not path.is_file():
        refuse_emulated(run_or_model)
        raise ValueError(
            f"{path} is not there: {run_or_model} is not a finished run; train first, "
            "or go on with train_hvd.py --resume"
        )
    return path


def read(path: Path) -> tuple[list, ModelInfo]:
    """A .keras file's trainable variables, in the model's order, and what they mean.

    Raises ValueError for anything else.
    """
    import keras

    try:
        with zipfile.ZipFile(path) as archive:
            values = parse_json(archive.read(INFO))
        plain = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        info = ModelInfo(**plain)  # type: ignore[arg-type]
        saved = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (zipfile.BadZipFile, KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"{path} is not a cloudmask model ({problem})") from None
    return saved.trainable_variables, info


def load(run_or_model: Path) -> tuple[keras.Model, ModelInfo]:
    """A run folder or .keras file -> the network in its fast form, under Keras's current policy.

    Raises ValueError for anything else.
    """
    weights, info = read(path_of(run_or_model))
    model = build(info)
    assign(model, weights)
    return model, info


def assign(model: keras.Model, weights: list) -> None:
    """Give a network the trainable variables of another one of its kind, in their order."""
    for variable, value in zip(model.trainable_variables, weights, strict=True):
        variable.assign(value)
