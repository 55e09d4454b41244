"""Where one more run of a point is expected, by the runs there are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy import stats

from scaling.laws.intervals import CONFIDENCE


def bounds(values: Sequence[float], *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Where a single further run lies, of `values` > 0 whose logarithms scatter normally.

    m +- t(n - 1) s sqrt(1 + 1 / n) on the logarithmic scale (Hahn & Meeker, Statistical Intervals,
    4.8). It is wider than an interval of the median, which one run need not hit. Raises ValueError
    for fewer than three runs: of two it spans decades.
    """
    count = len(values)
    if count < 3:
        raise ValueError(f"{count} runs do not tell where another one lies; at least three do")
    logs = [math.log(value) for value in values]
    scatter = statistics.stdev(logs) * math.sqrt(1 + 1 / count)
    reach = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * scatter
    middle = statistics.fmean(logs)
    return math.exp(middle - reach), math.exp(middle + reach)
