"""An emulated device: a wait instead of the computation of a step, and everything else for real.

Like a GPU it works by itself while the host goes on. So many ranks can be run on few cores, and
what surrounds the device can be seen at 16 or 32 of them: reading, augmentation, Horovod's
allreduce of gradients of the true sizes, the sums of losses and counts, checkpoints, logs. A wait
stands for all that the device does in a step, forward and backward pass and the optimizer's update.
After it every gradient is there at once, so nothing of the allreduce hides behind the backward
pass: the hard case.

Nothing is learned, and nothing is made up: losses are sums over no pixel, weights stay as they
were drawn, and of the metrics only those that follow from the labels alone are given.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cloudmask.cli.options import TrainConfig
from cloudmask.metrics import UNKNOWN
from cloudmask.model.losses import hard_label
from cloudmask.train.batches import Input
from cloudmask.train.plan import Plan
from cloudmask.train.ranks import Ranks
from cloudmask.train.stall import Watch
from cloudmask.train.step import Step, StepResult, as_flags
from cloudmask.train.validation import Validate, validation_by

FORWARD_SHARE = 1 / 3
"""of a step: the forward pass, where the backward pass costs two of it"""
TRAINING, VALIDATION = 3, 4
"""streams of random numbers beside those of the plan and the augmentation"""


@dataclass(frozen=True)
class Device:
    """How long one rank's device takes. A seed, rank and step give the same wait in every run."""

    step_seconds: float
    """median over steps"""
    spread: float
    """standard deviation of the logarithm, which for small ones is the relative spread"""
    seed: int
    rank: int

    def training(self, step: int) -> float:
        """Seconds for one training step, counted from 0 over the whole run."""
        return self.step_seconds * self._factor(TRAINING, step)

    def validation(self, batch: int) -> float:
        """Seconds for the forward pass of one batch."""
        return FORWARD_SHARE * self.step_seconds * self._factor(VALIDATION, batch)

    def _factor(self, stream: int, number: int) -> float:
        random = np.random.default_rng([self.seed, stream, self.rank, number])
        return math.exp(self.spread * random.standard_normal())


def named(ranks: Ranks, config: TrainConfig) -> Ranks:
    """The same ranks under the name of the device that is emulated, for every record of the run."""
    if config.emulate is None:
        return ranks
    return dataclasses.replace(ranks, device=f"emulated ({config.emulate:g} s a step)")


def programs(
    plan: Plan, ranks: Ranks, model: keras.Model, watch: Watch, *, first_step: int
) -> tuple[Step, Validate]:
    """The training step and the validation of an emulated device, after `first_step` steps."""
    config = plan.config
    assert config.emulate is not None
    device = Device(config.emulate, config.emulate_spread, config.seed, ranks.rank)
    train_step = make_train_step(model, ranks, device, first_step=first_step)
    return train_step, make_validate(plan, ranks, device, watch)


class _ReadyTape(tf.GradientTape):
    """A tape whose gradients are there at once: each as large as its source, filled with a value.

    Under `Ranks.tape` they are reduced as those of a real step are, tensor by tensor.
    """

    def gradient(self, target, sources, *args, **options):
        return [tf.fill(source.shape, tf.cast(target, source.dtype)) for source in sources]


def make_train_step(model: keras.Model, ranks: Ranks, emulated: Device, *, first_step: int) -> Step:
    """The step of an emulated device.

    The loss is 0 over 0 pixels; the flags are summed; computing is the wait as it really was. The
    rank's gradients hold its rank + 1, and what comes back must be the sum of that over the ranks:
    InvalidArgumentError if anything was not reduced.
    """
    values = [variable.value for variable in model.trainable_variables]
    mine = tf.constant(ranks.rank + 1.0)
    everyone = tf.constant(ranks.size * (ranks.size + 1) / 2)

    @tf.function(reduce_retracing=True, autograph=False)
    def communicate(flags, filling):
        began = tf.timestamp()
        with tf.control_dependencies([began]):
            nothing = tf.zeros(2, tf.float64)
        total = ranks.sum(tf.concat([nothing, flags], axis=0), name="loss")
        tape = _ReadyTape()
        with tape:
            pass
        reduced = ranks.tape(tape).gradient(filling, values)
        ends = tf.stack([tf.reshape(one, [-1])[end] for one in reduced for end in (0, -1)])
        with tf.control_dependencies([total, ends]):
            exposed = tf.timestamp() - began
        tf.debugging.assert_equal(ends, tf.fill(ends.shape, everyone))
        return tf.concat([total, exposed[None]], axis=0)

    numbers = itertools.count(first_step)
    device = ThreadPoolExecutor(1, thread_name_prefix="emulated")

    def work(stop: bool, hosts_changed: bool) -> StepResult:
        waited = _wait(emulated.training(next(numbers)))
        loss, count, stops, changes, exposed = (
            communicate(as_flags(stop, hosts_changed), mine).numpy().tolist()
        )
        return StepResult(loss, count, stops, changes, waited, exposed)

    def step(
        batch: Input,
        learning_rate: float,
        stop: bool = False,
        hosts_changed: bool = False,
        clocked: bool = True,
    ) -> Future[StepResult]:
        return device.submit(work, stop, hosts_changed)

    return step


def make_validate(plan: Plan, ranks: Ranks, emulated: Device, watch: Watch) -> Validate:
    """The measurement of the validation split, its batches waited for instead of computed.

    Counts are of labels alone and really summed over the ranks; all that needs a prediction is
    None, the loss NaN.
    """
    classes = len(plan.info.classes)
    numbers = itertools.count()

    def step(image, scale, offset, label):
        _wait(emulated.validation(next(numbers)))
        counts = np.zeros((classes, classes), np.int64)
        known = (hard_label(label) if plan.soft else label).numpy()
        counts[:, 0] = np.bincount(known[known != UNKNOWN], minlength=classes)
        return tf.zeros(2, tf.float64), tf.constant(counts)

    measure = validation_by(step, plan, ranks, watch)

    def validate() -> dict[str, Any]:
        found = measure()
        known = {name: found[name] for name in ("pixels", "majority")}
        return {**dict.fromkeys(found), "loss": math.nan, **known}

    return validate


def _wait(seconds: float) -> float:
    """Seconds from now until this rank goes on: at least those asked for.

    Sleeping leaves the core to reading threads, to Horovod's own and to other ranks.
    """
    began = time.perf_counter()
    time.sleep(seconds)
    return time.perf_counter() - began
