"""`model.keras`: a network that takes physical units, with what its numbers mean inside the file.

The file loads in plain Keras. `cloudmask.json` within it names channels and classes.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudmask.files import parse_json, sha256_of, write_json, write_whole
from cloudmask.model import calibration, stac

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
    missing_channel: bool = False
    """it sees one plane more, which says where a channel is missing"""
    decorrelation: tuple[tuple[float, ...], ...] = ()
    """(C, C) rows of the matrix that makes C planes more of normalised pixels; empty: no more"""
    fold: str = ""
    """K/N, see data/patchset/folds.py: it has learned from no scene of this fold; empty: of none"""
    upsampling: str = "nearest"
    """how the decoder comes to twice the size: one of UPSAMPLING of unet.py"""
    calibration: dict[str, Any] | None = field(default=None, hash=False)
    """weights of cloudmask/model/calibration.py and where they come from; None of a plain model"""

    def record(self) -> dict[str, Any]:
        """What cloudmask.json holds. What came later is left out where it says nothing: so plain
        models keep their bytes, and older programs read them, which know no such word."""
        found = asdict(self)
        silent = {name for name, value in LATER.items() if found[name] == value}
        return {name: value for name, value in found.items() if name not in silent}


LATER = {
    "missing_channel": False,
    "decorrelation": (),
    "fold": "",
    "upsampling": "nearest",
    "calibration": None,
}
"""what a record that lacks these means by that"""


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
        decorrelation=info.decorrelation,
        missing_channel=info.missing_channel,
        upsampling=info.upsampling,
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
            archive.writestr(INFO, _text(info))
        content = saved.read_bytes()
    write_whole(path, content)


def _text(info: ModelInfo) -> str:
    return json.dumps(info.record(), indent=1)


def write_calibrated(path: Path, model: Path, found: dict[str, Any]) -> None:
    """Write the model of another file with a calibration; all else keeps its bytes.

    ValueError for a file that is no model, OSError.
    """
    info = replace(read_info(model), calibration=found)
    content = io.BytesIO()
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(content, "w") as new:
        for part in old.infolist():
            new.writestr(part, _text(info) if part.filename == INFO else old.read(part))
    write_whole(path, content.getvalue())


def write_description(path: Path, training: Mapping[str, Any]) -> Path:
    """Write model.json beside a model.keras: a STAC Item, see stac.py; its path is returned.

    `training` are options of the run as far as they are known. Loads no Keras. Raises ValueError
    for a file that is no model, OSError.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            info = parse_json(archive.read(INFO))
            version = parse_json(archive.read("metadata.json"))["keras_version"]
            parameters = _numbers(archive.read("model.weights.h5"))
        found = stac.item(
            name=path.parent.resolve().name if path.name == "model.keras" else path.stem,
            file=path.name,
            sha256=sha256_of(path),
            bytes=path.stat().st_size,
            date=f"{datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC):%FT%TZ}",
            keras=version,
            parameters=parameters,
            info=info,
            training=training,
        )
    except (zipfile.BadZipFile, zlib.error, EOFError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a cloudmask model ({error})") from None
    out = path.with_suffix(".json")
    write_json(out, found)
    return out


def _numbers(content: bytes) -> int:
    """How many numbers an HDF5 file of weights holds."""
    import h5py

    found = []
    try:
        with h5py.File(io.BytesIO(content)) as file:
            file.visititems(lambda _, part: found.append(getattr(part, "size", 0)))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"its weights cannot be read: {error}") from None
    return sum(map(int, found))


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


@contextlib.contextmanager
def _of_a_model(path: Path) -> Iterator[None]:
    """What reading another file ends in becomes a ValueError."""
    try:
        yield
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, AttributeError),
        *(ValueError, OSError),
    ) as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"{path} is not a cloudmask model ({problem})") from None


def read_info(path: Path) -> ModelInfo:
    """What a .keras file takes and gives. Loads no Keras. ValueError for anything else."""
    with _of_a_model(path):
        with zipfile.ZipFile(path) as archive:
            values = parse_json(archive.read(INFO))
        # The calibration is a record of its own, with lists in it.
        plain = {k: v if k == "calibration" else _frozen(v) for k, v in values.items()}
        info = ModelInfo(**plain)
        if info.calibration is not None:
            calibration.of_record(info.calibration)
            if len(info.classes) != 2:
                raise ValueError(f"it is calibrated and has {len(info.classes)} classes, not two")
    return info


def calibration_of(path: Path) -> dict[str, Any] | None:
    """The record of a calibrated model; None of others, and of what is no model, as read tells."""
    try:
        return read_info(path).calibration
    except ValueError:
        return None


def read(path: Path) -> tuple[list, ModelInfo]:
    """A .keras file's trainable variables, in the model's order, and what they mean.

    Raises ValueError for anything else.
    """
    import keras

    info = read_info(path)
    with _of_a_model(path):
        saved = keras.saving.load_model(path, compile=False, safe_mode=True)
    return saved.trainable_variables, info


def _frozen(value: Any) -> Any:
    """Lists of lists as tuples of tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


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
