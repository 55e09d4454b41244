"""Arithmetic that training reached, and its share of the peak that the user states (MFU)."""

from __future__ import annotations

import math

from cloudmask.cli.errors import UsageError
from cloudmask.text import percent
from scaling.laws import intervals, ratios
from scaling.record.store import Study
from scaling.report.sentences import shown
from scaling.report.tables import Table

NOTE = (
    "Operations of the network's convolutions, forward and backward, by patches per second of "
    "steady steps (Chowdhery et al., PaLM, appendix B: nothing that is computed twice counts). "
)


def check_peak(peak_tflops: float | None) -> None:
    """Raises UsageError for what cannot be a peak."""
    if peak_tflops is not None and not (math.isfinite(peak_tflops) and peak_tflops > 0):
        raise UsageError(f"--peak-tflops {peak_tflops:g} must be above 0")


def peak_table(study: Study, peak_tflops: float | None) -> Table:
    """Rows where the runs tell how many operations a patch takes, and truly computed them."""
    rows = []
    for mode in () if study.emulated else study.modes:
        points = study.points(mode)
        for point in ratios.throughput(study, mode):
            counts = {row.get("flops_per_patch") for row in points[point.ranks]}
            if len(counts) > 1 or not (flops := counts.pop()):
                continue
            all_ranks = intervals.scaled(point.estimate, flops / 1e12)
            each = intervals.scaled(all_ranks, 1 / point.ranks)
            share = "-"
            if peak_tflops is not None:
                part = intervals.scaled(each, 1 / peak_tflops)
                share = f"{percent(part.value)} ({percent(part.low)} - {percent(part.high)})"
            precision = str(points[point.ranks][0].get("precision") or "unknown")
            rows.append(
                (
                    *(mode, str(point.ranks), precision, f"{flops / 1e9:.2f}"),
                    *(shown(all_ranks), shown(each), share),
                )
            )
    stated = (
        f"Peak of a rank as stated: {peak_tflops:g} TFLOP/s."
        if peak_tflops
        else ("No peak was stated (--peak-tflops), so no share of it.")
    )
    return Table(
        "Arithmetic and its share of the peak",
        NOTE + stated,
        (
            *("scaling", "ranks", "precision", "GFLOP per patch"),
            *("TFLOP/s", "TFLOP/s per rank", "share of peak"),
        ),
        tuple(rows),
    )
