"""Communication that computing does not hide, beside the allreduce as it was measured by itself.

The ring model, fitted to Horovod's allreduce over message sizes (allreduce.py), says what a step
would wait if all its gradients travelled as one message after the last of them was there. It does
wait so long where nothing can hide, as with an emulated device; where the backward pass hands out
gradients as it goes, the difference is what computing has hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

from scaling.laws import intervals
from scaling.laws.intervals import Estimate
from scaling.laws.laws import Fit
from scaling.record.store import Study

AGREED = 0.2
"""largest difference of the measured time from the model's, in parts of that, to be called one"""


@dataclass(frozen=True)
class Exposed:
    """One rank count: the seconds of a step from its last gradient to the last sum."""

    mode: str
    ranks: int
    num_bytes: int
    """of all gradients"""
    measured: Estimate
    modelled: float
    """one allreduce of all gradients, nothing of it hidden"""
    emulated: bool
    """every gradient was there at once, so nothing could be hidden"""

    @property
    def difference(self) -> float:
        """Measured over modelled, minus one."""
        return self.measured.value / self.modelled - 1

    @property
    def verdict(self) -> str:
        """What the difference means, in words."""
        if self.emulated:
            return "agrees" if abs(self.difference) <= AGREED else "does not agree"
        if self.difference < -AGREED:
            return f"{-100 * self.difference:.0f} % hidden"
        return "hardly any hidden" if self.difference <= AGREED else "more than the allreduce"


def compare(study: Study, fit: Fit | None) -> list[Exposed]:
    """Every rank count whose allreduce was measured and whose runs tell what their ranks waited."""
    if fit is None:
        return []
    found = []
    for mode in study.modes:
        for ranks, rows in study.points(mode).items():
            waits = [row["last_rank_exposed_seconds"] for row in rows if _tells(row)]
            if waits and ranks in fit.ranks:
                size = rows[0]["gradient_bytes"]
                found.append(
                    Exposed(
                        mode,
                        ranks,
                        size,
                        intervals.median(waits),
                        float(fit.predict([ranks], [size])[0]),
                        emulated=rows[0].get("emulated_step_seconds") is not None,
                    )
                )
    return found


def _tells(row: dict) -> bool:
    return bool(row.get("gradient_bytes") and row.get("last_rank_exposed_seconds"))
