"""The command `ledger`: where the rank-seconds of one run went, and how often it should save."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable

from cloudmask import ledger as accounts
from cloudmask.ledger import BUCKETS, Ledger
from cloudmask.text import percent, plural, significant
from scaling.laws import failures
from scaling.laws.failures import Failures
from scaling.options import LedgerConfig
from scaling.record.store import StudyError


def ledger(config: LedgerConfig) -> int:
    """Print it. StudyError for a folder that is no run's."""
    given = None if config.mtbf_hours is None else failures.stated(config.mtbf_hours)
    try:
        found = accounts.of_run(config.run)
    except OSError:
        raise StudyError(
            f"{config.run} holds no events.jsonl of a run; of a study, name points/POINT/run in it"
        ) from None
    except ValueError as error:
        raise StudyError(str(error)) from None
    print("\n".join([*lines(found), *interval_lines(found, given)]))
    return 0


def lines(found: Ledger) -> list[str]:
    """The ledger for people: parts, buckets, what was lost."""
    endings = Counter(part.ending for part in found.parts)
    told = ", ".join(f"{count} {ending}" for ending, count in endings.items())
    ranks = sorted({part.ranks for part in found.parts})
    text = [
        f"{plural(len(found.parts), 'launch')} ({told}), "
        f"{'/'.join(map(str, ranks))} ranks, {found.wall_seconds:.1f} s from launch to last event, "
        f"{found.total:.1f} rank-seconds; computing {percent(found.goodput)}"
    ]
    for bucket, name in BUCKETS.items():
        seconds = found.rank_seconds[bucket]
        if seconds:
            text.append(f"  {name:<22}{seconds:12.2f} {percent(seconds / found.total):>8}")
    text.append(f"{plural(found.steps, 'step')} taken, {found.steps_lost} of them lost")
    if found.parts[-1].ending == "open":
        text.append("open: it tells of no end, was killed or still runs; counted as no failure")
    if not all(part.launch_known for part in found.parts):
        text.append("not known: what the launcher took before rank 0 began, in some of them")
    return text


def interval_lines(found: Ledger, given: Failures | None) -> list[str]:
    """Young's and Daly's interval between checkpoints, beside that of the run."""
    hours = found.wall_seconds / 3600
    rate = given or failures.observed(found.failures, hours)
    text = [_told(rate, hours)]
    if not found.checkpoint_seconds:
        return [*text, "no checkpoint was written, so nothing is known of what one costs"]
    cost = statistics.median(found.checkpoint_seconds)
    told = f"a checkpoint takes {significant(cost)} s"
    per_step = None
    gaps = [(seconds, steps) for seconds, steps in found.checkpoint_gaps if steps > 0]
    if gaps:
        seconds, steps = (statistics.median(values) for values in zip(*gaps, strict=True))
        per_step = seconds / steps
        told += f"; they came every {significant(seconds)} s, {steps:g} steps (medians)"
    text.append(told)
    for name, law in (("Young", failures.young), ("Daly", failures.daly)):
        text.append(f"{name}: one every {_interval(law, cost, rate, per_step)}")
    return text


def _told(rate: Failures, hours: float) -> str:
    if rate.count is None:
        return f"mean time between failures: {significant(rate.low)} h, as stated"
    seen = f"{plural(rate.count, 'failure')} in {significant(hours)} h"
    if rate.hours is None:
        return f"{seen}: mean time between failures at least {significant(rate.low)} h (95 %)"
    return (
        f"{seen}: mean time between failures {significant(rate.hours)} h "
        f"[{significant(rate.low)}, {significant(rate.high)}]"
    )


def _interval(
    law: Callable[[float, float], float], cost: float, rate: Failures, per_step: float | None
) -> str:
    bounds = [law(cost, 3600 * hours) for hours in (rate.low, rate.high) if hours < math.inf]
    best = law(cost, 3600 * (rate.hours or rate.low))
    text = f"{significant(best)} s"
    if rate.hours is None:
        text = f"{text} or more"
    elif bounds[-1] > bounds[0]:
        text += f" [{significant(bounds[0])}, {significant(bounds[-1])}]"
    if per_step:
        text += f", {max(1, round(best / per_step))} steps"
    return text
