"""One training step, as a TensorFlow graph that takes patches from disk.

The clock is read inside the graph: at the start, when this rank's own gradients are all there, and
when the sums over ranks have come. The time between the last two is communication that computing
did not hide, waiting for slower ranks included. A GPU runs ahead of its host, which the clocks must
wait for, so there only some steps have them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import keras
import tensorflow as tf

from cloudmask.data.patchset.encoding import FILL
from cloudmask.model.decode import decode
from cloudmask.model.losses import cross_entropy
from cloudmask.train import gpus
from cloudmask.train.batches import Input
from cloudmask.train.ranks import Ranks
from cloudmask.train.squares import OverRanks, OverSteps, Squares


class StepResult(NamedTuple):
    """What a step has come to: the first four are sums over all ranks."""

    loss_sum: float
    """over the labelled pixels"""
    loss_count: float
    """their number"""
    stop_requests: float
    """ranks that were asked to stop"""
    hosts_changed: float
    """ranks that know of hosts that came or shall go"""
    compute_seconds: float
    """NaN in a step without clocks"""
    exposed_seconds: float
    """of communication that this rank's computing did not hide; NaN in a step without clocks"""
    local_squares: float = math.nan
    """L of noise.py, over all ranks; this and the next two only where they are asked for"""
    mean_squares: float = math.nan
    """T of noise.py"""
    sharing: float = 0.0
    """ranks, or steps in their place, that these two are of"""


Step = Callable[[Input, float, bool, bool, bool], Future[StepResult]]
"""(batch, learning rate, asked to stop, hosts changed, with clocks): one step of all ranks, whose
result is there when the device has taken it; collective"""


class _Tape(tf.GradientTape):
    """A tape that keeps its own gradients, as they are before they are reduced."""

    def gradient(self, target, sources, *args, **options):
        self.own = super().gradient(target, sources, *args, **options)
        return self.own


class _TimedTape(_Tape):
    """A tape that notes when they are complete, too."""

    def gradient(self, target, sources, *args, **options):
        gradients = super().gradient(target, sources, *args, **options)
        self.local_seconds = _clock(gradients)
        return gradients


def _clock(after: Sequence[tf.Tensor]) -> tf.Tensor:
    """Seconds, read when the tensors exist: a scalar of each goes to the host; GPUs run ahead."""
    with tf.device("CPU:0"):
        seen = [tf.identity(tf.reshape(tensor, [-1])[0]) for tensor in after]
        with tf.control_dependencies(seen):
            return tf.timestamp()


def _no_time() -> tf.Tensor:
    return tf.constant(math.nan, tf.float64)


def make_train_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    ranks: Ranks,
    *,
    class_weights: Sequence[float],
    clip_offset: int,
    pixels: int,
    xla: bool = False,
    noise_scale: bool = False,
    soft: bool = False,
    loss: str = "bce",
) -> Step:
    """The step of a network. `pixels`, of a full global batch, keeps sums of float16 small.

    `soft` and `loss`: see losses.pixel_losses.

    With `noise_scale` the result has the squared lengths of gradients (noise.py). What a rank adds
    to them goes with its loss, which therefore waits for its gradients.

    With `xla` the forward and backward pass are compiled as one; Horovod cannot be in it. So all
    gradients are there before the first one travels, and no communication hides behind computing.
    """
    variables = model.trainable_variables
    values = [variable.value for variable in variables]
    squares: Squares | None = None
    if noise_scale:
        squares = OverRanks() if ranks.size > 1 else OverSteps(values)

    def forward(image, scale, offset, label):
        logits = model(decode(image, scale, offset, fill=FILL), training=True)
        total, count = cross_entropy(
            logits, label, weights=class_weights, clip_offset=clip_offset, soft=soft, loss=loss
        )
        return total, count, optimizer.scale_loss(total / pixels)

    def overlapping(image, scale, offset, label, clocked):
        """Loss, count, summed gradients, when this rank had its own, and these."""
        tape = _TimedTape() if clocked else _Tape()
        with tape:
            loss, count, objective = forward(image, scale, offset, label)
        reduced = ranks.tape(tape)
        gradients = reduced.gradient(objective, values)
        seconds = reduced.local_seconds if clocked else _no_time()
        return loss, count, gradients, seconds, reduced.own

    @tf.function(jit_compile=True, autograph=False)
    def compiled(*patches):
        with tf.GradientTape() as tape:
            loss, count, objective = forward(*patches)
        return loss, count, tape.gradient(objective, values)

    def one_after_the_other(image, scale, offset, label, clocked):
        """The same, but nothing is summed before everything is computed."""
        loss, count, gradients = compiled(image, scale, offset, label)
        local_seconds = _clock(gradients) if clocked else _no_time()
        return loss, count, ranks.sum_gradients(gradients), local_seconds, gradients

    compute = one_after_the_other if xla else overlapping

    @tf.function(reduce_retracing=True, autograph=False)
    def graph(image, scale, offset, label, learning_rate, flags, clocked):
        began = tf.timestamp()
        with tf.control_dependencies([began]):
            image = tf.identity(image)
        loss, count, gradients, local_seconds, own = compute(image, scale, offset, label, clocked)
        mine = [tf.stack([tf.cast(loss, tf.float64), tf.cast(count, tf.float64)]), flags]
        mine += [squares.own(own, count)] if squares else []
        total = ranks.sum(tf.concat(mine, axis=0), name="loss")
        arrived = _clock(gradients) if clocked else _no_time()
        share = tf.cast(pixels / tf.maximum(total[1], 1.0), tf.float32)
        lengths = []
        if squares:
            unit = pixels / optimizer.scale_loss(tf.constant(1.0))
            lengths = [squares.of_all(total[4:], gradients, total[1], unit)]
        optimizer.learning_rate.assign(learning_rate)
        optimizer.apply_gradients(
            [(gradient * share, v) for gradient, v in zip(gradients, variables, strict=True)]
        )
        with tf.control_dependencies([optimizer.iterations.value]):
            seconds = tf.stack([local_seconds - began, arrived - local_seconds])
        return tf.concat([total[:4], seconds, *lengths], axis=0)

    read = _reading()

    def step(
        batch: Input,
        learning_rate: float,
        stop: bool = False,
        hosts_changed: bool = False,
        clocked: bool = True,
    ) -> Future[StepResult]:
        # What is given to a GPU outside the graph would wait for the step under way.
        with tf.device("CPU:0"):
            host = tf.constant(learning_rate, tf.float32), as_flags(stop, hosts_changed)
        numbers = graph(*(batch.image, batch.scale, batch.offset, batch.label), *host, clocked)
        return read(lambda: StepResult(*numbers.numpy().tolist()))

    return step


def _reading() -> Callable[[Callable[[], StepResult]], Future[StepResult]]:
    """How results come to the host: at once from a CPU, which has them when the graph returns.

    A copy from a GPU waits for all that the GPU was given before. So it is asked for by a thread at
    once, before the next step is launched behind it.
    """
    if gpus.visible():
        return ThreadPoolExecutor(1, thread_name_prefix="results").submit
    return done


def done(work: Callable[[], StepResult]) -> Future[StepResult]:
    """The result of work that is done here and now."""
    future: Future[StepResult] = Future()
    future.set_result(work())
    return future


def as_flags(stop: bool, hosts_changed: bool) -> tf.Tensor:
    """(2,) float64, to be summed over the ranks beside the loss."""
    return tf.constant([float(stop), float(hosts_changed)], tf.float64)
