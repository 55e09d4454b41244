"""Command lines, YAML files and presets to the frozen dataclass of a program, and back to YAML.

A YAML file and a preset are nothing but flags written down: `batch_size: 4` in a file is
`--batch-size 4` in front of the command line. So they are checked by the same parser, and what
is typed wins over what is in a file, which wins over a preset.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import re
import shlex
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import tyro
import yaml

from cloudmask.cli.errors import UsageError

Config = TypeVar("Config")

PRESETS = ("reference", "seaice", "seaice-published", "tiny")


def parse(config_class: type[Config], words: Sequence[str], *, prog: str) -> Config:
    """Command line words to a configuration. Raises UsageError; SystemExit(0) after --help.

    `--config FILE.yaml` and `--preset NAME` may stand anywhere, more than once.
    """
    presets, rest = _take(words, "--preset")
    files, rest = _take(rest, "--config")
    written: list[str] = []
    for name in presets:
        if name not in PRESETS:
            raise UsageError(f"no preset '{name}'; there are: {', '.join(PRESETS)}")
        text = resources.files("cloudmask").joinpath(f"presets/{name}.yaml").read_text()
        source = f"preset {name}"
        written += _words_of(_mapping(text, source), source, config_class)
    for file in files:
        written += _words_of(_read_yaml(file), file, config_class)
    return _parse_words(config_class, written + rest, prog=prog)


def parse_with_program(
    config_class: type[Config], words: Sequence[str], *, prog: str
) -> tuple[Config, list[str]]:
    """Like `parse`, for a command that runs a program: also the words after `--`, which are it.

    In a YAML file the program stands as `program`, a list of words or one line of shell; what is
    typed wins. There are no presets.
    """
    typed = list(words)
    cut = typed.index("--") if "--" in typed else len(typed)
    files, rest = _take(typed[:cut], "--config")
    written: list[str] = []
    program: Sequence[object] = []
    for file in files:
        values = _read_yaml(file)
        there = values.pop("program", None) or program
        program = shlex.split(there) if isinstance(there, str) else there
        written += _words_of(values, file, config_class)
    config = _parse_words(config_class, written + rest, prog=prog)
    return config, typed[cut + 1 :] or [str(word) for word in program]


def to_yaml(config: object) -> str:
    """A configuration as YAML that `--config` reads back."""
    values = dataclasses.asdict(config)  # type: ignore[call-overload]
    plain = {key: _plain(value) for key, value in values.items() if value not in (None, ())}
    return yaml.safe_dump(plain, sort_keys=False)


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _take(words: Sequence[str], flag: str) -> tuple[list[str], list[str]]:
    """Values of `flag VALUE` and `flag=VALUE`, and the words without them."""
    values, rest = [], []
    queue = iter(words)
    for word in queue:
        if word == flag:
            value = next(queue, None)
            if value is None:
                raise UsageError(f"{flag} needs a value")
            values.append(value)
        elif word.startswith(f"{flag}="):
            values.append(word.partition("=")[2])
        else:
            rest.append(word)
    return values, rest


def _read_yaml(file: str) -> dict[str, Any]:
    try:
        return _mapping(Path(file).read_text(), file)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not YAML: it is not text") from None


def _mapping(text: str, source: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"{source} is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UsageError(f"{source} is not YAML for us: it is nested too deeply") from None
    if not isinstance(values, dict):
        raise UsageError(f"{source} must hold 'key: value' lines")
    return {str(key): value for key, value in values.items()}


def _words_of(values: Mapping[str, Any], source: str, config_class: type) -> list[str]:
    """A file's keys as flags. A list is one value with commas where the field is one text, and a
    flag for each item where the field collects them, as the items of a mapping NAME: VALUE are."""
    kinds = typing.get_type_hints(config_class, include_extras=True)
    words: list[str] = []
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in kinds:
            near = difflib.get_close_matches(name, sorted(kinds), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "; --help lists the options"
            raise UsageError(f"{source}: unknown key '{key}'{hint}")
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, dict):
            value = [f"{item}={of_item}" for item, of_item in value.items()]
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif not isinstance(value, list):
            words += [flag, str(value)]
        elif tyro.conf.UseAppendAction in getattr(kinds[name], "__metadata__", ()):
            words += [word for item in value for word in (flag, str(item))]
        elif kinds[name] is str:
            words += [flag, ",".join(map(str, value))]
        else:
            words += [flag, *map(str, value)]
    return words


def _parse_words(config_class: type[Config], words: list[str], *, prog: str) -> Config:
    """Call the parser and turn its box of an error into one line."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(config_class, args=words, prog=prog)
    except SystemExit as stop:
        if not stop.code:
            raise
    lines = [re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", "", line) for line in told.getvalue().splitlines()]
    body = [" ".join(line.split()) for line in lines[1:]]
    first = " ".join(line for line in body[: body.index("")] if line) if "" in body else ""
    if not first:
        first = " ".join(line for line in body if line)
    near = re.search(r"Perhaps you meant:\s*(--[\w-]+)", " ".join(body))
    hint = f"; perhaps you meant {near.group(1)}" if near else ""
    raise UsageError(f"{first}{hint} ({prog} --help lists the options)")
