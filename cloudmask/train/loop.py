"""Training: one loop that can be read aloud, how it comes to its end, and how it fails."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from typing import Any

import tensorflow as tf

from cloudmask import host, ledger
from cloudmask.cli.errors import AgreedError, StoppedError, describe
from cloudmask.cli.options import TrainConfig
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.files import write_json
from cloudmask.model import keras_file
from cloudmask.train import (
    batches,
    begin,
    checkpoint,
    device_cache,
    emulate,
    pipeline,
    ranks,
    start,
    summary,
)
from cloudmask.train.begin import Network, Run
from cloudmask.train.elastic import Elastic
from cloudmask.train.folder import RunFolder
from cloudmask.train.journal import Journal
from cloudmask.train.plan import Plan
from cloudmask.train.stall import Watch
from cloudmask.train.state import rows_to_come
from cloudmask.train.step import Step, make_train_step
from cloudmask.train.stop import StopRequest
from cloudmask.train.validation import Validate, make_validation


def make_programs(run: Run) -> tuple[Step, Validate]:
    """The training step and the validation: of the network, or of an emulated device."""
    config, plan = run.config, run.plan
    if config.emulate is not None:
        return emulate.programs(plan, run.ranks, run.model, run.watch, first_step=run.state.step)
    step = make_train_step(
        run.model,
        run.optimizer,
        run.ranks,
        class_weights=plan.class_weights,
        clip_offset=config.clip_offset,
        pixels=plan.global_batch * plan.patchset.patch_size**2,
        xla=config.xla,
        noise_scale=config.noise_scale,
        soft=plan.soft,
        loss=config.loss,
    )
    return step, make_validation(plan, run.ranks, run.model, run.watch)


@dataclass(frozen=True)
class Functions:
    """What a training is put together from; whoever wants to look on hands in others."""

    start: Callable[..., ranks.Ranks] = start.start
    build: Callable[[Plan], Network] = begin.build_network
    programs: Callable[[Run], tuple[Step, Validate]] = make_programs
    read_ahead: Callable[..., Generator[batches.Input, None, None]] = batches.read_ahead


def train(
    config: TrainConfig,
    world: ranks.Ranks,
    stop: StopRequest,
    watch: Watch,
    *,
    started: float,
    functions: Functions,
) -> dict[str, Any]:
    """Train as configured; returns the content of summary.json, as this rank saw it.

    `started` is the time.time() from which time to solution counts. Raises AgreedError (on every
    rank alike) for bad input and for a loss that is not finite, and StoppedError, one of its kind,
    when any rank was asked to stop.
    """
    folder = RunFolder(config.out)
    elastic = Elastic(config, world, watch, started=started)

    def fail(text: str, status: str = "failed") -> None:
        who = elastic.ranks
        folder.fail(text, rank=who.rank, num_ranks=who.size, status=status)

    def with_ranks(present: ranks.Ranks) -> dict[str, Any]:
        where = (config, present, folder, stop, watch, elastic)
        return _train(begin.begin(*where, build=functions.build), functions)

    watch.on_stall = fail
    try:
        record = elastic.run(with_ranks)
        elastic.ranks.say(summary.closing_lines(record, config.out))
        return record
    except BaseException as error:
        meant = _meaning(error)
        if elastic.ranks.is_root or not isinstance(meant, AgreedError):
            # The disk may be what failed; the first error is the one to tell.
            with contextlib.suppress(OSError):
                fail(_line(meant), "stopped" if isinstance(meant, StoppedError) else "failed")
        if meant is not error:
            raise meant from None
        raise
    finally:
        folder.close()


def _meaning(error: BaseException) -> BaseException:
    """The same error, or another where TensorFlow's own would not say what to do."""
    if isinstance(error, Exception) and ranks.lost_others(error):
        # That one has said why, and has written the summary before it left, unless it was killed.
        quietly = "Horovod has been shut down" in str(error)
        why = "" if quietly else f", or the network between them ({_line(error)})"
        return AgreedError(f"stopped, because another rank has failed{why}")
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return ValueError(
            f"the device's memory does not suffice ({_line(error)}); use a smaller batch"
        )
    return error


def _line(error: BaseException) -> str:
    if isinstance(error, tf.errors.OpError):
        return f"{type(error).__name__}: {error.message.strip().partition(chr(10))[0]}"
    text = describe(error) if isinstance(error, OSError) else str(error)
    return text or type(error).__name__


