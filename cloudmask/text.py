"""Figures as text: one way to write a number, a share, a probability, a date."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

NONE = "\N{EN DASH}"
"""where a figure does not exist"""


def is_number(value: Any) -> TypeGuard[float]:
    """Whether this is a figure: no text, no truth value, neither NaN nor infinite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if is_number(value) else NONE


def count(value: Any) -> str:
    """1234567 -> 1,234,567"""
    return f"{value:,.0f}" if is_number(value) else NONE


def percent(value: Any, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%" if is_number(value) else NONE


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
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def commit(value: Any) -> str:
    """The first digits of a commit, and whether the source had been changed."""
    if not value:
        return "not known (not run from a git checkout)"
    text = str(value)
    return text[:12] + (", with changes that are not committed" if text.endswith("+") else "")


def fingerprint(value: Any) -> str:
    """The first digits of a checksum: enough to tell which one it is."""
    return str(value)[:16] if value else NONE
