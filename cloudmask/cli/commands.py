"""A program of several commands: one is named, its options are parsed, its function is called."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cloudmask.cli import flags
from cloudmask.cli.errors import UsageError

Commands = Mapping[str, tuple[type[Any], str]]
"""name -> the dataclass of its options, and the module with a function of its name that takes them;
the module is imported when the options have been understood, as it may be heavy"""


def call(
    program: str,
    commands: Commands,
    words: Sequence[str],
    *,
    usage: str,
    check: Callable[[Any], None] | None = None,
) -> int:
    """The exit code of the command that the first word names; `check` looks at the options of each
    before. UsageError."""
    name, rest = (words[0] if words else "--help"), words[1:]
    if name in ("-h", "--help"):
        print(usage)
        return 0
    if name not in commands:
        known = ", ".join(commands)
        raise UsageError(f"there is no command '{name}'; there are: {known} (--help explains them)")
    config_class, module = commands[name]
    config = flags.parse(config_class, rest, prog=f"{program} {name}")
    if check is not None:
        check(config)
    return getattr(importlib.import_module(module), name)(config)
