"""`cloudmask describe`: write model.json beside models that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloudmask.cli.options import DescribeConfig
from cloudmask.files import parse_json
from cloudmask.model import keras_file


def describe(config: DescribeConfig) -> int:
    """One file for each run or model. Raises ValueError, OSError."""
    for run in config.runs:
        model = keras_file.path_of(run)
        print(f"description: {keras_file.write_description(model, _options(model.parent))}")
    return 0


def _options(folder: Path) -> dict[str, Any]:
    """Those that a run was trained with; none beside a model by itself."""
    try:
        found = parse_json((folder / "summary.json").read_bytes())["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
