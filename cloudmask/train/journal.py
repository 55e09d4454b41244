"""What a run tells while it trains: a bar and lines, events, curves; and the times of its steps.

Off the root all are silent, but that with --rank-times each rank writes its times to a file.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from cloudmask.cli.options import TrainConfig
from cloudmask.text import plural
from cloudmask.train.folder import RunFolder
from cloudmask.train.pipeline import Taken
from cloudmask.train.ranks import Ranks
from cloudmask.train.state import Rest, State
from cloudmask.train.timing import COLUMNS, StepTimes


class Journal:
    """To be closed at the end."""

    def __init__(self, config: TrainConfig, ranks: Ranks, folder: RunFolder) -> None:
        writes = ranks.is_root or config.rank_times
        path = folder.rank_file(ranks.rank) if writes else None
        self.times = StepTimes(path, device=ranks.device)
        self._config, self._ranks = config, ranks
        self._clock = time.perf_counter()
        self._folder = folder
        emulated = config.emulate is not None
        curves = folder.tensorboard / "emulated" if emulated else folder.tensorboard
        drawn = config.tensorboard and ranks.is_root
        self._curves = tf.summary.create_file_writer(str(curves)) if drawn else None

    def close(self) -> None:
        if self._curves is not None:
            self._curves.close()

    def event(self, event: str, **values: object) -> None:
        if self._ranks.is_root:
            self._folder.event(event, **values)

    @contextlib.contextmanager
    def steps(self, rest: Rest, state: State) -> Iterator[None]:
        """Around the steps of an epoch: their bar, and their times once all are taken."""
        with tqdm(
            total=rest.last,
            initial=state.step_in_epoch,
            desc=f"epoch {rest.epoch + 1}/{self._config.epochs}",
            unit="step",
            leave=False,
            disable=not (self._ranks.is_root and sys.stderr.isatty()),
        ) as self._bar:
            self._clock = time.perf_counter()
            yield
        self.times.write()

    def lap(self) -> float:
        """Seconds since the last lap, or since the epoch's steps began."""
        before, self._clock = self._clock, time.perf_counter()
        return self._clock - before

    def step(self, state: State, taken: Taken, seconds: float) -> None:
        batch, result = taken.batch, taken.result
        row = (seconds, batch.wait_seconds, result.compute_seconds, result.exposed_seconds)
        self.times.add(state.epoch, batch.num_patches, taken.patches, row)
        parts = dict(zip(COLUMNS[1:], (round(value, 6) for value in row[1:]), strict=True))
        loss, patches = state.last_loss, taken.patches
        self.event("step", step=state.step, loss=loss, patches=patches, seconds=seconds, **parts)
        self._bar.set_postfix_str(loss_text(state.last_loss), refresh=False)
        self._bar.update()

    def epoch(self, state: State) -> None:
        """Of the epoch that was just closed."""
        record = state.history[-1]
        self.event("epoch", device=self._ranks.device, **record)
        if self._curves is not None:
            with self._curves.as_default():
                for name, value in scalars(record).items():
                    tf.summary.scalar(name, value, step=record["epoch"])
            self._curves.flush()
        device = f"device {self._ranks.device}" if self._config.emulate is not None else None
        epochs, size = self._config.epochs, self._ranks.size
        self._ranks.say(epoch_line(record, epochs=epochs, num_ranks=size, emulated=device))


def scalars(record: dict[str, Any]) -> dict[str, float]:
    """An epoch's points on the curves of TensorBoard."""
    valid = record["valid"] or {}
    measured = ("loss", "accuracy", "majority", "balanced_accuracy", "mean_iou")
    values = {
        "train/loss": record["loss"],
        "train/learning_rate": record["learning_rate"],
        "train/patches_per_second": record["patches_per_second"],
        **{f"valid/{name}": valid.get(name) for name in measured},
    }
    return {name: value for name, value in values.items() if value is not None}


def epoch_line(
    record: dict[str, Any], *, epochs: int, num_ranks: int, emulated: str | None = None
) -> str:
    """One line for people; of an emulated device its name stands where the loss would."""
    parts = [f"epoch {record['epoch']}/{epochs}", emulated or loss_text(record["loss"])]
    valid = record.get("valid")
    if valid and not emulated:
        parts.append(f"validation loss {valid['loss']:.4f}")
        parts.append(f"accuracy {valid['accuracy']:.4f} (majority {valid['majority']:.4f})")
    parts.append(f"{record['patches_per_second']:.2f} patches/s")
    parts.append(plural(num_ranks, "rank"))
    return " | ".join(parts)


def loss_text(loss: float | None) -> str:
    return "no loss" if loss is None else f"loss {loss:.4f}"
