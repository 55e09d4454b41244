"""Libraries that another one would take if they were there, kept from it while it is loaded.

Keras loads plotting, tables and pictures for parts of it that training never calls: a third of the
time that a rank takes to start, and 60 MB in each of the ranks of a host.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

OF_KERAS = ("matplotlib", "pandas", "scipy", "cv2", "PIL")
"""which Keras takes where they are, and does without where they are not"""


@contextlib.contextmanager
def absent(*libraries: str) -> Iterator[None]:
    """Whoever imports one of these, unless it is loaded already, is told that it is not installed.

    After the block they can be imported again.
    """
    hidden = [name for name in libraries if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
