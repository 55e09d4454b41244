"""Classes in the words of the CF conventions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

BINARY_MASKS = {
    "cloud": "cloud_binary_mask",
    "land": "land_binary_mask",
    "sea": "sea_binary_mask",
}
"""second of two classes -> what the CF standard name table calls a mask that is 1 there, 0
elsewhere; the table has no name for the probability of such a class"""


def flag_attributes(classes: Sequence[str]) -> dict[str, Any]:
    """What CF wants said of a variable whose values are classes."""
    binary = BINARY_MASKS.get(classes[1].lower()) if len(classes) == 2 else None
    return {
        "long_name": "class of the pixel",
        **({"standard_name": binary, "units": "1"} if binary else {}),
        "flag_values": np.arange(len(classes), dtype="u1"),
        "flag_meanings": " ".join(cf_names(classes)),
    }


def cf_names(classes: Sequence[str]) -> list[str]:
    """Classes as words that CF takes for names; numbered where two would be the same word."""
    words = [re.sub(r"[^A-Za-z0-9_]", "_", name) or "class" for name in classes]
    return [
        word if words.count(word) == 1 else f"{word}_{number}" for number, word in enumerate(words)
    ]
