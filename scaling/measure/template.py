"""Any launcher by a template: "flux run -n {ranks} -c {cores_per_rank} {program}".

Its words are told apart as a shell does, but no shell runs them. Names in braces are filled in.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from scaling.measure.layout import Layout

NAMES = ("ranks", "nodes", "ranks_per_node", "cores_per_rank", "gpus_per_rank", "program")
PROGRAM = "{program}"
BRACES = re.compile(r"\{([^{}]*)\}")


def parse(text: str) -> list[str]:
    """The words of a template. Raises ValueError for one that cannot start ranks."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"--launch {text!r}: {error}") from None
    for word in words:
        for name in BRACES.findall(word):
            if name not in NAMES:
                known = ", ".join(f"{{{known}}}" for known in NAMES)
                raise ValueError(f"--launch knows no {{{name}}}; there are: {known}")
    if words.count(PROGRAM) != 1 or words[0] == PROGRAM:
        raise ValueError(
            f"--launch {text!r}: write {PROGRAM} once, as a word of its own, where the program goes"
        )
    names = {name for word in words for name in BRACES.findall(word)}
    if "ranks" not in names and not names >= {"nodes", "ranks_per_node"}:
        raise ValueError(
            f"--launch {text!r} says nowhere how many ranks to start: write {{ranks}}, or both "
            "{nodes} and {ranks_per_node}"
        )
    return words


def fill_in(text: str, layout: Layout, program: Sequence[str]) -> list[str]:
    """The words that start the program. Raises ValueError for values that are not known."""
    values = {
        "ranks": layout.ranks,
        "nodes": layout.nodes,
        "ranks_per_node": layout.ranks_per_node and layout.ranks_on_a_node,
        "cores_per_rank": layout.cores_per_rank,
        "gpus_per_rank": layout.gpus_per_rank,
    }
    filled: list[str] = []
    for word in parse(text):
        if word == PROGRAM:
            filled += program
            continue
        for name in BRACES.findall(word):
            if values[name] is None:
                raise ValueError(f"--launch has {{{name}}}, so say --ranks-per-node too")
        filled.append(BRACES.sub(lambda found: str(values[found[1]]), word))
    return filled
