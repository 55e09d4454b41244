"""One item's outcome, whatever engine it is worked on by."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cloudmask.data.parallel import Outcome

Item = TypeVar("Item")
Value = TypeVar("Value")


def attempt(function: Callable[[Item], Value], item: Item) -> Outcome[Value]:
    """Call it; a ValueError, which concerns this item alone, becomes its outcome."""
    try:
        return Outcome(value=function(item))
    except ValueError as error:
        return Outcome(error=str(error))
