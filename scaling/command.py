"""Flags from dataclasses, and one clear line for what users can get wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import tyro
import yaml

Settings = TypeVar("Settings")

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(ValueError):
    """A command line or a file of settings that cannot be used; the message is one line."""


class StudyError(ValueError):
    """A study or a run that cannot be used as it is; the message is one line."""


def run(main: Callable[[Sequence[str]], int], words: Sequence[str], *, program: str) -> int:
    """Call `main`; what users can mend becomes a line on stderr and an exit code.

    0 done, 1 failed, 2 wrong command line, 130 interrupted. A fault of our own keeps its traceback.
    """
    try:
        return main(words)
    except UsageError as error:
        return _say(program, str(error), USAGE)
    except StudyError as error:
        return _say(program, str(error), FAILED)
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        return _say(program, f"{name}{error.strerror or error}", FAILED)
    except ModuleNotFoundError as error:
        return _say(program, f"{error.name} is not installed: pip install {error.name}", FAILED)
    except KeyboardInterrupt as error:
        return _say(program, str(error) or "interrupted", INTERRUPTED)


def _say(program: str, text: str, code: int) -> int:
    print(f"{program}: error: {' '.join(text.split())}", file=sys.stderr, flush=True)
    return code


def parse(
    settings: type[Settings], words: Sequence[str], *, prog: str
) -> tuple[Settings, list[str]]:
    """Words before `--` as settings, and the words after it: the program to run.

    `--config FILE.yaml` may stand among them: its keys are flags written down, and `program` in it
    is what stands after `--`. What is typed wins. Raises UsageError; SystemExit(0) after --help.
    """
    typed = list(words)
    program: list[str] = []
    if "--" in typed:
        cut = typed.index("--")
        typed, program = typed[:cut], typed[cut + 1 :]
    written: list[str] = []
    while "--config" in typed:
        at = typed.index("--config")
        if at + 1 == len(typed):
            raise UsageError("--config needs the name of a YAML file")
        flags, there = _read_yaml(Path(typed[at + 1]), settings)
        written += flags
        program = program or there
        del typed[at : at + 2]
    return _call(settings, written + typed, prog), program


def _read_yaml(path: Path, settings: type) -> tuple[list[str], list[str]]:
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold 'key: value' lines")
    program = values.pop("program", [])
    if isinstance(program, str):
        program = shlex.split(program)
    known = {field.name for field in dataclasses.fields(settings)}
    words: list[str] = []
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise UsageError(
                f"{path}: unknown key '{key}'; there are: {', '.join(sorted(known))}, program"
            )
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif name == "env":
            items = (
                value.items() if isinstance(value, dict) else [str(v).split("=", 1) for v in value]
            )
            words += [word for name, text in items for word in (flag, f"{name}={text}")]
        elif isinstance(value, list):
            words += [flag, ",".join(map(str, value))]
        else:
            words += [flag, str(value)]
    return words, [str(word) for word in program]


def _call(settings: type[Settings], words: list[str], prog: str) -> Settings:
    """Parse with tyro, and make one line of the box it draws around an error."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(settings, args=words, prog=prog)
    except SystemExit as stop:
        if not stop.code:
            raise
    text = re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯]", "", told.getvalue())
    paragraphs = re.split(r"\n\s*(?:─+[^\n]*)?\n", text.partition("\n")[2])
    first = " ".join(paragraphs[0].split())
    near = re.search(r"Perhaps you meant:\s*(--[\w-]+)", text)
    hint = f"; perhaps you meant {near.group(1)}" if near else ""
    raise UsageError(f"{first}{hint} ({prog} --help lists the options)")
