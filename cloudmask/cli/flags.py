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
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TypeVar

import tyro
import yaml

from cloudmask.cli.errors import UsageError

Config = TypeVar("Config")

PRESETS = ("reference", "seaice", "tiny")


def parse(config_class: type[Config], words: Sequence[str], *, prog: str) -> Config:
    """Command line words to a configuration. Raises UsageError; SystemExit(0) after --help.

    `--config FILE.yaml` and `--preset NAME` may stand anywhere, more than once.
    """
    presets, words = _take(list(words), "--preset")
    files, words = _take(words, "--config")
    written: list[str] = []
    for name in presets:
        if name not in PRESETS:
            raise UsageError(f"no preset '{name}'; there are: {', '.join(PRESETS)}")
        text = resources.files("cloudmask").joinpath(f"presets/{name}.yaml").read_text()
        written += _words_of_yaml(text, f"preset {name}", config_class)
    for file in files:
        try:
            text = Path(file).read_text()
        except OSError as error:
            raise UsageError(f"cannot read {file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UsageError(f"{file} is not YAML: it is not text") from None
        written += _words_of_yaml(text, file, config_class)
    return _parse_words(config_class, written + words, prog=prog)


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


def _take(words: list[str], flag: str) -> tuple[list[str], list[str]]:
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


def _words_of_yaml(text: str, source: str, config_class: type) -> list[str]:
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"{source} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{source} must hold 'key: value' lines")
    known = {field.name for field in dataclasses.fields(config_class)}
    words: list[str] = []
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "; --help lists the options"
            raise UsageError(f"{source}: unknown key '{key}'{hint}")
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list | tuple):
            words += [f"--{flag}", *map(str, value)]
        else:
            words += [f"--{flag}", str(value)]
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
