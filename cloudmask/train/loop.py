"""Training: one function that can be read aloud, and the pieces it is made of."""

from __future__ import annotations

import contextlib
import math
import platform
import resource
import sys
import time
from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm

from cloudmask.cli.errors import AgreedError, StoppedError, describe
from cloudmask.cli.options import TrainConfig
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.files import write_json
from cloudmask.model import keras_file
from cloudmask.record import EventLog
from cloudmask.train import device_cache, due, elastic, emulate, network, resume, summary, timing
from cloudmask.train.board import Board
from cloudmask.train.epoch import rest_of_epoch
from cloudmask.train.input_pipeline import read_ahead
from cloudmask.train.life import begin
from cloudmask.train.plan import Plan
from cloudmask.train.preemption import Wish
from cloudmask.train.ranks import Ranks
from cloudmask.train.runfolder import RunFolder
from cloudmask.train.stall import Watch
from cloudmask.train.state import State
from cloudmask.train.step import make_train_step
from cloudmask.train.validation import make_validation


def train(
    config: TrainConfig, ranks: Ranks, wish: Wish, watch: Watch, *, started: float
) -> dict[str, Any]:
    """Train as configured; returns the content of summary.json, as this rank saw it.

    `started` is the time.time() from which time to solution counts. Raises AgreedError (on every
    rank alike) for bad input and for a loss that is not finite, and StoppedError, one of its kind,
    when any rank's `wish` was heard.
    """
    folder = RunFolder(config.out)
    kept = elastic.Elastic(config, ranks, watch, started=started)
    watch.on_stall = lambda text: folder.fail(
        text, rank=kept.ranks.rank, num_ranks=kept.ranks.size, status="failed"
    )
    try:
        record = kept.run(
            lambda ranks, opened: _train(
                config, ranks, folder, wish, watch, kept=kept, opened=opened
            )
        )
        kept.ranks.say(summary.closing_lines(record, config.out))
        return record
    except tf.errors.UnknownError as error:
        if "Horovod has been shut down" not in str(error):
            raise
        # The one that failed has said why, and has written the summary before it left.
        raise AgreedError("stopped, because another rank has failed") from None
    except BaseException as error:
        ranks = kept.ranks
        if ranks.is_root or not isinstance(error, AgreedError):
            text = describe(error) if isinstance(error, OSError) else str(error)
            # The disk may be what failed; the first error is the one to tell.
            with contextlib.suppress(OSError):
                folder.fail(
                    text or type(error).__name__,
                    rank=ranks.rank,
                    num_ranks=ranks.size,
                    status="stopped" if isinstance(error, StoppedError) else "failed",
                )
        raise


