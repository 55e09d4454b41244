"""What a ledger holds."""

from __future__ import annotations

from dataclasses import dataclass, field

BUCKETS = {
    "launch": "launch",
    "startup": "start-up",
    "staging": "staging",
    "compile": "compilation",
    "data_wait": "data wait",
    "compute": "compute",
    "exposed_communication": "exposed communication",
    "validation": "validation",
    "checkpoint": "checkpoints",
    "lost": "lost steps",
    "stall": "stall",
    "rest": "rest",
}
"""bucket -> its name for people"""


@dataclass
class Part:
    """From one launch to its end, in seconds since 1970."""

    began: float
    ended: float
    ranks: int
    """at its end: with --elastic they change"""
    launch_known: bool
    """whether it begins with the launcher, not with the process of rank 0"""
    ending: str = "broken off"
    """finished, stopped or failed; broken off: nothing tells of an end; open: the same of the last
    part, which may still run"""

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass
class Ledger:
    rank_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(BUCKETS, 0.0))
    """by bucket"""
    parts: list[Part] = field(default_factory=list)
    steps: int = 0
    """all that were taken, those that were undone among them"""
    steps_lost: int = 0
    losses: int = 0
    """times that ranks were lost in a run that outlived it"""
    checkpoint_seconds: list[float] = field(default_factory=list)
    checkpoint_gaps: list[tuple[float, int]] = field(default_factory=list)
    """seconds and steps from one checkpoint to the next"""

    @property
    def total(self) -> float:
        """Rank-seconds."""
        return sum(self.rank_seconds.values())

    @property
    def wall_seconds(self) -> float:
        """Of all parts together, without the time between them."""
        return sum(part.seconds for part in self.parts)

    @property
    def goodput(self) -> float:
        """The share of all rank-seconds in which what counts was computed."""
        return self.rank_seconds["compute"] / self.total if self.total else 0.0

    @property
    def failures(self) -> int:
        """Parts that failed or were broken off, and losses of ranks that a run outlived."""
        return self.losses + sum(part.ending in ("failed", "broken off") for part in self.parts)

    def enclose(self, began: float, ended: float, *, hung: bool = False) -> None:
        """Of a run of one launch that was watched from outside: enter what came before and after
        its own record. `hung`: it was ended because nothing came any more."""
        if self.parts:
            first, last = self.parts[0], self.parts[-1]
            self.rank_seconds["launch"] += max(0.0, first.began - began) * first.ranks
            after = "stall" if hung else "rest"
            self.rank_seconds[after] += max(0.0, ended - last.ended) * last.ranks
            first.began, first.launch_known = min(began, first.began), True
            last.ended = max(ended, last.ended)
