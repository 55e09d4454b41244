"""The command `gate`: a study held against limits, or against an older study; for scripts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from cloudmask.cli.errors import UsageError
from cloudmask.text import listed, plural
from scaling.check import sides, work
from scaling.check.outcome import (
    MISSED,
    NOT_COMPARABLE,
    UNDECIDED,
    WORDS,
    among_failures,
    decide,
    needed,
    worst,
)
from scaling.laws import against, intervals, ratios
from scaling.laws.intervals import Estimate
from scaling.laws.ratios import Curve, CurvePoint
from scaling.options import GateConfig
from scaling.record import conditions, store
from scaling.record.store import Study, StudyError
from scaling.record.summaries import solution_seconds
from scaling.report.sentences import shown

LIMIT = re.compile(r"(>=|<=)\s*(\d+(?:\.\d+)?)\s+at\s+(\d+)")
SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def _times(study: Study, mode: str) -> Curve:
    found = []
    for ranks, rows in study.points(mode).items():
        values = tuple(map(solution_seconds, rows))
        found.append(CurvePoint(ranks, values, intervals.median(values)))
    return tuple(found)


@dataclass(frozen=True)
class Kind:
    """What a gate can ask for: of which modes, and in which unit."""

    name: str
    modes: tuple[str, ...]
    curve: Callable[[Study, str], Curve]
    unit: str = ""
    to_base: bool = False


KINDS = {
    "weak_efficiency": Kind("weak efficiency", ("weak",), ratios.efficiency, to_base=True),
    "strong_efficiency": Kind("strong efficiency", ("strong",), ratios.efficiency, to_base=True),
    "speed_up": Kind("speed-up", ("strong",), ratios.speedup, to_base=True),
    "throughput": Kind("throughput", ("strong", "weak"), ratios.throughput, " patches/s"),
    "time": Kind("time", ("strong", "weak"), _times, " s"),
}


@dataclass(frozen=True)
class Gate:
    """A limit of one kind at one number of ranks."""

    kind: Kind
    sign: str
    limit: float
    ranks: int

    @property
    def bounds(self) -> tuple[float, float]:
        return (self.limit, math.inf) if self.sign == ">=" else (-math.inf, self.limit)

    def __str__(self) -> str:
        unit = self.kind.unit
        return f"{self.kind.name} {self.sign} {self.limit:g}{unit} at {plural(self.ranks, 'rank')}"


@dataclass(frozen=True)
class Result:
    """What came of a gate in one mode."""

    gate: str
    mode: str
    ranks: int
    outcome: int
    why: str
    estimate: Estimate | None = None
    unit: str = ""
    failed: int = 0
    """points of this mode and rank count that gave no figure"""

    def line(self) -> str:
        figure = ""
        if self.estimate:
            figure = f"{shown(self.estimate)}{self.unit} ({self.estimate.kind}, "
            figure += f"{plural(self.estimate.repeats, 'run')}): "
        why = f": {self.why}" if self.why else ""
        return f"{self.gate} ({self.mode}): {figure}{WORDS[self.outcome]}{why}"

    def record(self) -> dict[str, Any]:
        """The same for programs."""
        known = {name: getattr(self, name) for name in ("gate", "mode", "ranks", "failed", "why")}
        return known | {
            "outcome": WORDS[self.outcome],
            "exit_code": self.outcome,
            "figure": asdict(self.estimate) if self.estimate else None,
        }


def gate(config: GateConfig) -> int:
    """Print a line per gate; returns the worst outcome. Raises UsageError."""
    gates = [parse(name, text) for name in KINDS for text in getattr(config, name)]
    allowed = parse_share(config)
    if not gates and allowed is None:
        raise UsageError("gate needs a limit, as in --weak-efficiency '>= 0.9 at 8'")
    try:
        study = store.read(config.study, mixed=config.mixed)
        old = store.read(config.against, mixed=config.mixed) if config.against else None
    except (StudyError, OSError) as error:
        raise UsageError(str(error)) from None  # exit code 2: 1 is a gate that was missed
    found = [result for one in gates for result in judge(study, one)]
    if old is not None and allowed is not None:
        found += judge_against(study, old, allowed, mixed=config.mixed)
    code = worst(result.outcome for result in found)
    if config.json:
        record = {
            "study": str(config.study),
            "conditions": conditions.sentence(study),
            "against": str(config.against) if config.against else None,
        }
        gates_record = [result.record() for result in found]
        print(
            json.dumps({**record, "outcome": WORDS[code], "exit_code": code, "gates": gates_record})
        )
        return code
    print(f"this: {conditions.sentence(study)}")
    for result in found:
        print(result.line())
    return code


def parse(name: str, text: str) -> Gate:
    """'>= 0.9 at 8' of a kind. Raises UsageError."""
    flag, match = "--" + name.replace("_", "-"), LIMIT.fullmatch(text.strip())
    if not match or int(match[3]) < 1:
        raise UsageError(f"{flag} '{text}': write '>= NUMBER at RANKS' or '<= NUMBER at RANKS'")
    return Gate(KINDS[name], match[1], float(match[2]), int(match[3]))


def parse_share(config: GateConfig) -> float | None:
    """--slower-than as a fraction; None where nothing is held against an older study."""
    if bool(config.against) != bool(config.slower_than):
        raise UsageError("--against OLD and --slower-than 3% go together")
    if not config.against:
        return None
    match = SHARE.fullmatch(config.slower_than.strip())
    if not match or float(match[1]) >= 100:
        raise UsageError(f"--slower-than {config.slower_than}: write a share below 100 %, as in 3%")
    return float(match[1]) / 100


def judge(study: Study, one: Gate) -> list[Result]:
    """A gate in each mode that it is meant for and that was measured; never both together."""
    modes = [mode for mode in one.kind.modes if study.points(mode)]
    if not modes:
        name = " or ".join(one.kind.modes)
        why = f"no {name} scaling was measured"
        return [Result(str(one), name, one.ranks, NOT_COMPARABLE, why)]
    return [_judge(study, one, mode) for mode in modes]


def _judge(study: Study, one: Gate, mode: str) -> Result:
    points = study.points(mode)
    where = str(one), mode, one.ranks
    if one.ranks not in points:
        why = f"{plural(one.ranks, 'rank')} were not measured; there are {listed(points)}"
        return Result(*where, NOT_COMPARABLE, why)
    base, here = next(iter(points)), points[one.ranks]
    rows = [row for some in points.values() for row in some] if one.kind.to_base else here
    if mixed := work.mixed(rows, mode):
        return Result(*where, NOT_COMPARABLE, f"its runs differ in {mixed}")
    if one.kind.to_base and one.ranks == base:
        return Result(*where, NOT_COMPARABLE, f"{plural(base, 'rank')} is the base, 1 by itself")
    curve = one.kind.curve(study, mode)
    estimate = next(point.estimate for point in curve if point.ranks == one.ranks)
    code, notes = decide(estimate, *one.bounds), []
    if one.kind.name == "time" and (missing := work.not_counted(here)) and code != MISSED:
        code, notes = NOT_COMPARABLE, missing
    if code == UNDECIDED:
        notes.append(needed(estimate, *one.bounds))
    if one.kind.to_base and base != 1:
        notes.append(f"the base is {base} ranks")
    return _with_failures(Result(*where, code, "; ".join(notes), estimate, one.kind.unit), study)


def _with_failures(result: Result, study: Study) -> Result:
    """Told of what failed at its mode and rank count, which may leave it undecided."""
    failed = work.failed(study, result.mode, result.ranks)
    if not failed:
        return result
    runs = len(study.points(result.mode)[result.ranks])
    why = "; ".join([*filter(None, [result.why]), f"{plural(failed, 'more run')} failed"])
    code = among_failures(result.outcome, failed, runs)
    return replace(result, outcome=code, why=why, failed=failed)


def judge_against(study: Study, old: Study, allowed: float, *, mixed: bool) -> list[Result]:
    """The rate over that of an older study, at each mode and rank count that both measured."""
    text = f"not slower than {old.name} by over {100 * allowed:g} %"
    places = sides.shared(old, study)
    if not places:
        return [Result(text, "any", 0, NOT_COMPARABLE, "both have no rank count in common")]
    found = []
    for mode, ranks in places:
        where = f"{text} at {plural(ranks, 'rank')}", mode, ranks
        kinds = {sides.PATCH, sides.RECIPE} | (set() if mixed else {sides.MACHINE})
        differing = sides.differences(old, study, mode, ranks)
        blocking = [str(one) for one in differing if one.kind in kinds and one.known]
        if blocking:
            found.append(Result(*where, NOT_COMPARABLE, f"other {'; '.join(blocking)}"))
            continue
        pair = [one.points(mode)[ranks] for one in (study, old)]
        if mixed_runs := next(filter(None, (work.mixed(rows, mode) for rows in pair)), ""):
            found.append(Result(*where, NOT_COMPARABLE, f"runs of one side differ in {mixed_runs}"))
            continue
        rates = [[row["patches_per_second"] for row in rows] for rows in pair]
        estimate = against.ratio(*rates)
        code = decide(estimate, 1 - allowed, math.inf)
        why = needed(estimate, 1 - allowed, math.inf) if code == UNDECIDED else ""
        found.append(_with_failures(Result(*where, code, why, estimate, " times"), study))
    return found
