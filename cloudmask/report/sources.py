"""What a report is made from: run folders and masks folders, read as far as they are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudmask.files import parse_json
from cloudmask.model.keras_file import refuse_emulated
from cloudmask.report import listing
from cloudmask.text import is_number

EVALUATION = "evaluation.json"
FORMAT, VERSION = "cloudmask-evaluation", 2
_SHAPE = {"classes": list, "members": dict, "pooled": dict, "scenes": list}
"""what an evaluation of scenes must hold, and as what"""


@dataclass(frozen=True)
class Run:
    """A training, as its folder tells it; what is not there is empty."""

    name: str
    summary: dict[str, Any]
    environment: dict[str, Any]
    options: str
    """config.yaml as text"""
    patch_evaluations: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Part:
    """One thing that was asked for: a run, or masks with the runs that made them."""

    name: str
    runs: tuple[Run, ...] = ()
    evaluation: dict[str, Any] = field(default_factory=dict)
    """of scenes; empty without one"""
    masks: Path | None = None
    """folder of the masks that the evaluation is of"""
    remarks: tuple[str, ...] = ()
    """what is missing, a sentence each"""


def read(paths: Sequence[Path]) -> list[Part]:
    """Each path as a part; a run is not shown twice if masks that are asked for come from it.

    ValueError for a path that holds nothing to report, and for a file that cannot be understood.
    """
    if not paths:
        raise ValueError("nothing to report: name a run folder or a folder of masks")
    parts = {path.resolve(): _part(path) for path in paths}
    of_masks = {
        _near(Path(str(model)), part.masks)
        for path, part in parts.items()
        if part.masks and part.masks.resolve() == path
        for model in _models(part.evaluation)
    }
    return [
        part
        for path, part in parts.items()
        if path not in of_masks or (part.masks and part.masks.resolve() not in parts)
    ]


def locate(named: str, near: Path | None) -> Path | None:
    """A file or folder as an evaluation names it, if it is still there.

    A relative path is looked for from here, then from each folder above the masks: results that
    were moved as a whole, or are looked at from elsewhere, still find what belongs to them.
    """
    path = Path(named)
    above = near.resolve().parents if near and not path.is_absolute() else ()
    return next((place for place in (path, *(top / path for top in above)) if place.exists()), None)


def _near(path: Path, masks: Path | None) -> Path | None:
    found = locate(str(path), masks)
    return found.resolve() if found else None


def _part(path: Path) -> Part:
    if not path.exists():
        raise ValueError(f"{path} does not exist; name a run folder or a folder of masks")
    if not path.is_dir():
        raise ValueError(f"{path} is a file; name the run folder or the folder of masks around it")
    if (path / EVALUATION).is_file():
        return _of_masks(path, str(path))
    refuse_emulated(path)
    run = _run(path)
    masks = path / "masks"
    if (masks / EVALUATION).is_file():
        part = _of_masks(masks, str(path))
        return Part(part.name, (run, *_others(part.runs, run)), part.evaluation, masks)
    if not run.summary and not run.patch_evaluations:
        hint = "run `cloudmask evaluate` on its masks first" if _has_masks(path) else ""
        raise ValueError(
            f"nothing to report in {path}: it holds neither summary.json nor {EVALUATION}; "
            f"{hint or 'name a run folder or a folder of evaluated masks'}"
        )
    remark = (
        "No whole scenes have been evaluated: `cloudmask predict` makes their masks and "
        "`cloudmask evaluate` measures them."
    )
    return Part(str(path), (run,), remarks=(remark,))


def _others(runs: Sequence[Run], run: Run) -> Iterator[Run]:
    """Without the run whose folder the masks lie in, which is named among the models as well."""
    return (other for other in runs if other.summary != run.summary)


def _of_masks(masks: Path, name: str) -> Part:
    evaluation = _evaluation(masks / EVALUATION)
    runs, remarks = [], []
    for model in _models(evaluation):
        folder = locate(str(model), masks)
        if folder and folder.is_file():
            folder = folder.parent  # RUN/model.keras
        run = _run(folder) if folder else None
        if run and run.summary:
            runs.append(run)
        else:
            remarks.append(f"The run {model} is not there, so its training is not shown.")
    if not _models(evaluation):
        remarks.append("The masks name no model, so no training is shown.")
    return Part(name, tuple(runs), evaluation, masks, tuple(remarks))


def _models(evaluation: dict[str, Any]) -> list[Any]:
    models = evaluation.get("models")
    return models if isinstance(models, list) else []


def _has_masks(folder: Path) -> bool:
    return any(folder.glob("*.nc")) or any(folder.glob("masks/*.nc"))


def _run(folder: Path) -> Run:
    evaluations = [_json(path) for path in sorted(folder.glob("evaluation-*.json"))]
    config = folder / "config.yaml"
    return Run(
        name=str(folder),
        summary=_json(folder / "summary.json"),
        environment=_json(folder / "environment.json"),
        options=config.read_text(errors="replace") if config.is_file() else "",
        patch_evaluations=tuple(e for e in evaluations if "format" not in e),
    )


def _evaluation(path: Path) -> dict[str, Any]:
    found = _json(path)
    if found.get("format") != FORMAT or found.get("version") != VERSION:
        raise ValueError(
            f"{path} is not an evaluation of scenes of version {VERSION}; run "
            "`cloudmask evaluate` again"
        )
    for key, kind in _SHAPE.items():
        if not isinstance(found.get(key), kind):
            raise ValueError(f"{path} holds no usable '{key}'; run `cloudmask evaluate` again")
    if not all(isinstance(scene, dict) for scene in found["scenes"]):
        raise ValueError(f"{path} holds no usable 'scenes'; run `cloudmask evaluate` again")
    many = found.get("num_scenes")
    if is_number(many) and many > len(found["scenes"]) and found.get("listing"):
        listed = path.with_name(Path(str(found["listing"])).name)  # never outside the folder
        if not listed.is_file():
            raise ValueError(
                f"{listed} is gone, which lists all scenes; run `cloudmask evaluate` again"
            )
        found["scenes"] = listing.read(listed)
    return found


def _json(path: Path) -> dict[str, Any]:
    """The object in a file; empty if there is no file. ValueError if it holds something else."""
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path} is damaged: it is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object")
    return found
