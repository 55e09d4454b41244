"""The figures of better_masks: each row by day and by night, three seeds, beside the teacher."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks import bench
from benchmarks import better_masks_parts as parts
from cloudmask.evaluate import agreement, intervals
from cloudmask.evaluate.agreement import Duel

STEPS = 2000
"""of a probability, in which pixels are counted"""
PARTS = ("day", "night")
DEPTHS = (0.1, 0.3, 1.0)
"""optical depths from which on a pixel is cloud; the truth is the middle one"""


@dataclass(frozen=True, eq=False)
class Scenes:
    """All test scenes: (N, H, W) each."""

    depth: np.ndarray
    teacher: np.ndarray
    measured: np.ndarray
    night: np.ndarray
    """(N,)"""
    names: list[str]

    @cached_property
    def truth(self) -> np.ndarray:
        return self.depth > DEPTHS[1]

    def of(self, part: str) -> np.ndarray:
        """(N,) bool"""
        return self.night if part == "night" else ~self.night


def read(folder: Path) -> Scenes:
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("depth", "teacher", "measured")}
    night, names = [], []
    for path in sorted(folder.glob("*.hdf")):
        with h5py.File(path) as file:
            found["depth"].append(file["depth"][..., 0])
            found["teacher"].append(file["bayes"][..., 0] > 0)
            found["measured"].append(file["bts"][..., 1] > 0)
            night.append(not file["refs"][...].any())
        names.append(path.stem)
    return Scenes(**{k: np.stack(v) for k, v in found.items()}, night=np.array(night), names=names)


def of_mask(scenes: Scenes, cloud: np.ndarray, part: str) -> dict[str, float]:
    """A mask beside the truth, in the scenes of a part."""
    where = scenes.measured & scenes.of(part)[:, None, None]
    truth, mask = scenes.truth[where], cloud[where]
    return {
        "accuracy": float((mask == truth).mean()),
        "iou": float((mask & truth).sum() / (mask | truth).sum()),
        "cloud_fraction": float(mask.mean()),
        **{
            f"accuracy_depth_{depth:g}": float((mask == (scenes.depth[where] > depth)).mean())
            for depth in DEPTHS
        },
    }


def of_probability(scenes: Scenes, probability: np.ndarray, part: str) -> dict[str, float]:
    """At 0.5, at the best threshold, at the teacher's cloud fraction, and at any threshold."""
    where = scenes.measured & scenes.of(part)[:, None, None]
    step = np.rint(np.nan_to_num(probability[where].astype(np.float32)) * STEPS).astype(int)
    truth = scenes.truth[where]
    there, absent = (np.bincount(step[c], minlength=STEPS + 1) for c in (truth, ~truth))
    # Pixels at or above each step.
    hits, alarms = (np.cumsum(count[::-1])[::-1] for count in (there, absent))
    right = (hits + absent.sum() - alarms) / len(step)
    fraction = (hits + alarms) / len(step)
    same = int(np.abs(fraction - scenes.teacher[where].mean()).argmin())
    area = np.trapezoid([0, *hits[::-1]], [0, *alarms[::-1]]) / there.sum() / absent.sum()
    return {
        **of_mask(scenes, probability >= 0.5, part),
        "best_accuracy": float(right.max()),
        "best_threshold": float(right.argmax() / STEPS),
        "accuracy_at_teachers_fraction": float(right[same]),
        "auc": float(area),
    }


def against_teacher(scenes: Scenes, masks: list[np.ndarray], part: str) -> dict[str, Any]:
    """Accuracy minus the teacher's, over scenes: the mean of the masks of all seeds."""
    units, gained, pixels = [], [], []
    for index in np.flatnonzero(scenes.of(part)):
        known = scenes.measured[index]
        truth, teacher = scenes.truth[index][known], scenes.teacher[index][known]
        right = [mask[index][known] == truth for mask in masks]
        a_only = sum(int((r & (teacher != truth)).sum()) for r in right)
        b_only = sum(int((~r & (teacher == truth)).sum()) for r in right)
        units.append(Duel(0, a_only, b_only, len(truth) * len(masks) - a_only - b_only))
        gained.append((a_only - b_only) / len(masks))
        pixels.append(len(truth))
    interval = intervals.of_pooled(np.array(gained), np.array(pixels, float))
    test = agreement.clustered_mcnemar(units)
    return {
        "gain": float(np.sum(gained) / np.sum(pixels)),
        "interval": list(interval) if interval else None,
        "scenes": len(units),
        "clustered_mcnemar_p": test[1] if test else None,
    }


