"""Ways in which files are damaged: pure functions of a file's bytes and a seeded generator."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

Damage = Callable[[bytes, random.Random, bytes], bytes]
"""(content, generator, content of a file of another kind) -> the damaged content"""

HEAD = 4096
"""where headers lie, which decide how the rest is read"""


def truncated(content: bytes, rng: random.Random, other: bytes) -> bytes:
    return content[: rng.choice([0, 1, 8, rng.randrange(len(content)), len(content) - 1])]


def flipped(content: bytes, rng: random.Random, other: bytes) -> bytes:
    """Some bits, half of the time within the header."""
    changed = bytearray(content)
    end = min(HEAD, len(content)) if rng.random() < 0.5 else len(content)
    for _ in range(rng.choice([1, 3, 30])):
        changed[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def spliced(content: bytes, rng: random.Random, other: bytes) -> bytes:
    """A piece of the file at another place, over what was there or before it."""
    length = rng.randrange(1, max(2, len(content) // 4))
    start, place = rng.randrange(len(content)), rng.randrange(len(content))
    piece = content[start : start + length]
    after = place + (len(piece) if rng.random() < 0.5 else 0)
    return content[:place] + piece + content[after:]


def zeroed(content: bytes, rng: random.Random, other: bytes) -> bytes:
    start = rng.choice([0, rng.randrange(len(content))])
    length = min(rng.choice([16, 512, len(content)]), len(content) - start)
    return content[:start] + bytes(length) + content[start + length :]


def of_another_kind(content: bytes, rng: random.Random, other: bytes) -> bytes:
    """The head of another kind's file, or all of it."""
    length = rng.choice([16, 512, len(other)])
    return other[:length] + (content[length:] if length < len(other) else b"")


def wild(content: bytes, rng: random.Random, other: bytes) -> bytes:
    """Numbers of the header become very large: sizes, offsets, counts."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 2, 5])):
        width = rng.choice([2, 4, 8])
        value = rng.choice([2 ** (8 * width) - 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width - 4)])
        place = rng.randrange(max(1, min(HEAD, len(content)) - width))
        changed[place : place + width] = value.to_bytes(width, "little")
    return bytes(changed)


OF_BYTES = (truncated, flipped, spliced, zeroed, of_another_kind, wild)

_WILD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1e308, -1e308, 10**30, 2**63, 0.5, "", "x" * 100_000, "../../x", "/etc"),
    *("\x00", "\ud800", [], {}, [[]], ["a"], [None], [1e999], {"a": 1}, float("nan")),
)


def rewritten(content: bytes, rng: random.Random, other: bytes) -> bytes:
    """JSON, or a line of it, in which some value is another one, is lost, or was never expected."""
    lines = content.split(b"\n")
    if not _is_json(lines[0]):
        lines = [content]
    number = rng.choice([place for place, line in enumerate(lines) if line])
    values = json.loads(lines[number])
    for _ in range(rng.choice([1, 1, 3])):
        if not values:
            break
        holder, key = _somewhere(values, rng)
        if rng.random() < 0.2:
            del holder[key]
        elif rng.random() < 0.1:
            holder[key] = json.loads("[" * 500 + "]" * 500)
        else:
            holder[key] = rng.choice(_WILD_VALUES)
    lines[number] = json.dumps(values).encode()
    return b"\n".join(lines)


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _somewhere(values: Any, rng: random.Random) -> tuple[Any, Any]:
    """A place in nested values: often near the top."""
    holder, key = values, rng.choice(list(values))
    while isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.6:
        holder = holder[key]
        key = rng.randrange(len(holder)) if isinstance(holder, list) else rng.choice(list(holder))
    return holder, key


def misspelt(content: bytes, rng: random.Random, other: bytes) -> bytes:
    """Text in which a number or a word has become another one."""
    text = content.decode()
    words = list(re.finditer(r"[\w.]+", text))
    word = rng.choice(words)
    wilds = [
        "-1",
        "0",
        "1e999",
        "9" * 40,
        "",
        "null",
        "[",
        "{a: {b: c}}",
        "!!python/object:x",
        "&a *a",
    ]
    return (text[: word.start()] + rng.choice(wilds) + text[word.end() :]).encode()


def bomb(content: bytes, rng: random.Random, other: bytes) -> bytes:
    """Text that grows when it is read: entities of XML, aliases of YAML, deep nesting."""
    if content.lstrip().startswith(b"<"):
        names = [f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "x" * 10}">' for n in range(10)]
        return b"<!DOCTYPE x [" + "".join(names).encode() + b"]><x>&e9;</x>"
    if rng.random() < 0.5:
        return b"[" * 200_000
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    return "\n".join(lines).encode()


OF_JSON = (*OF_BYTES[:-1], rewritten, rewritten, rewritten, rewritten, bomb)
OF_TEXT = (*OF_BYTES[:-1], misspelt, misspelt, misspelt, bomb)
