"""The ledger of a run: every second of all its ranks, its resumes included, in one bucket.

It is made of the events that rank 0 writes (events.jsonl), so a run that was killed has one too.
Each event ends a stretch of time, and says how many seconds of it went into what. Stretches follow
each other without gaps, so the sum is the time from the launch to the last event; what no event
explains is a bucket too. A step ends on all ranks at once: a second of rank 0 is one of each rank.

Two passes: what a step usually takes, and which steps were undone, is known only at the end. Both
read line by line: a run of a million steps is no reason to hold a million records.
"""

from __future__ import annotations

from cloudmask.ledger.book import account, of_run
from cloudmask.ledger.model import BUCKETS, Ledger, Part

__all__ = ["BUCKETS", "Ledger", "Part", "account", "of_run"]
