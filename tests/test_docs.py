"""README and docs/ say what is so: their commands run, and what they name exists.

Every block of a page is run in order, in a folder of the page's own, at small size: SMALLER says
what is typed instead. CLOUDMASK_DOCS_SMALL=0 runs the commands as they stand, which takes hours.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pages
import pytest
from pages import PAGES, ROOT

from scaling.__main__ import COMMANDS

SMALLER = {
    "--scenes 20": "--scenes 6 --height 256 --width 320",
    "cloudmask prepare scenes": "cloudmask prepare scenes --patch-size 128",
    "--epochs 30": "--epochs 1 --widths 8 16",
    "--tile 512": "--tile 128",
    "--ranks 1,2,4,8 --repeats 6 --copies": (
        "--ranks 1,2 --repeats 1 --modes weak --no-allreduce --batch-per-rank 2"
    ),
    "--epochs 3": "--max-steps 8 --widths 4 8 --no-tensorboard",
    "--emulate 0.5": "--emulate 0.05",
    "--max-steps 25": "--max-steps 4 --widths 4 8",
    "synth --out ice --scenes 12": "synth --out ice --scenes 6 --height 256 --width 256",
    "--out ice-patches": "--out ice-patches --patch-size 128",
    "--preset seaice": "--preset seaice --epochs 1 --batch-size 4 --widths 8 16 --dropout 0.1 0.1",
}
"""What is typed, and what the test types instead."""
FROM_README = {
    "docs/scenes.md": ("scenes", "patches", "run", "masks"),
    "docs/training.md": ("patches",),
    "docs/scaling.md": ("patches",),
    "docs/formats.md": ("patches", "run", "masks"),
}
"""What the reader of a page has from README's commands."""
STANDS_FOR = {"scene.hdf": "scenes/*.hdf"}
"""Names of the reader's own files, and where README's commands have made one."""
SECONDS = 600

REASONS = (
    r"needs several hosts|needs more cores|needs Slurm or LSF|needs a GPU|needs docker"
    r"|your own archive|takes long: covered by (?P<cover>.+)"
)
KINDS = {"sh", "bash", "python", "text", "yaml"}
RUN = {"sh", "bash", "python"}

FOREIGN = {
    "mpirun": "--map-by --bind-to --cpu-set --cpu-list --rankfile --mca --prefix",
    "horovodrun": (
        "--gloo --mpi --network-interface --gloo-timeout-seconds --mpi-args --min-np --max-np"
        " --host-discovery-script --blacklist-cooldown-range"
    ),
    "Slurm": ("--ntasks --cpus-per-task --time --array --exclusive --signal --mpi --gpus-per-task"),
    "docker and buildah": "--rm --user --build-arg --isolation --hostname",
    "spark-submit": "--master --py-files",
    "reframe": "--run",
}
"""Flags of other people's programs."""
EVERYWHERE = {"--help", "--config", "--preset"}
PROGRAMS = (["-m", "cloudmask"], ["-m", "scaling"], ["-m", "seaice"])
FOLDERS = ("benchmarks", "cloudmask", "docs", "jobs", "scaling", "scripts", "seaice", "tests")


def smaller(text: str) -> str:
    for typed, instead in SMALLER.items():
        text = re.sub(rf"{re.escape(typed)}(?![\w.,-])", instead, text)
    return text


def runnable(page: str) -> list[pages.Block]:
    return [block for block in pages.blocks(page) if block.kind in RUN and block.reason is None]


def run_blocks(page: str, folder: Path, *kinds: str) -> None:
    if not (folder / "train_hvd.py").exists():
        (folder / "train_hvd.py").symlink_to(ROOT / "train_hvd.py")
    small = os.environ.get("CLOUDMASK_DOCS_SMALL", "1") != "0"
    for block in runnable(page):
        if block.kind not in kinds:
            continue
        text = smaller(block.text) if small else block.text
        for name, place in STANDS_FOR.items():
            if name in text and not (folder / name).exists():
                (folder / name).symlink_to(next(folder.glob(place)))
        shell = ["python", "-c"] if block.kind == "python" else ["bash", "-euxo", "pipefail", "-c"]
        code, told = pages.run([*shell, text], folder, seconds=SECONDS if small else 86400)
        assert code == 0, f"{page}, line {block.line}: exit code {code} of\n{text}\n\n{told}"