def _train(run: Run, functions: Functions) -> dict[str, Any]:
    state = run.state
    if run.finished:
        run.ranks.say(f"{run.config.out} is finished ({state.end(run.config)}); nothing to do")
        return run.folder.read_summary()

    step, validate = functions.programs(run)
    with (
        contextlib.closing(Journal(run.config, run.ranks, run.folder)) as journal,
        PatchReader(run.plan.patchset, "train") as reader,
        contextlib.closing(_ahead(run, _source(run, reader, journal), functions)) as ahead,
    ):
        for rest in run.epochs_left():
            with journal.steps(rest, state):
                for taken in pipeline.take(run, step, ahead, rest):
                    result, seconds = taken.result, journal.lap()
                    if run.config.noise_scale:
                        one_rank = run.ranks.size == 1
                        state.add_noise(result, taken.patches, one_rank=one_rank)
                    state.add_step(result.loss_sum, result.loss_count, taken.patches, seconds)
                    run.check_finite(result)
                    journal.step(state, taken, seconds)
                    if run.obey(result, rest):
                        journal.lap()  # which is no part of the next step
            run.end_epoch(rest, validate)
            journal.epoch(state)
            run.commit()
        return _finish(run, journal)


def _ahead(
    run: Run, source: batches.Batches, functions: Functions
) -> Generator[batches.Input, None, None]:
    """All batches of this rank to the end of the run, one for each step."""
    rows = rows_to_come(run.plan, run.ranks.rank, run.state)
    workers = batches.num_workers(run.ranks.device, len(run.ranks.cores))
    return functions.read_ahead(source, rows, workers=workers)


def _source(run: Run, reader: PatchReader, journal: Journal) -> batches.Batches:
    """Where this rank's batches come from; with that the start-up is over."""
    if run.going_on:
        journal.event("reset", **run.state.resets[-1])
    if run.staged:
        journal.event("staged", seconds=run.staged.seconds)
    source = run.ranks.on_all(
        lambda: device_cache.make_source(run.plan, run.ranks, run.state, reader, run.watch),
        name="source",
    )
    seconds = run.elastic.seconds
    seconds.setdefault("startup", time.time() - run.elastic.started)
    if run.staged:
        seconds["staging"] = seconds.get("staging", 0.0) + run.staged.seconds
    journal.event("start", from_step=run.state.step)
    return source


def _finish(run: Run, journal: Journal) -> dict[str, Any]:
    """The model and the summary, by rank 0, of what all ranks have seen."""
    if run.config.emulate is None:
        run.ranks.on_all(lambda: _save_model(run), name="save")
    times = journal.times.over_all(run.ranks)
    placement = run.ranks.gather(_placement(run.ranks), name="placement")
    seconds = run.elastic.seconds
    seconds["total"] = time.time() - run.elastic.started
    record = summary.make(
        run.plan,
        run.ranks,
        run.state,
        seconds=seconds,
        times=times,
        placement=placement,
        size=summary.size(
            run.model,
            run.plan.patchset.patch_size,
            batch=run.plan.batch_per_rank,
            xla=run.config.xla,
        ),
    )
    record["staging"] = run.staged.record() if run.staged else None
    record["elastic"] = run.elastic.record(run.state)
    journal.event("end", stopped_by=record["stopped_by"], seconds=seconds)
    if run.ranks.is_root:
        record["ledger"] = None
        with contextlib.suppress(OSError, ValueError):  # of an earlier version's events
            account = ledger.of_run(run.folder.path, record["per_step"])
            record["ledger"] = account.rank_seconds
        write_json(run.folder.summary, record)
    return record


def _save_model(run: Run) -> None:
    if run.ranks.is_root:
        best = checkpoint.best_weights(run.folder.checkpoints, run.model, run.state)
        keras_file.save(run.folder.model, best, run.plan.info)
        keras_file.write_description(run.folder.model, asdict(run.plan.config))


def _placement(world: ranks.Ranks) -> dict[str, Any]:
    """Where this rank runs, and with what."""
    place = {"rank": world.rank, "host": host.name(), "cores": list(world.cores)}
    place |= {"threads": world.threads, "device": world.device}
    return place | {"peak_memory_bytes": host.peak_memory_bytes()}