def row(scenes: Scenes, models: list[Path]) -> dict[str, Any]:
    """All figures of a row: each seed, their mean and spread, and their mean probability."""
    found: dict[str, Any] = {}
    probabilities = [np.load(parts.probabilities_of(model)) for model in models]
    for part in PARTS:
        each = [of_probability(scenes, p, part) for p in probabilities]
        mean = np.mean([p.astype(np.float32) for p in probabilities], axis=0)
        found[part] = {
            "seeds": each,
            "mean": {key: float(np.mean([one[key] for one in each])) for key in each[0]},
            "spread": {key: float(np.std([one[key] for one in each], ddof=1)) for key in each[0]},
            "against_teacher": against_teacher(scenes, [p >= 0.5 for p in probabilities], part),
            "ensemble": {
                **of_probability(scenes, mean, part),
                "against_teacher": against_teacher(scenes, [mean >= 0.5], part),
            },
        }
    return found


def report(test: Path, models: dict[str, list[Path]], **conditions: Any) -> None:
    """Count the masks of the scenes in `test`, keep the record, print the table.

    `models`: title of a row -> its models, one of each seed.
    """
    scenes = read(test)
    rows = {title: row(scenes, of_seeds) for title, of_seeds in models.items()}
    teacher = {part: of_mask(scenes, scenes.teacher, part) for part in PARTS}
    print("\n".join(table(teacher, rows)))
    bench.keep(
        "better_masks",
        test_scenes={part: int(scenes.of(part).sum()) for part in PARTS},
        **conditions,
        teacher=teacher,
        rows=rows,
    )


def table(teacher: dict[str, Any], rows: dict[str, Any]) -> list[str]:
    """Two tables in Markdown, in per cent and points: what was gained, and what was measured."""
    gained = [
        "| learned from | day | beside the teacher | night | beside the teacher "
        "| three seeds together, day and night |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| the teacher itself | {_cent(teacher['day']['accuracy'])} | "
        f"| {_cent(teacher['night']['accuracy'])} | | |",
    ]
    measured = [
        "| learned from | part | at the teacher's fraction | best threshold | IoU | AUC "
        "| cloud fraction | optical depth > 0.1, > 1 | McNemar's p |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_measured("the teacher itself", part, teacher[part], None) for part in PARTS),
    ]
    for title, found in rows.items():
        cells = [title]
        for part in PARTS:
            mean, spread = found[part]["mean"], found[part]["spread"]
            cells.append(f"{_cent(mean['accuracy'])} ± {_cent(spread['accuracy'])}")
            cells.append(_gain(found[part]["against_teacher"]))
            p = found[part]["against_teacher"]["clustered_mcnemar_p"]
            measured.append(_measured(title, part, mean, p))
        together = [found[part]["ensemble"]["against_teacher"] for part in PARTS]
        cells.append(", ".join(_gain(one) for one in together))
        gained.append(f"| {' | '.join(cells)} |")
    return [*gained, "", *measured]


def _measured(title: str, part: str, found: dict[str, float], p: float | None) -> str:
    """A line of the second table; of a mask without probabilities some cells stay empty."""

    def cell(name: str, text: str) -> str:
        return text.format(found[name]) if name in found else ""

    cells = [
        title,
        part,
        *(cell(name, "{:.2%}") for name in ("accuracy_at_teachers_fraction", "best_accuracy")),
        *(cell(name, "{:.3f}") for name in ("iou", "auc", "cloud_fraction")),
        ", ".join(f"{found[f'accuracy_depth_{depth:g}']:.3f}" for depth in (DEPTHS[0], DEPTHS[2])),
        "" if p is None else f"{p:.3f}" if p >= 0.0005 else "< 0.001",
    ]
    return f"| {' | '.join(cells).replace('%', '')} |"


def _cent(share: float) -> str:
    return f"{100 * share:.2f}"


def _gain(found: dict[str, Any]) -> str:
    interval = found["interval"]
    told = f" [{100 * interval[0]:+.2f}, {100 * interval[1]:+.2f}]" if interval else ""
    return f"{100 * found['gain']:+.2f}{told}"