@pytest.fixture(scope="module")
def from_readme(tmp_path_factory):
    """The folder in which the commands of README have run; its Python comes in a test."""
    folder = tmp_path_factory.mktemp("readme")
    run_blocks("README.md", folder, "sh", "bash")
    return folder


@pytest.mark.slow
@pytest.mark.mpi
def test_the_commands_of_readme_run(from_readme):
    masks = list((from_readme / "masks").glob("*.nc"))
    assert len(masks) == len(list((from_readme / "scenes").glob("*.hdf"))) > 0
    assert json.loads((from_readme / "run" / "summary.json").read_text())["ranks"] == 2
    assert (from_readme / "report.html").exists()
    run_blocks("README.md", from_readme, "python")


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.parametrize("page", [page for page in PAGES[1:] if runnable(page)])
def test_the_commands_of_a_page_run(page, from_readme, tmp_path):
    for name in FROM_README.get(page, ()):
        shutil.copytree(from_readme / name, tmp_path / name)
    run_blocks(page, tmp_path, *RUN)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_says_why_not(page):
    for block in pages.blocks(page):
        where = f"{page}, line {block.line}"
        assert block.kind in KINDS, f"{where}: a block of kind '{block.kind}'"
        if block.reason is None:
            continue
        assert block.kind in RUN, f"{where}: blocks of kind '{block.kind}' are never run"
        known = re.fullmatch(REASONS, block.reason)
        assert known, f"{where}: '{block.reason}' is no known reason"
        for word in (known["cover"] or "").split():
            if "/" in word:
                assert (ROOT / word).exists(), f"{where}: covered by {word}, which is not there"


def test_every_replacement_and_every_file_that_is_handed_on_is_used():
    texts = {page: "\n".join(block.text for block in runnable(page)) for page in PAGES}
    for typed in SMALLER:
        found = [re.search(rf"{re.escape(typed)}(?![\w.,-])", text) for text in texts.values()]
        assert any(found), f"no command has '{typed}'"
    for page, names in FROM_README.items():
        for name in names:
            assert re.search(rf"\b{name}\b", texts[page]), f"{page} does not use {name}"


