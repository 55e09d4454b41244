"""What the figures of a study were measured under."""

from __future__ import annotations

from pathlib import Path

from cloudmask.text import listed
from scaling.record.store import Row, Study

DISTURBED = 0.1
"""share of the ranks' own cores, on the worst host, from which other programs are told"""


def sentence(study: Study) -> str:
    """What every figure of a study was measured under."""
    row, header = study.measured[0], study.header
    ranks = sorted({r["ranks"] for r in study.measured})
    repeats = sorted({len(rows) for mode in study.modes for rows in study.points(mode).values()})
    batches = {"strong": "global batch", "weak": "batch per rank"}
    batch = {mode: header.get(batches[mode].replace(" ", "_")) for mode in study.modes}
    words = header.get("program") or ["unknown program"]
    parts = [
        Path(next((word for word in words if word.endswith(".py")), words[0])).name,
        ", ".join(row.get("hardware") or [header["hardware"]["title"]]),
        f"{listed(ranks)} ranks",
        str(row.get("binding")),
        f"threads per rank: {row.get('threads_per_rank') or row['cores_per_rank']}",
        f"launcher {header['launcher']}",
        str(row.get("precision") or "unknown precision"),
        f"patches of {row.get('patch_size')} pixels and {row.get('channels')} channels",
        *(f"{mode} scaling: {batches[mode]} {size}" for mode, size in batch.items() if size),
        f"data {row.get('data_mode') or 'mode unknown'}, page cache {header['page_cache']}",
        f"{listed(repeats)} repeats",
        f"commit {str(row.get('commit') or 'unknown')[:12]}",
        str(row["ended"])[:10],
    ]
    if any(r.get("oversubscribed") for r in study.measured):
        parts.insert(3, "OVERSUBSCRIBED")
    if study.emulated:
        parts.insert(1, study.emulated.upper())
    if disturbed := other_cores(study):
        parts.append(f"DISTURBED by other programs, on up to {max(disturbed):.1f} cores")
    return "; ".join(parts)


def other_cores(study: Study) -> list[float]:
    """Cores that other programs took, of each point in which they were worth a warning."""
    return [row["other_cores"] for row in study.rows if _other_share(row) > DISTURBED]


def _other_share(row: Row) -> float:
    """On the worst host; older rows know one host alone, and all of its cores."""
    if row.get("other_share") is not None:
        return row["other_share"]
    return (row.get("other_cores") or 0) / (row.get("cores_per_rank", 1) * row["ranks"])
