"""Figures as text: one way to write a number, a share, a probability, a date, a plural."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, TypeGuard

NONE = "\N{EN DASH}"
"""where a figure does not exist"""


def is_number(value: Any) -> TypeGuard[float]:
    """Whether this is a figure: no text, no truth value, neither NaN nor infinite."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if is_number(value) else NONE


def significant(value: Any) -> str:
    """Three or four significant digits, without an exponent for what people count."""
    if not is_number(value):
        return NONE
    size = abs(value)
    if value and not 1e-3 <= size < 1e6:
        return f"{value:.3g}"
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3
    return f"{value:.{digits}f}"


def with_unit(value: Any, unit: str) -> str:
    """Three significant digits and a fitting unit: s becomes ms; B and B/s become kB, MB, GB."""
    if not is_number(value):
        return NONE
    if unit == "s" and abs(value) < 0.1:
        value, unit = 1e3 * value, "ms"
    elif unit in ("B", "B/s"):
        for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
            if abs(value) >= size / 10:
                value, unit = value / size, prefix + unit
                break
    return f"{value:.3g} {unit}".rstrip()


def count(value: Any) -> str:
    """1234567 -> 1,234,567"""
    return f"{value:,.0f}" if is_number(value) else NONE


def percent(value: Any, digits: int = 1, *, sign: bool = False) -> str:
    """0.123 -> 12.3 %; with `sign` +12.3 %"""
    return f"{100 * value:{'+' if sign else ''}.{digits}f} %" if is_number(value) else NONE


def points(value: Any) -> str:
    """A difference of shares, in percentage points with its sign."""
    text = f"{100 * value:+.2f}" if is_number(value) else NONE
    return text.replace("-", "\N{MINUS SIGN}")


def p_value(value: Any) -> str:
    if not is_number(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def date(value: Any) -> str:
    """ISO 8601 to the minute; whatever else it is as it stands."""
    text = str(value) if value else NONE
    return text[:16].replace("T", " ") + " UTC" if len(text) > 16 and text[10] == "T" else text


def plural(number: int, word: str) -> str:
    """1 scene, 2 scenes, 1,024 patches"""
    return f"{number:,} {word}{'' if number == 1 else 'es' if word.endswith('ch') else 's'}"


def listed(values: Iterable[Any], *, most: int | None = None) -> str:
    """1, 2, 4; of more than `most` the first ones and dots."""
    words = [str(value) for value in values]
    cut = [*words[:most], "..."] if most is not None and len(words) > most else words
    return ", ".join(cut)


def enumerated(words: Sequence[str]) -> str:
    """a; a and b; a, b and c"""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def commit(value: Any) -> str:
    """The first digits of a commit, and whether the source had been changed."""
    if not value:
        return "not known (not run from a git checkout)"
    text = str(value)
    return text[:12] + (", with changes that are not committed" if text.endswith("+") else "")


def fingerprint(value: Any) -> str:
    """The first digits of a checksum: enough to tell which one it is."""
    return str(value)[:16] if value else NONE