@pytest.mark.parametrize("page", [*PAGES, "RECORDS.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_and_paths_lead_somewhere(page):
    for link in pages.links(page):
        assert (ROOT / page).parent.joinpath(link).exists(), f"{page} links to {link}"
    for text in pages.code(page):
        for word in re.findall(r"(?<![\w./@:-])[\w.-]+(?:/[\w.*-]+)+/?", text):
            if word.split("/")[0] in FOLDERS and "*" not in word:
                assert (ROOT / word).exists(), f"{page} names {word}, which is not there"


@pytest.mark.parametrize("page", [*PAGES, "RECORDS.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_to_a_heading_find_it(page):
    for link, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", pages.text_of(page)):
        place = (ROOT / page).parent / link if link else ROOT / page
        heads = re.findall(r"^#+ (.+)$", place.read_text(), flags=re.MULTILINE)
        known = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}
        assert anchor in known, f"{page} links to {link}#{anchor}"


def test_every_command_of_the_study_stands_in_readme_and_its_page():
    for page in ("README.md", "docs/scaling.md"):
        for command in COMMANDS:
            told = rf"python -m scaling {command} |^\| `{command}` \|"
            assert re.search(told, pages.text_of(page), flags=re.MULTILINE), (page, command)


def test_the_map_of_the_design_is_right():
    """`name.py` and `folder/` in a row stand in the folder that the row is about."""
    for place, *cells in pages.rows("docs/design.md"):
        folder = ROOT / place.strip("`")
        assert folder.exists(), f"{place} is not there"
        for name in re.findall(r"`([\w/]+(?:\.py|/))`", " ".join(cells)):
            found = (folder / name).exists() or (ROOT / name).exists()
            assert found, f"{place} has no {name}"


@pytest.fixture(scope="module")
def flags():
    """Every flag in some program's --help."""

    def told(words: list[str]) -> str:
        code, text = pages.run(["python", *words, "--help"], ROOT, seconds=SECONDS)
        assert code == 0, text
        return text

    lines = [[str(ROOT / "train_hvd.py")], ["-m", "benchmarks.peers"]]
    for program in PROGRAMS:
        commands = re.findall(r"^  ([a-z]+)  ", told(program), flags=re.MULTILINE)
        assert commands, program
        lines += [[*program, command] for command in commands]
    with ThreadPoolExecutor(2) as pool:
        return {flag for text in pool.map(told, lines) for flag in flags_in(text)}


def flags_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))


@pytest.mark.slow
def test_every_flag_exists(flags):
    named = {page: flags_in("\n".join(pages.code(page))) for page in PAGES}
    foreign = set(" ".join(FOREIGN.values()).split())
    for page, found in named.items():
        unknown = found - flags - foreign - EVERYWHERE
        assert not unknown, f"{page}: no program has {', '.join(sorted(unknown))}"
    unused = foreign - set().union(*named.values())
    assert not unused, f"no page names {', '.join(sorted(unused))}"


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = "\n".join(pages.code(page))
    named = re.findall(r"(?:^|&& )make ([a-z][a-z-]*)", code, re.MULTILINE)
    assert set(named) <= targets, f"{page} names {', '.join(sorted(set(named) - targets))}"


def test_readme_is_one_page_with_six_results():
    assert len(pages.text_of("README.md").splitlines()) <= 150
    results = pages.text_of("README.md").partition("## Results")[2].partition("\n## ")[0]
    assert results.count("\n| ") == 6 + 2  # the head and its line


def test_every_figure_has_its_command_and_its_record():
    page = "docs/results.md"
    rows = [row for row in pages.rows(page) if len(row) == 5]
    assert len(rows) > 20
    others = [row for row in pages.rows(page) if len(row) != 5]
    for section in pages.text_of(page).split("\n## "):
        if any(f"| {row[0]} | {row[1]} |" in section for row in others):  # a table of its own kind
            assert re.search(r"`python -m benchmarks \w+`", section), section
            assert "](../benchmarks/results/" in section, section
    for row in rows:
        what, measured, _compared, command, record = row
        assert re.search(r"\d", measured), what
        assert re.search(r"`.+`|the same", command), what
        (link,) = re.findall(r"\]\((.+?)\)", record)
        place = (ROOT / "docs" / link).resolve().relative_to(ROOT.resolve())
        assert (ROOT / place).is_file(), what
        assert place.parts[0] in ("benchmarks", "scaling"), what
        name = re.search(r"python -m benchmarks (\w+)", command)
        if name and "commit" not in command:
            assert (ROOT / "benchmarks" / f"{name[1]}.py").exists(), what


def test_every_gain_says_where_and_how_sure():
    for what, before, after, machine, commit, sure in pages.rows("RECORDS.md"):
        assert re.search(r"\d", before), what
        assert re.search(r"\d", after), what
        assert machine, what
        assert re.fullmatch(r"[0-9a-f]{7,}\+?", commit), what
        assert re.match(r"0\.\d+|not computed", sure), what


def test_rows_of_results_are_those_of_the_records():
    """What a study costs, and what other rows once got wrong."""

    def record(name: str) -> dict:
        return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())

    rows = record("row_cost")
    found = [row for row in pages.rows("docs/scaling.md") if len(row) == 5 and row[1][-3:] == " ms"]
    assert len(found) == len(rows["rows"])
    for told, now, before in zip(found, rows["rows"], rows["before"]["rows"], strict=True):
        assert told == [
            str(now["ranks"]),
            f"{1e3 * statistics.median(now['seconds']):.0f} ms",
            str(now["files"]),
            f"{now['bytes'] / 1e6:.2f} MB",
            f"{1e3 * before['median_seconds']:.0f} ms, {before['files']} files, "
            f"{before['megabytes']} MB",
        ]
    text, cost = pages.text_of("docs/results.md"), record("harness_cost")
    assert f"at commit {rows['before']['commit']}" in text
    (own,) = (row for row in pages.rows("docs/results.md") if "what the study itself" in row[0])
    assert own[1] == f"{100 * cost['added_share']:.1f} % of a point"
    assert f"{cost['idle_seconds']:.2f} s a point" in own[0]
    assert f"{100 * cost['watching_core_share']:.1f} % of a core" in own[0]
    (whole,) = (row for row in pages.rows("docs/results.md") if "a point as a whole" in row[0])
    for cell, values in (whole[1], cost["studied_seconds"]), (whole[2], cost["direct_seconds"]):
        middle, low, high = statistics.median(values), min(values), max(values)
        assert cell.startswith(f"{middle:.1f} ({low:.1f} to {high:.1f}) s")
    assert f": {100 * cost['compared_share']:.1f} %;" in whole[2]
    repeats = {len(v) for v in record("peers_avx2")["patches_per_second"].values()}
    assert repeats == {2}
    peers = [row for row in pages.rows("docs/results.md") if "peers_avx2.json" in row[-1]]
    assert all("two repeats" in row[0] for row in peers)
    read = record("read_patches")["patches_per_second"]
    (row,) = (row for row in pages.rows("docs/results.md") if "read_patches.json" in row[-1])
    for name, cell in (("read", row[1]), ("read and decode", row[1]), ("copy memory", row[2])):
        middle, *ends = (f"{read[name][which]:,.0f}" for which in ("median", "least", "most"))
        assert f"{middle} ({' to '.join(ends)})" in cell


