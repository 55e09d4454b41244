"""Which scene goes into which split: pure functions of sorted scene names, shares and a seed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np

from cloudmask.data.acquisition import orbit_of
from cloudmask.text import plural

_BLOCKS_PER_SPLIT = 4

SplitBy = Literal["random", "blocks"]


def parse_split(text: str) -> dict[str, Fraction]:
    """`train=0.8,valid=0.2` -> share by name, in the given order. ValueError."""
    shares: dict[str, Fraction] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([a-z]+)\s*=\s*([0-9./]+)\s*", part)
        if not match or match[1] in shares:
            raise ValueError(
                f"split '{text}' is not understood at '{part}'; write NAME=SHARE,NAME=SHARE with "
                "different names of small letters, such as train=0.8,valid=0.2"
            )
        try:
            shares[match[1]] = Fraction(match[2])
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"share '{match[2]}' in split '{text}' is not a number") from None
    if min(shares.values()) <= 0 or sum(shares.values()) != 1:
        raise ValueError(
            f"the shares of split '{text}' add to {float(sum(shares.values())):g}; each must be "
            "above 0 and all together exactly 1"
        )
    return shares


def is_split(name: str) -> bool:
    """Whether a split can have this name, and so its folder."""
    return re.fullmatch("[a-z]+", name) is not None


def split_scenes(
    names: Sequence[str],
    shares: Mapping[str, Fraction],
    *,
    by: SplitBy,
    seed: int,
) -> list[str]:
    """The split of each scene; `names` must be sorted. ValueError with fewer scenes than splits.

    Every split but the first gets its share of the scenes, rounded up, and the first one the rest;
    none stays empty. `random` draws them one after the other from a permutation, which for two
    splits is what scikit-learn's `train_test_split(random_state=seed)` does, and the CloudMask
    benchmark with it. `blocks` does the same with runs of neighbouring scenes.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed {seed} must be between 0 and {2**32 - 1}")
    if by == "random":
        blocks = [[index] for index in range(len(names))]
    else:
        smallest = math.ceil(min(shares.values()) * len(names))
        blocks = _blocks(names, math.ceil(smallest / _BLOCKS_PER_SPLIT))
    if len(blocks) < len(shares):
        raise ValueError(_too_few(len(names), len(blocks), tuple(shares)))
    order = [blocks[index] for index in np.random.RandomState(seed).permutation(len(blocks))]
    first, *others = shares
    wanted = {name: math.ceil(shares[name] * len(names)) for name in others}
    while by == "random" and others and sum(wanted.values()) >= len(names):
        wanted[max(wanted, key=wanted.__getitem__)] -= 1
    result = [first] * len(names)
    for position, name in enumerate(others):
        kept = len(others) - position  # blocks for the first split and those after this one
        count = 0
        while count < wanted[name] and len(order) > kept:
            block = order.pop(0)
            count += len(block)
            for index in block:
                result[index] = name
    return result


def _too_few(scenes: int, blocks: int, names: tuple[str, ...]) -> str:
    have = plural(scenes, "scene")
    if blocks < scenes:
        have += f" of {plural(blocks, 'orbit')}"
    goes_whole = "an orbit" if blocks < scenes else "a scene"
    other = "add scenes, use --split-by random or" if blocks < scenes else "add scenes or use"
    return (
        f"{have} cannot be split into {', '.join(names)}: {goes_whole} goes whole into one of "
        f"them, so {len(names)} are needed; {other} --split {names[0]}=1"
    )


def _blocks(names: Sequence[str], length: int) -> list[list[int]]:
    """Runs of at least `length` consecutive scenes that do not cut an orbit in two."""
    blocks: list[list[int]] = []
    last = None
    for index, name in enumerate(names):
        orbit = orbit_of(name) or index
        if not blocks or (len(blocks[-1]) >= length and orbit != last):
            blocks.append([])
        blocks[-1].append(index)
        last = orbit
    return blocks
