"""The first page: what was measured, what was found, what is projected. Whoever reads no further
must not be misled, so every figure has its interval and its base, and says where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloudmask.text import enumerated, listed, percent, plural, significant, with_unit
from scaling.laws import holdout, intervals, ratios, reach
from scaling.laws.fits import Fitted
from scaling.laws.fitting import Fit
from scaling.laws.holdout import Prediction
from scaling.record import conditions
from scaling.record.store import OK, Study
from scaling.report.sentences import base_name, shown
from scaling.report.style import PROJECT
from scaling.report.tables import Table, shares_of

MOST = 8
"""findings on the first page"""


@dataclass(frozen=True)
class Finding:
    """A sentence, and where its figures stand."""

    text: str
    table: str = ""
    """anchor of a table"""
    picture: str = ""
    """key of a panel"""

    @property
    def head(self) -> str:
        """Weak scaling: what a sentence with a colon is about; else empty."""
        head, colon, _ = self.text.partition(": ")
        return head if colon and "(" not in head and "," not in head[:60] else ""

    @property
    def rest(self) -> str:
        return self.text.removeprefix(f"{self.head}: ") if self.head else self.text


def measured(study: Study) -> str:
    """What was measured on what, for a reader who knows neither the program nor the machine."""
    rows = study.measured
    ranks = sorted({row["ranks"] for row in rows})
    modes = {
        "strong": "strong scaling (a fixed batch shared out over more ranks)",
        "weak": "weak scaling (every rank brings a batch of its own)",
    }
    repeats = sorted({len(found) for mode in study.modes for found in study.points(mode).values()})
    runs = str(repeats[0]) if len(repeats) == 1 else f"{repeats[0]} to {repeats[-1]}"
    hardware = conditions.told(rows, "hardware")
    if hardware == conditions.NOT_TOLD:
        hardware = study.header["hardware"]["title"]
    hosts = {name for row in rows for name in row.get("hosts") or []}
    where = f"{hardware}, {plural(len(hosts), 'host')}" if hosts else hardware
    commit = conditions.told(rows, lambda row: str(row.get("commit") or "not known")[:12])
    bad = sum(row["status"] != OK for row in study.latest)
    return (
        f"{conditions.program_name(study)} on {where}: "
        f"{enumerated([str(count) for count in ranks])} ranks, "
        f"{conditions.told(rows, 'binding')}, started by {study.header['launcher']}. "
        f"{enumerated([modes[mode] for mode in study.modes]).capitalize()}. "
        f"{runs} runs of each point in random order, {conditions.days(rows)}, commit {commit}; "
        f"{plural(len(study.latest), 'point')} in all, "
        f"{f'of which {bad} gave no figures' if bad else 'and all gave figures'}."
    )


def findings(study: Study, tables: Sequence[Table]) -> list[Finding]:
    """At most eight, the weightiest first; those of the tables come after the curves' own."""
    found = [finding for mode in study.modes for finding in _scaling(study, mode)]
    found += _whole_run(study)
    found += [Finding(table.finding, table.anchor) for table in tables if table.finding]
    for topic in (_copies, _step, _balance, _startup, _alone):
        # Once each: strong scaling says little else of them than weak scaling does.
        told = [topic(study, mode) for mode in reversed(study.modes)]
        found += next(filter(None, told), [])
    return found[:MOST]


def _scaling(study: Study, mode: str) -> list[Finding]:
    rate, speedup = ratios.throughput(study, mode), ratios.speedup(study, mode)
    if len(rate) < 2:
        return []
    of, do = (f" of an {study.emulated}", "pass") if study.emulated else ("", "train")
    last, base = rate[-1], ratios.base_of(rate)
    text = (
        f"{mode.capitalize()} scaling{of}: {last.ranks} ranks {do} {shown(last.estimate)} "
        f"patches/s, {shown(speedup[-1].estimate)} times the "
        f"{significant(base.estimate.value)} of {plural(base.ranks, 'rank')}; efficiency "
        f"{shown(ratios.efficiency(study, mode)[-1].estimate)} "
        f"(base: {base_name(study, rate)})."
    )
    return [Finding(text, f"{mode}-scaling", mode)]


def _whole_run(study: Study) -> list[Finding]:
    whole = ratios.solution_speedup(study)
    if len(whole) < 2:
        return []
    seconds = ratios.curve(study.points("strong"), "wall_seconds")
    base = f"{significant(seconds[0].estimate.value)} of {plural(seconds[0].ranks, 'rank')}"
    text = (
        "The whole run, launch, start-up, validation and checkpoints included, takes "
        f"{shown(seconds[-1].estimate)} s on {whole[-1].ranks} ranks: "
        f"{shown(whole[-1].estimate)} times as fast as the {base} (base: "
        f"{base_name(study, whole)})."
    )
    return [Finding(text, "strong-scaling", "strong")]


