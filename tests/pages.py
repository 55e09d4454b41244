"""README and the pages of docs/ as blocks of commands, words in code, links and tables."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv" / "bin"
PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
LAUNCHERS = ("OMPI_", "PMIX_", "PMI_", "HOROVOD_", "SLURM_")


@dataclass(frozen=True)
class Block:
    """A fenced block, and why it is not run where a comment right before it says so."""

    page: str
    line: int
    kind: str
    reason: str | None
    text: str


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str) -> list[Block]:
    found: list[Block] = []
    lines = text_of(page).splitlines()
    start = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if start is None:
            start = number
            continue
        before = lines[start - 1] if start else ""
        said = re.fullmatch(r"<!-- not run: (.+) -->", before)
        found.append(
            Block(
                page,
                start + 1,
                lines[start].removeprefix("```"),
                said.group(1) if said else None,
                "\n".join(lines[start + 1 : number]),
            )
        )
        start = None
    assert start is None, f"{page}: the block of line {start} has no end"
    return found


def code(page: str) -> list[str]:
    """What stands in backticks, and every block."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    return [*re.findall(r"`([^`\n]+)`", prose), *(block.text for block in blocks(page))]


def links(page: str) -> list[str]:
    found = re.findall(r"\]\(([^)#\s]+)", text_of(page))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def rows(page: str) -> list[list[str]]:
    """The rows of all tables, without their heads, as cells."""
    found: list[list[str]] = []
    for line in text_of(page).splitlines():
        if line.startswith("| --- "):
            del found[-1]
        elif line.startswith("| "):
            found.append([cell.strip() for cell in line.strip("| ").split(" | ")])
    return found


def run(command: list[str], folder: Path, *, seconds: float) -> tuple[int, str]:
    """Exit code and all output of a command as a user would type it; nothing of it outlives it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(LAUNCHERS)}
    environment |= {
        "PATH": os.pathsep.join([str(BIN), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    if (os.cpu_count() or 1) < 2:
        environment["OMPI_MCA_rmaps_base_oversubscribe"] = "1"
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        told, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        told, _ = process.communicate()
        return -1, f"{told}\nnot done after {seconds:.0f} s"
    return process.returncode, told
