"""Steps under way: their order, what waits for what, and how a request ends them."""

from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest

from cloudmask.train import pipeline
from cloudmask.train.batches import Input
from cloudmask.train.stall import Watch
from cloudmask.train.state import Rest
from cloudmask.train.step import StepResult

STEPS = 8


class Device:
    """Takes steps when their results are asked for; notes what happens in which order."""

    def __init__(self, request_in=None, fails_in=None):
        self.events = []
        self.clocked = []
        self._request_in, self._fails_in = request_in, fails_in

    def __call__(self, batch, learning_rate, stop, hosts_changed, clocked):
        number = batch.num_patches
        self.events.append(("launch", number))
        self.clocked.append(clocked)
        events = self.events

        class Result(Future):
            def result(self, timeout=None):
                events.append(("read", number))
                return super().result(timeout)

            def exception(self, timeout=None):
                events.append(("waited for", number))
                return super().exception(timeout)

        future = Result()
        if number == self._fails_in:
            future.set_exception(RuntimeError("another rank is gone"))
            return future
        # Who makes a request makes it in all later steps too.
        asked = self._request_in is not None and number >= self._request_in
        future.set_result(StepResult(1.0, 1.0, float(asked), 0.0, 0.1, 0.0))
        return future


def taken(device, *, lag, pauses=(), timing_every=1):
    """Numbers and requests of the steps that are handed out."""
    run = SimpleNamespace(
        state=SimpleNamespace(step=0),
        watch=Watch(0),
        stop=False,
        elastic=SimpleNamespace(hosts_changed=False),
        plan=SimpleNamespace(timing_every=timing_every),
        lag=lag,
        pauses_after=lambda step: step in pauses,
    )
    numbers = range(1, STEPS + 1)
    ahead = (Input(None, None, None, None, number, 0.0) for number in numbers)
    rest = Rest(
        epoch=0,
        rows=np.zeros((STEPS, 1)),
        patches=[1] * STEPS,
        learning_rates=[0.1] * STEPS,
        learning_rate_before=0.1,
        begun_at=0,
        patches_before=0,
        last=STEPS,
    )
    found = []
    for one in pipeline.take(run, device, ahead, rest):
        device.events.append(("handed out", one.batch.num_patches))
        found.append((one.batch.num_patches, one.result.stop_requests > 0))
    return found


def first(events, kind, number):
    return events.index((kind, number))


@pytest.mark.parametrize("lag", [0, 1])
def test_every_step_is_taken_once_and_in_order(lag):
    assert taken(Device(), lag=lag) == [(number, False) for number in range(1, STEPS + 1)]


def test_a_device_has_its_next_step_before_a_result_is_read():
    device = Device()
    taken(device, lag=1)
    for number in range(1, STEPS):
        assert first(device.events, "launch", number + 1) < first(device.events, "read", number)


def test_a_cpu_has_taken_its_step_when_it_is_launched():
    device = Device()
    taken(device, lag=0)
    for number in range(1, STEPS):
        handed_out = first(device.events, "handed out", number)
        assert handed_out < first(device.events, "launch", number + 1)


def test_nothing_is_launched_before_what_must_be_done_between_two_steps():
    device = Device()
    taken(device, lag=1, pauses=(3, 4))
    for number in (3, 4):
        handed_out = first(device.events, "handed out", number)
        assert handed_out < first(device.events, "launch", number + 1)
    assert first(device.events, "launch", 2) < first(device.events, "read", 1)


@pytest.mark.parametrize(("lag", "last"), [(0, 3), (1, 4)])
def test_a_request_is_obeyed_when_nothing_is_under_way_any_more(lag, last):
    device = Device(request_in=3)
    found = taken(device, lag=lag)
    assert found == [(number, number == last) for number in range(1, last + 1)]
    assert ("launch", last + 1) not in device.events


def test_a_request_in_the_last_step_is_obeyed_after_it():
    assert taken(Device(request_in=STEPS), lag=1)[-1] == (STEPS, True)


def test_clocks_are_read_in_every_nth_step():
    device = Device()
    taken(device, lag=1, timing_every=3)
    assert [number + 1 for number, clocked in enumerate(device.clocked) if clocked] == [3, 6]


def test_nothing_goes_on_after_an_error():
    """The step that was launched behind the one that failed has ended when the error is raised."""
    device = Device(fails_in=3)
    with pytest.raises(RuntimeError, match="another rank is gone"):
        taken(device, lag=1)
    assert device.events[-1] == ("waited for", 4)
    assert ("launch", 5) not in device.events
