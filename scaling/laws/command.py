"""The command `fit`: the laws of a study in words and as fits.json."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cloudmask.files import write_json
from scaling.laws import fits, fitting, holdout, noise_scale, ratios
from scaling.laws.fits import Fitted
from scaling.laws.holdout import Prediction
from scaling.options import FitConfig
from scaling.record import conditions, store
from scaling.record.store import Study, StudyError

VERSION = 1


def fit(config: FitConfig) -> int:
    """Fit, print, and write fits.json into the study. Raises StudyError if no law can be fitted."""
    study = store.read(config.study, mixed=config.mixed)
    held = holdout.parse(config.hold_out, study)
    found = fits.fit_study(holdout.without(study, held))
    lines = [line for fitted in found for line in fits.lines_of(fitted)]
    lines += statistical_lines(study) + noise_scale.lines(study)
    tested = holdout.predictions(study, found, held)
    lines += holdout.lines(tested, held)
    if not any(fitted.fit for fitted in found):
        reasons = "; ".join(dict.fromkeys(fitted.refusal or "" for fitted in found))
        raise StudyError(f"no law can be fitted to {study.folder}: {reasons}")
    write(study, found, tested)
    print("\n".join([conditions.sentence(study), "", *lines]))
    print(f"\nintervals: 95 %, for all parameters of a law together; written to {path_of(study)}")
    return 0


def path_of(study: Study) -> Path:
    return study.folder / "fits.json"


def write(study: Study, found: list[Fitted], tested: Sequence[Prediction]) -> None:
    """fits.json: everything the report and other programs need."""
    record = {
        "format": "scaling-fits",
        "version": VERSION,
        "confidence": fitting.CONFIDENCE,
        "device": study.emulated or store.REAL,
        "fits": [as_dict(fitted) for fitted in found],
        "held_out": [asdict(one) for one in tested],
    }
    write_json(path_of(study), record)


def as_dict(fitted: Fitted) -> dict[str, Any]:
    law, fit = fitted.law, fitted.fit
    record: dict[str, Any] = {
        "key": fitted.key,
        "subject": fitted.subject,
        "law": law.name,
        "formula": law.formula,
        "source": law.source,
        "notes": fitted.notes,
        "refused": fitted.refusal,
    }
    if fit:
        record["parameters"] = {
            p.name: {
                **{"value": p.value, "low": p.low, "unit": p.unit, "on_its_bound": p.bounded},
                "high": p.high if math.isfinite(p.high) else None,
            }
            for p in fit.parameters
        }
        record |= {"points": fit.points, "ranks": list(fit.ranks), "spread": fit.spread}
        record |= {"tested": fit.tested, "rejected": fit.rejected}
        record["lack_of_fit"] = asdict(fit.lack) if fit.lack else None
        record["residuals"] = [round(residual, 5) for residual in fit.residuals]
    return record


def statistical_lines(study: Study) -> list[str]:
    """Epochs to the target, where runs had one."""
    lines = []
    for mode in study.modes:
        found, tried = ratios.statistical_efficiency(study, mode)
        for point in found:
            low, high = point.estimate.low, point.estimate.high
            lines.append(
                f"statistical efficiency, {mode}, {point.ranks} ranks: {point.estimate.value:.3g} "
                f"[{low:.3g}, {high:.3g}]"
            )
        lines += [
            f"statistical efficiency, {mode}, {ranks} ranks: unknown, the target was reached in "
            f"{reached} of {runs} runs"
            for ranks, (reached, runs) in tried.items()
            if reached < runs
        ]
    return lines