def _train(
    config: TrainConfig,
    ranks: Ranks,
    folder: RunFolder,
    wish: Wish,
    watch: Watch,
    *,
    kept: elastic.Elastic,
    opened: contextlib.ExitStack,
) -> dict[str, Any]:
    life = begin(config, ranks, folder, watch, kept)
    ranks, plan, state = life.ranks, life.plan, life.state
    model, optimizer = life.model, life.optimizer
    stopped_by = due.end(config, state)
    if life.finished:
        ranks.say(f"{config.out} is finished ({stopped_by}); nothing to do")
        return folder.read_summary()

    if config.emulate is not None:
        train_step, validate = emulate.programs(plan, ranks, model, watch, first_step=state.step)
    else:
        train_step = make_train_step(
            model,
            optimizer,
            ranks,
            class_weights=plan.class_weights,
            clip_offset=config.clip_offset,
            pixels=plan.global_batch * plan.patchset.patch_size**2,
            xla=config.xla,
        )
        validate = make_validation(plan, ranks, model, watch)
    events = EventLog(folder.events) if ranks.is_root else None
    curves = folder.tensorboard / "emulated" if config.emulate else folder.tensorboard
    board = Board(curves if config.tensorboard and ranks.is_root else None)
    times = timing.StepTimes()
    opened.callback(board.close)
    if events:
        opened.callback(events.close)
        if life.going_on:
            events.write("reset", **state.resets[-1])
    reader = opened.enter_context(PatchReader(plan.patchset, "train"))
    source = ranks.on_all(
        lambda: device_cache.make_source(
            plan, ranks, state, reader, network.augmentation(config, plan)
        ),
        name="source",
    )
    started, seconds = kept.started, kept.seconds
    seconds.setdefault("startup", time.time() - started)
    if life.staged:
        seconds["staging"] = seconds.get("staging", 0.0) + life.staged.seconds

    def save() -> None:
        watch.at("checkpoint of step", state.step)
        began = time.perf_counter()
        if ranks.is_root:
            state.elapsed_seconds = seconds["before_resume"] + time.time() - started
            resume.save(plan, ranks, folder, state, model, optimizer)
        seconds["checkpoints"] += time.perf_counter() - began

    # A run that was killed after its last checkpoint, in mid-epoch, has this epoch still to close.
    while stopped_by is None or state.step_in_epoch:
        epoch = state.epoch
        rest = rest_of_epoch(plan, ranks.rank, state)
        batches = read_ahead(source, rest.rows, epoch=epoch)
        opened.callback(batches.close)
        bar = _bar(ranks, rest.last, state, config.epochs)
        lr = rest.learning_rates[0]
        clock = time.perf_counter()

        for batch, patches, lr in zip(batches, rest.patches, rest.learning_rates, strict=False):
            watch.at("step", state.step + 1)
            told = tf.constant(kept.told(float(wish)), tf.float64)
            numbers = train_step(
                *(batch.image, batch.scale, batch.offset, batch.label),
                *(tf.constant(lr, tf.float32), told),
            ).numpy()
            loss_sum, loss_count, news, compute, exposed = map(float, numbers)
            wishes, changed = elastic.heard(news)
            clock, step_seconds = time.perf_counter(), time.perf_counter() - clock
            state.add_step(loss_sum, loss_count, patches, step_seconds)
            times.add(
                epoch, batch.num_patches, (step_seconds, batch.wait_seconds, compute, exposed)
            )
            _check_finite(loss_sum, state.step, folder)
            if events:
                events.write("step", step=state.step, loss=state.last_loss, seconds=step_seconds)
            bar.set_postfix_str(summary.loss_text(state.last_loss), refresh=False)
            bar.update()
            in_epoch = state.step_in_epoch < rest.last
            if wishes or changed or (in_epoch and due.checkpoint(config, state.step)):
                ranks.on_all(save, name="save")
                clock = time.perf_counter()
            if wishes:
                raise StoppedError(
                    f"stopped by a signal after step {state.step}, with a checkpoint in "
                    f"{folder.checkpoints}; the same command with --resume goes on"
                )
            if changed or due.commit(config, state.step):
                kept.commit(state, changed=changed)
                clock = time.perf_counter()
        whole = state.step_in_epoch == rest.last
        batches.close()
        bar.close()
        times.append_to(folder.rank_file(ranks.rank), epoch, device=ranks.device)

        valid = None
        if due.validation(config, plan, epoch):
            began = time.perf_counter()
            valid = validate()
            seconds["validation"] += time.perf_counter() - began
        state.end_epoch(valid, patches=rest.patches_up_to(state.step_in_epoch), learning_rate=lr)
        due.note_target(config, state, seconds["before_resume"] + time.time() - started)
        stopped_by = due.end(config, state)
        if whole:
            ranks.on_all(save, name="save")
        if events:
            events.write("epoch", device=ranks.device, **state.history[-1])
        board.write(state.history[-1])
        device = f"device {ranks.device}" if config.emulate else None
        ranks.say(
            summary.epoch_line(
                state.history[-1], epochs=config.epochs, num_ranks=ranks.size, emulated=device
            ),
        )
        kept.commit(state, changed=False)

    if config.emulate is None:
        ranks.on_all(lambda: _save_model(plan, ranks, folder, model, state), name="save")
    all_times = ranks.gather(times.array(), name="times")
    place = {"rank": ranks.rank, "host": platform.node(), "cores": list(ranks.cores)}
    place |= {"threads": ranks.threads, "device": ranks.device, "peak_memory_bytes": _peak_memory()}
    placement = ranks.gather(place, name="placement")
    seconds["total"] = time.time() - started
    record = summary.make(
        config,
        ranks,
        state,
        seconds=seconds,
        times=all_times,
        placement=placement,
        derived=summary.derived(plan) | network.size(model),
        stopped_by=stopped_by or "epochs",
    )
    record["staging"] = life.staged.record() if life.staged else None
    record["elastic"] = kept.record(state)
    if events:
        events.write("end", stopped_by=stopped_by, seconds=seconds)
        write_json(folder.summary, record)
    return record


def _save_model(
    plan: Plan, ranks: Ranks, folder: RunFolder, model: keras.Model, state: State
) -> None:
    if ranks.is_root:
        keras_file.save(folder.model, resume.best_weights(folder, model, state), plan.info)


def _check_finite(loss: float, step: int, folder: RunFolder) -> None:
    if not math.isfinite(loss):
        raise AgreedError(resume.not_finite("the loss is", step, folder))


def _bar(ranks: Ranks, steps: int, state: State, epochs: int) -> tqdm:
    return tqdm(
        total=steps,
        initial=state.step_in_epoch,
        desc=f"epoch {state.epoch + 1}/{epochs}",
        unit="step",
        leave=False,
        disable=not (ranks.is_root and sys.stderr.isatty()),
    )


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
