"""The command `fit`: which law through which figures of a study, and what may be said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling import curves, findings, laws, results
from scaling.command import StudyError
from scaling.laws import Fit, FitError
from scaling.results import OK, Study
from scaling.settings import FitSettings

VERSION = 1


@dataclass(frozen=True)
class Fitted:
    """A law through some figures of a study, or why there is none."""

    key: str
    subject: str
    law: laws.Law
    fit: Fit | None
    refusal: str | None = None

    @property
    def notes(self) -> list[str]:
        """What limits this fit, in sentences."""
        if self.fit is None:
            return [self.refusal or ""]
        found = []
        if not self.fit.tested:
            found.append(
                "as many parameters as sizes: the law goes through the medians whatever they are, "
                "so it is assumed, not tested"
            )
        for parameter in self.fit.parameters:
            if self.law.logarithmic or parameter.name.startswith("one_rank"):
                continue
            if parameter.high < 0:
                found.append(f"{parameter.name} is below zero: super-linear, suspect the base case")
            elif parameter.low <= 0:
                found.append(f"{parameter.name} cannot be told from zero")
        return found


def run(settings: FitSettings) -> int:
    """Fit, print, and write fits.json into the study. Raises StudyError if no law can be fitted."""
    study = results.read(settings.study, mixed=settings.mixed)
    found = fit_study(study)
    lines = [line for fitted in found for line in lines_of(fitted)]
    lines += statistical_lines(study)
    if not any(fitted.fit for fitted in found):
        reasons = "; ".join(dict.fromkeys(fitted.refusal or "" for fitted in found))
        raise StudyError(f"no law can be fitted to {study.folder}: {reasons}")
    write(study, found)
    print("\n".join([findings.conditions(study), "", *lines]))
    print(f"\nintervals: 95 %, for all parameters of a law together; written to {path_of(study)}")
    return 0


def fit_study(study: Study) -> list[Fitted]:
    """Every law that these figures call for, fitted or refused."""
    found = []
    strong, weak = study.points("strong"), study.points("weak")
    if strong:
        ranks, rates = _columns(study, "strong", "patches_per_second")
        _, batches = _columns(study, "strong", "global_batch")
        steps = [batch / rate for batch, rate in zip(batches, rates, strict=True)]
        found.append(
            _try(
                "strong_step",
                "strong scaling, seconds per step",
                laws.AMDAHL,
                lambda: laws.fit_amdahl(ranks, steps),
            )
        )
        whole, totals = _columns(study, "strong", "total_seconds")
        found.append(
            _try(
                "strong_total",
                "strong scaling, seconds of the whole run",
                laws.AMDAHL,
                lambda: laws.fit_amdahl(whole, totals),
            )
        )
        found.append(
            _try(
                "strong_usl",
                "strong scaling, patches/s",
                laws.USL,
                lambda: laws.fit_usl(ranks, rates),
            )
        )
    if weak:
        weak_ranks, weak_rates = _columns(study, "weak", "patches_per_second")
        found.append(
            _try(
                "weak_gustafson",
                "weak scaling, patches/s",
                laws.GUSTAFSON,
                lambda: laws.fit_gustafson(weak_ranks, weak_rates),
            )
        )
        found.append(
            _try(
                "weak_usl",
                "weak scaling, patches/s",
                laws.USL,
                lambda: laws.fit_usl(weak_ranks, weak_rates),
            )
        )
    times = allreduce_times(study)
    if times:
        found.append(
            _try(
                "allreduce",
                "one allreduce by Horovod, seconds",
                laws.ALLREDUCE,
                lambda: laws.fit_allreduce(*zip(*times, strict=True)),
            )
        )
    return found


def _columns(study: Study, mode: str, name: str) -> tuple[list[int], list[float]]:
    """Rank counts and figures of single runs."""
    found = curves.curve(study.points(mode), name)
    ranks = [point.ranks for point in found for _ in point.values]
    return ranks, [value for point in found for value in point.values]


def allreduce_times(study: Study) -> list[tuple[int, int, float]]:
    """(ranks, bytes, seconds) of the message sizes that were measured."""
    return [
        (row["ranks"], one["bytes"], one["seconds"])
        for row in study.rows
        if row["kind"] == "allreduce" and row["status"] == OK
        for one in row["allreduce"]
    ]


def _try(key: str, subject: str, law: laws.Law, fit: Callable[[], Fit]) -> Fitted:
    try:
        return Fitted(key, subject, law, fit())
    except FitError as error:
        return Fitted(key, subject, law, None, str(error))


def path_of(study: Study) -> Path:
    return study.folder / "fits.json"


def write(study: Study, found: list[Fitted]) -> None:
    """fits.json: everything the report and other programs need."""
    record = {
        "format": "scaling-fits",
        "version": VERSION,
        "confidence": laws.CONFIDENCE,
        "fits": [as_dict(fitted) for fitted in found],
    }
    results.write_whole(path_of(study), json.dumps(record, indent=1) + "\n")


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
            p.name: {"value": p.value, "low": p.low, "high": p.high, "unit": p.unit}
            for p in fit.parameters
        }
        record |= {"points": fit.points, "ranks": list(fit.ranks), "spread": fit.spread}
        record["residuals"] = [round(residual, 5) for residual in fit.residuals]
    return record


def lines_of(fitted: Fitted) -> list[str]:
    """A fit for people."""
    if fitted.fit is None:
        return [f"{fitted.law.name}, {fitted.subject}: not fitted", f"  {fitted.refusal}"]
    fit = fitted.fit
    worst = max(fit.residuals, key=abs)
    values = [
        f"{p.name} {shown(p.value, p.unit)} [{shown(p.low, p.unit)}, {shown(p.high, p.unit)}]"
        for p in fit.parameters
    ]
    return [
        f"{fitted.law.name}, {fitted.subject}: {fitted.law.formula}",
        f"  {'; '.join(values)}",
        f"  {fit.points} points on {', '.join(map(str, fit.ranks))} ranks, residuals "
        f"{100 * fit.spread:.1f} % (largest {100 * worst:+.1f} %)",
        *(f"  note: {note}" for note in fitted.notes),
    ]


def shown(value: float, unit: str) -> str:
    """A fitted value with a fitting unit."""
    if unit == "B/s":
        return f"{value / 1e9:.3g} GB/s" if value >= 1e8 else f"{value / 1e6:.3g} MB/s"
    if unit == "s":
        return f"{value:.3g} s" if abs(value) >= 0.1 else f"{1e3 * value:.3g} ms"
    return f"{value:.3g}{f' {unit}' if unit else ''}"


def statistical_lines(study: Study) -> list[str]:
    """Epochs to the target, where runs had one."""
    lines = []
    for mode in study.modes:
        found, tried = curves.statistical_efficiency(study, mode)
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
