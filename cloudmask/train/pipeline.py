"""Steps under way: a device is given its next step before its last one's result is looked at.

A GPU works by itself, so between two steps it must not wait for the host, which counts, writes and
draws. A request to stop is therefore obeyed one step later there. What must happen between two
steps, a checkpoint for one, still does: then the next step is launched after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

from cloudmask.train.batches import Input
from cloudmask.train.begin import Run
from cloudmask.train.state import Rest
from cloudmask.train.step import Step, StepResult


@dataclass(frozen=True)
class Taken:
    """A step that was taken by all ranks."""

    batch: Input
    patches: int
    """of all ranks"""
    result: StepResult


@dataclass(frozen=True)
class _Launched:
    batch: Input
    patches: int
    future: Future[StepResult]

    def taken(self, *, last: bool) -> Taken:
        result = self.future.result()
        if not last:
            # Who makes a request makes it in every step that follows: the last one has it too.
            result = result._replace(stop_requests=0.0, hosts_changed=0.0)
        return Taken(self.batch, self.patches, result)


def take(run: Run, step: Step, ahead: Iterable[Input], rest: Rest) -> Iterator[Taken]:
    """Take what is left of an epoch; each step is handed out when its result is there.

    Which steps are launched follows from sums over all ranks, so it is the same on each.
    """
    under_way: deque[_Launched] = deque()
    try:
        yield from _taken(run, step, ahead, rest, under_way)
    finally:
        for launched in under_way:  # after an error: nothing may go on while ranks meet anew
            launched.future.exception()


def _taken(
    run: Run, step: Step, ahead: Iterable[Input], rest: Rest, under_way: deque[_Launched]
) -> Iterator[Taken]:
    steps = zip(rest.patches, rest.learning_rates, ahead, strict=False)
    for number, (patches, learning_rate, batch) in enumerate(steps, start=run.state.step + 1):
        run.watch.at("step", number)
        flags = bool(run.stop), run.elastic.hosts_changed
        clocked = number % run.plan.timing_every == 0
        under_way.append(_Launched(batch, patches, step(batch, learning_rate, *flags, clocked)))
        lag = 0 if run.pauses_after(number) else run.lag
        requested = False
        while len(under_way) > lag and not requested:
            requested = _requests(under_way[0].future.result())
            yield under_way.popleft().taken(last=not under_way)
        if requested:
            break
    while under_way:
        yield under_way.popleft().taken(last=not under_way)


def _requests(result: StepResult) -> bool:
    return result.stop_requests > 0 or result.hosts_changed > 0
