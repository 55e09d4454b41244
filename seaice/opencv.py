"""OpenCV, imported where it is used, on one thread: the engines share out the cores."""

from __future__ import annotations

from typing import Any

from cloudmask.cli.errors import missing


def load() -> Any:
    """The module `cv2`. ValueError that says what to install where it is missing."""
    try:
        import cv2
    except ImportError as error:
        raise ValueError(f"{missing('OpenCV', 'seaice')} ({error})") from None
    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)
        # A broken file gets a line of ours; what the decoders print names no file.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2
