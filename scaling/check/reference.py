"""Published figures to hold a study against: data in references/, read and checked here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudmask.cli.errors import UsageError
from cloudmask.files import parse_json
from cloudmask.text import is_number, listed, plural

FOLDER = Path(__file__).resolve().parent / "references"
QUANTITIES = ("time to solution", "speed-up")
MAY_BE_NONE = ("validation_patches", "validations", "inferences")
"""of the work; all else of it is 1 or more"""


@dataclass(frozen=True)
class Figure:
    """A value and how far one may be from it, as fractions of it; None: as far as one likes."""

    value: float
    lower: float | None
    upper: float | None
    ranks: int | None = None
    """of a speed-up"""

    @property
    def bounds(self) -> tuple[float, float]:
        """What is within the figure; infinite where it is open."""
        low = -math.inf if self.lower is None else self.value * (1 + self.lower)
        return low, math.inf if self.upper is None else self.value * (1 + self.upper)


@dataclass(frozen=True)
class Reference:
    """A published figure, the work it stands for, and what is wrong with it."""

    name: str
    title: str
    quantity: str
    unit: str
    device: str
    devices: int
    figures: tuple[Figure, ...]
    work: dict[str, int]
    """of a time: training_patches, validation_patches, epochs, patch_size, channels, parameters,
    validations (default: one an epoch), inferences; of both: global_batch, batch_per_rank"""
    precision: str | None
    """None where it is not stated"""
    quality: dict[str, float]
    """metrics that a run must reach, such as accuracy; empty where none is stated"""
    mode: str
    weak_points: tuple[str, ...]
    source: str

    @property
    def stated(self) -> dict[str, Any]:
        """All that a run's work is compared with."""
        return {**self.work, "precision": self.precision}

    @property
    def claim(self) -> str:
        """Its figures in words."""
        if self.quantity == "speed-up":
            each = (f"{figure.value:g} on {figure.ranks}" for figure in self.figures)
            return f"speed-up {listed(each)} devices"
        return f"{minutes(self.figures[0].value)} on {plural(self.devices, 'device')}"


def minutes(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str) -> Reference:
    """A reference by its name, or from a JSON file. Raises UsageError."""
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        path = Path(name)
    if not path.is_file():
        raise UsageError(
            f"no reference '{name}'; there are: {', '.join(names())}, or name a JSON file"
        )
    try:
        return _reference(parse_json(path.read_text()))
    except KeyError as error:
        raise UsageError(f"{path} is no reference: it has no {error}") from None
    except (TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"{path} is no reference: {error}") from None


def _number(record: Mapping[str, Any], name: str, least: float = -math.inf) -> float:
    """A finite number of at least `least`. ValueError names it."""
    value = record[name]
    if not (is_number(value) and value >= least):
        bound = f" of {least:g} or more" if math.isfinite(least) else ""
        raise ValueError(f"{name} must be a number{bound}, not {value!r}")
    return float(value)


def _whole(record: Mapping[str, Any], name: str, least: int) -> int:
    value = _number(record, name, least)
    if value != int(value):
        raise ValueError(f"{name} must be a whole number, not {value:g}")
    return int(value)


def _figure(record: Mapping[str, Any]) -> Figure:
    value = _number(record, "value")
    lower, upper = (
        None if record.get(name) is None else _number(record, name) for name in ("lower", "upper")
    )
    if value <= 0:
        raise ValueError(f"value must be above 0, not {value:g}")
    if (lower or 0) > 0 or (upper or 0) < 0:
        raise ValueError("lower is a fraction of 0 or less, upper one of 0 or more")
    ranks = None if record.get("ranks") is None else _whole(record, "ranks", 1)
    return Figure(value, lower, upper, ranks)


def _reference(record: dict[str, Any]) -> Reference:
    quantity = record["quantity"]
    if quantity not in QUANTITIES:
        raise ValueError(f"quantity '{quantity}' is none of {', '.join(QUANTITIES)}")
    figures = tuple(map(_figure, record["figures"]))
    if not figures:
        raise ValueError("it has no figures")
    if quantity == "speed-up" and any(figure.ranks is None for figure in figures):
        raise ValueError("each figure of a speed-up needs its ranks")
    told = record.get("work", {})
    work = {str(key): _whole(told, key, key not in MAY_BE_NONE) for key in dict(told.items())}
    needed = {"training_patches", "validation_patches", "epochs"}
    if quantity == "time to solution" and not needed <= set(work):
        raise ValueError(f"its work lacks {', '.join(sorted(needed - set(work)))}")
    quality = record.get("quality", {})
    return Reference(
        str(record["name"]),
        str(record["title"]),
        quantity,
        str(record.get("unit", "s")),
        str(record.get("device", "GPU")),
        _whole({"devices": 1, **record}, "devices", 1),
        figures,
        work,
        record.get("precision"),
        {str(key): _number(quality, key) for key in dict(quality.items())},
        str(record.get("mode", "any")),
        tuple(map(str, record.get("weak_points", ()))),
        str(record.get("source", "not stated")),
    )
