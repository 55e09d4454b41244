"""The series as a picture: concentration over time, a panel per region, and how much is known.

The bars are what the quality is judged by. Points of low
quality are hollow. Only the tiles together are drawn.
"""

from __future__ import annotations

import datetime
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudmask.cli.errors import missing
from cloudmask.files import write_whole
from seaice.series.netcdf import span
from seaice.series.regions import ALL
from seaice.series.table import ALL_TILES, Row

MOST_PANELS = 8
_ICE, _SEEN = "#0072B2", "#D5D5D5"  # one of Okabe and Ito's colours, and a light gray
_STYLE: dict[Any, Any] = {  # of matplotlib
    "svg.fonttype": "none",
    "svg.hashsalt": "series",  # the same series, the same bytes
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a region may be named $x$
    "legend.frameon": False,
}


def write(path: Path, rows: Sequence[Row]) -> list[str]:
    """PATH.png and PATH.svg; the regions there was no room for. OSError, ValueError."""
    try:
        import matplotlib
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError(f"{missing('matplotlib', 'seaice')} ({error})") from None

    together = [row for row in rows if row.tile == ALL_TILES and row.scenes]
    names = sorted({row.region for row in together}, key=lambda name: (name != ALL, name))
    shown, hidden = names[:MOST_PANELS], names[MOST_PANELS:]
    spans = {row.period: span(row.period) for row in together}
    epoch = datetime.datetime(1970, 1, 1)
    middles = {p: epoch + datetime.timedelta(days=sum(s) / 2) for p, s in spans.items()}
    first, last = min(middles.values()), max(middles.values())
    pad = max((last - first) * 0.04, datetime.timedelta(days=1))
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.5, 1.2 + 1.9 * len(shown)), layout="constrained")
        panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for axes, name in zip(panels, shown, strict=True):
            own = [row for row in together if row.region == name]
            when = [middles[row.period] for row in own]
            days = [spans[row.period][1] - spans[row.period][0] for row in own]
            widths = [max(0.8 * n, 0.004 * (last - first).days) for n in days]  # to be seen
            cover = [row.share for row in own]
            axes.bar(when, cover, width=widths, color=_SEEN, label="coverage", zorder=1)
            known = [row for row in own if row.concentration is not None]
            axes.plot(
                [middles[row.period] for row in known],
                [row.concentration for row in known],
                color=_ICE,
                linewidth=1,
                zorder=2,
            )
            for quality, face, text in (
                ("good", _ICE, "ice concentration"),
                ("low", "white", "the same, low coverage"),
            ):
                points = [row for row in known if row.quality == quality]
                axes.plot(
                    [middles[row.period] for row in points],
                    [row.concentration for row in points],
                    linestyle="none",
                    marker="o",
                    color=_ICE,
                    markerfacecolor=face,
                    label=text,
                    zorder=3,
                )
            axes.set_ylim(0, 1.03)
            axes.set_ylabel("share")
            axes.set_title(name, loc="left")
        panels[0].set_xlim(first - pad, last + pad)
        locator = AutoDateLocator()
        panels[-1].xaxis.set_major_locator(locator)
        panels[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
        for suffix, more in (("png", {"Software": None}), ("svg", nothing)):
            content = io.BytesIO()
            figure.savefig(content, format=suffix, dpi=150, metadata=more)
            write_whole(path.with_name(f"{path.name}.{suffix}"), content.getvalue())
    return hidden