def _copies(study: Study, mode: str) -> list[Finding]:
    return [
        Finding(
            f"{point.ranks} ranks reach {shown(point.estimate)} of as many unconnected copies "
            f"({mode} batches), the bound of a perfect allreduce on this machine.",
            f"{mode}-scaling",
            mode,
        )
        for point in ratios.against_copies(study, mode)[-1:]
    ]


def _step(study: Study, mode: str) -> list[Finding]:
    """Where the time of a step goes on the most ranks."""
    found = ratios.step_parts(study, mode)
    if not found:
        return []
    ranks, parts = list(found.items())[-1]
    whole = sum(parts.values())
    found_shares = shares_of(parts)
    shares = [f"{percent(found_shares[key])} {name}" for key, name in ratios.PARTS.items()]
    text = (
        f"A step of {mode} scaling on {ranks} ranks takes {with_unit(whole, 's')} (median): "
        f"{enumerated(shares)}."
    )
    return [Finding(text, f"{mode}-step", "step")]


def _balance(study: Study, mode: str) -> list[Finding]:
    """How evenly the ranks share the work: POP's two efficiencies."""
    points = study.points(mode)
    load = ratios.curve(points, "load_balance")
    useful = ratios.curve(points, "communication_efficiency")
    if not load or not useful or load[-1].ranks < 2 or load[-1].ranks != useful[-1].ranks:
        return []
    text = (
        f"Load balance of {load[-1].ranks} ranks is {shown(load[-1].estimate)} ({mode} batches), "
        f"where 1 is even; the slowest rank computes {shown(useful[-1].estimate)} of a step."
    )
    return [Finding(text, f"{mode}-step", "balance")]


def _startup(study: Study, mode: str) -> list[Finding]:
    """What a run takes before its first step, which no faster step makes shorter."""
    points = study.points(mode)
    startup = ratios.curve(points, "startup_seconds")
    whole = ratios.curve(points, "wall_seconds")
    if not startup or not whole or startup[-1].ranks != whole[-1].ranks:
        return []
    text = (
        f"Start-up takes {shown(startup[-1].estimate)} s on {plural(startup[-1].ranks, 'rank')}, "
        f"of whole runs of {shown(whole[-1].estimate)} s ({mode} batches)."
    )
    return [Finding(text, f"{mode}-scaling")]


def _alone(study: Study, mode: str) -> list[Finding]:
    rate = ratios.throughput(study, mode)
    base = ratios.base_of(rate)
    found = []
    for point in ratios.throughput(study, mode, "alone") if base.ranks == 1 else ():
        share = intervals.ratio(base.estimate, point.estimate)
        text = (
            f"One rank through {study.header['launcher']} is {shown(share)} times as fast as the "
            f"same code without Horovod, {shown(point.estimate)} patches/s ({mode} batches)."
        )
        found.append(Finding(text, f"{mode}-scaling", "throughput"))
    return found


def verdicts(fitted: Sequence[Fitted], tested: Sequence[Prediction]) -> list[Finding]:
    """Which laws hold, with what limits them; and how they did on ranks that they had not seen."""
    found = []
    for one in fitted:
        words = f"{one.law.name}, {one.subject}: "
        if one.fit is None:
            words += f"not fitted; {one.refusal}"
        else:
            words += "; ".join([f"fitted, residuals {one.fit.left}", *one.notes])
        found.append(Finding(f"{words}.", "laws", "allreduce" if one.key == "allreduce" else ""))
    for predicted in tested:
        text = holdout.sentence(predicted)
        found.append(Finding(f"{text[0].upper()}{text[1:]}.", "held-out"))
    return found


def projected(study: Study, fitted: Sequence[Fitted]) -> list[Finding]:
    """What the laws say of twice the ranks measured, and that nobody measured it."""
    ranks = PROJECT * max(row["ranks"] for row in study.measured)
    by_key = {one.key: one for one in fitted}
    found = []
    for mode in study.modes:
        text = _projection(*reach.of_fitted(by_key, mode), ranks)
        about = f"Projected, not measured: {mode} scaling on {ranks} ranks: {text}"
        found.append(Finding(about, "laws", mode))
    return found


def _projection(laws: dict[str, Fit], why: str, ranks: int) -> str:
    """A figure where rank counts have tested the laws and carry them, and the interval says
    anything."""
    if not laws:
        return f"nothing; {why}."
    first, there = next(iter(laws.values())), np.array([float(ranks)])
    if reach.most_devices(first) < ranks:
        return f"nothing; {listed(first.ranks)} ranks do not carry {first.law.name} so far."
    if not reach.carried(laws, there).all():
        return "nothing; its interval is too wide to say anything."
    middle = float(first.predict(there)[0])
    low, high = (float(bound[0]) for bound in reach.possible([*laws.values()], there))
    rejected = ", REJECTED by its own rank counts" if first.rejected else ""
    return (
        f"{significant(middle)} [{significant(low)}, {significant(high)}] patches/s by "
        f"{listed(list(laws))}{rejected}; the interval of what many runs would show, in 95 %."
    )
