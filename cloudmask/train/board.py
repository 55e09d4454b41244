"""TensorBoard curves, written by rank 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf


class Board:
    """Scalars of each epoch; with no folder, nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._writer = tf.summary.create_file_writer(str(folder)) if folder else None

    def write(self, record: dict[str, Any]) -> None:
        if self._writer is None:
            return
        valid = record["valid"] or {}
        scalars = {
            "train/loss": record["loss"],
            "train/learning_rate": record["learning_rate"],
            "train/patches_per_second": record["patches_per_second"],
            **{
                f"valid/{name}": valid.get(name)
                for name in ("loss", "accuracy", "majority", "balanced_accuracy", "mean_iou")
            },
        }
        with self._writer.as_default():
            for name, value in scalars.items():
                if value is not None:
                    tf.summary.scalar(name, value, step=record["epoch"])
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