def test_the_results_of_readme_are_those_of_the_records():
    """Medians, worked out anew from what was recorded."""

    def record(name: str) -> dict:
        return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())

    def middle(values: list[float], digits: int) -> str:
        return f"{statistics.median(values):.{digits}f}"

    peers = record("peers_avx2")["patches_per_second"]
    scene = record("whole_scenes")["seconds_per_scene"]
    disk, ice = record("prepare")["disk"], record("label_seaice")
    rows = [row for row in pages.rows("README.md") if len(row) == 3]
    for what, values in {
        "in float32": (
            middle(peers["ours, one process of two threads"], 2),
            middle(peers["Keras fit, one process"], 2),
        ),
        "masks of a scene": (
            middle(scene["bfloat16, 2 ranks"], 2),
            middle(scene["published"], 1),
        ),
        "96 such": (middle(disk["two_ranks_seconds"], 1), middle(disk["one_rank_seconds"], 1)),
        "64 ice": (middle(ice["processes_2_seconds"], 1), middle(ice["serial_seconds"], 1)),
    }.items():
        (row,) = [row for row in rows if what in row[0]]
        assert [cell.split()[0] for cell in row[1:]] == list(values), row
    labels = record("better_masks")
    looks = labels["rows"]["A + looks: what its classes look like there"]
    day, night = (f"{100 * looks[part]['mean']['accuracy']:.1f}" for part in ("day", "night"))
    (row,) = [row for row in rows if "never saw the truth" in row[0]]
    assert row[1] == f"right in {day} % by day, {night} % by night"
    day, night = (f"{100 * labels['teacher'][part]['accuracy']:.1f}" for part in ("day", "night"))
    assert row[2].startswith(f"{day} and {night} % of the Bayesian mask")
