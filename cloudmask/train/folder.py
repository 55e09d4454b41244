"""The run folder: what is in it, and whether a new run may write there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloudmask.cli.flags import to_yaml
from cloudmask.cli.options import TrainConfig
from cloudmask.files import parse_json, write_json, write_whole
from cloudmask.record import EventLog, environment, now
from cloudmask.train import checkpoint, gpus


class RunFolder:
    """Paths of one run. Only rank 0 writes, but for the times of all ranks if they are wished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.environment = path / "environment.json"
        self.events = path / "events.jsonl"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model.keras"
        self.summary = path / "summary.json"
        self.tensorboard = path / "tensorboard"
        self.claimed = False
        """whether this run, and no other one, may write here"""
        self._log: EventLog | None = None

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def event(self, event: str, **values: object) -> None:
        """One more line of the event log, which is opened at the first. For rank 0."""
        if self._log is None:
            self._log = EventLog(self.events)
        self._log.write(event, **values)

    def rank_file(self, rank: int) -> Path:
        return self.path / "ranks" / f"rank-{rank:04d}.jsonl"

    def check(self, *, resume: bool) -> None:
        """Raise ValueError unless a run may begin, or with `resume` go on, in this folder."""
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path} is a file; choose another --out")
        content = list(self.path.iterdir()) if self.path.exists() else []
        if not content:
            return
        if not self.config.is_file():
            raise ValueError(
                f"{self.path} exists and holds no run ({content[0].name}, ...); "
                "choose another --out"
            )
        if resume:
            return
        if self.finished():
            raise ValueError(
                f"{self.path} holds a finished run; choose another --out, "
                "or add --resume with more --epochs to train on"
            )
        if checkpoint.steps(self.checkpoints):
            raise ValueError(
                f"{self.path} holds an unfinished run; add --resume to go on, "
                "or choose another --out"
            )

    def begin(self, config: TrainConfig) -> None:
        """Make the folder and write what the run starts with. Raises OSError with the path."""
        (self.path / "ranks").mkdir(parents=True, exist_ok=True)
        self.summary.unlink(missing_ok=True)  # of what has failed, or is to be trained on
        write_whole(self.config, to_yaml(config).encode())
        built = {"tensorflow_built_with": gpus.built_with()}
        write_json(self.environment, environment() | built)

    def fail(self, error: str, *, rank: int, num_ranks: int, status: str) -> None:
        """Leave a summary of a run that failed or was stopped; of several errors, the first."""
        if self.claimed and not self.summary.exists():
            record = {"status": status, "error": error, "rank": rank, "ranks": num_ranks}
            write_json(self.summary, {**record, "date": now()})
            self.event("fail", status=status, rank=rank)

    def finished(self) -> bool:
        try:
            return self.read_summary().get("status") == "finished"
        except (OSError, ValueError):
            return False

    def read_summary(self) -> dict[str, Any]:
        return parse_json(self.summary.read_text())
