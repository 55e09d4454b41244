"""Build the Horovod wheel that fits the TensorFlow and the Open MPI of a virtual environment.

A build takes minutes, therefore the wheel is kept in a cache folder whose name carries every
version the wheel depends on.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cuda_toolkit
from horovod_edits import HOROVOD, SDIST_SHA256, Edit, edits_for
from horovod_target import Target
from stages import Command, Failure, extract, run, say


def build_environment(
    target: Target,
    *,
    environment_bin: Path,
    build_bin: Path,
    site_packages: Path,
    cuda_home: Path | None = None,
    jobs: int,
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """The variables of the build; the caller's settings of Horovod, MPI and make do not leak in.

    cuda_home: the CUDA toolkit of a target with NCCL.
    """
    foreign = ("HOROVOD_", "MPI_", "OMPI_", "CMAKE_", "MAKE", "MFLAGS", "CCL_ROOT", "CUDA", "NVCC")
    variables = {k: v for k, v in inherited.items() if not k.startswith(foreign)}
    variables |= {
        # CMake finds mpicxx here, and with it the MPI of this environment.
        "PATH": f"{build_bin}:{environment_bin}:{inherited.get('PATH', os.defpath)}",
        "MPI_HOME": str(environment_bin.parent),
        "HOROVOD_WITH_TENSORFLOW": "1",
        "HOROVOD_WITH_MPI": "1",
        "HOROVOD_WITH_GLOO": "1",
        "HOROVOD_WITHOUT_PYTORCH": "1",
        "HOROVOD_WITHOUT_MXNET": "1",
        "HOROVOD_WITHOUT_NVTX": "1",
        # Horovod's setup.py passes VERBOSE=1 to the build tool, which only make understands.
        "CMAKE_GENERATOR": "Unix Makefiles",
        # Without it Horovod asks for eight compilers at once; each can take 1.5 GB.
        "MAKEFLAGS": f"-j{jobs}",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    if cuda_home is not None:
        variables |= {
            # Horovod asks the first nvcc that it finds, CMake that of HOROVOD_CUDA_HOME.
            "PATH": f"{build_bin}:{cuda_home / 'bin'}:{variables['PATH'].partition(':')[2]}",
            "HOROVOD_CUDA_HOME": str(cuda_home),
            "CUDAToolkit_ROOT": str(cuda_home),
            "HOROVOD_GPU_OPERATIONS": "NCCL",
            "HOROVOD_NCCL_HOME": str(site_packages / "nvidia" / "nccl"),
            "HOROVOD_NCCL_LINK": "SHARED",
            "HOROVOD_BUILD_CUDA_CC_LIST": target.cuda_architectures,
            # TensorFlow must import on a login node that has no GPU.
            "CUDA_VISIBLE_DEVICES": "",
        }
    return variables


def check_sha256(path: Path, expected: str) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise Failure(f"{path.name} has sha256 {found} instead of {expected}: refused, not built")


def unpack(sdist: Path, folder: Path, edits: Sequence[Edit]) -> Path:
    """Unpack a verified sdist, apply the edits, return its root folder."""
    with tarfile.open(sdist) as archive:
        extract(archive, folder)
    root = folder / f"horovod-{HOROVOD}"
    for edit in edits:
        path = root / edit.path
        path.write_text(edit.applied(path.read_text()))
    return root


def compiled_so_far(log: str) -> str | None:
    """How far the compilation is, from the percentages that CMake's makefiles print."""
    percentages = re.findall(r"^\s*\[ *(\d+)%\] Building", log, flags=re.MULTILINE)
    return f"  compiled {percentages[-1]} %" if percentages else None


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Finds or builds the wheel of a target.

    python: of the environment that holds TensorFlow and Open MPI; its packages: site_packages.
    watch: asked while commands run; what it raises ends them.
    """

    target: Target
    python: Path
    site_packages: Path
    build_lock: Path
    cache: Path
    variables: Mapping[str, str]
    log: Path
    watch: Callable[[], None] = lambda: None

    @property
    def folder(self) -> Path:
        """Where the wheel is kept."""
        return self.cache / "wheels" / self.target.key()

    def wheel(self) -> Path:
        """The wheel from the cache, built first when it is not there."""
        folder = self.folder
        for wheel in folder.glob("horovod-*.whl"):
            if zipfile.is_zipfile(wheel):
                say(f"horovod: wheel from {folder}")
                return wheel
        folder.mkdir(parents=True, exist_ok=True)
        # Inside the cache, so that the finished wheel can be renamed into its place: of two setups
        # that build the same wheel, each finishes its own and the last one stays.
        with tempfile.TemporaryDirectory(prefix="build-", dir=self.cache) as scratch:
            built = self._build(Path(scratch))
            with built.open("rb") as written:
                os.fsync(written.fileno())
            wheel = folder / built.name
            os.replace(built, wheel)
        say(f"horovod: wheel kept in {folder}")
        return wheel

    def _run(
        self,
        command: Command,
        what: str,
        variables: Mapping[str, str],
        progress: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        run(
            command,
            what=what,
            log=self.log,
            environment=variables,
            progress=progress,
            watch=self.watch,
        )

    def _build(self, scratch: Path) -> Path:
        self.log.unlink(missing_ok=True)
        say(f"horovod: build tools (log: {self.log})")
        # The build tools have an environment of their own, because they must be older than what
        # TensorFlow installs. It sees the packages of the real one, behind its own.
        base = getattr(sys, "_base_executable", sys.executable)
        create: Command = [base, "-m", "venv", scratch / "tools"]
        self._run(create, "creating the build environment", self.variables)
        build_bin = scratch / "tools" / "bin"
        own_packages = next((scratch / "tools" / "lib").glob("python3*")) / "site-packages"
        cuda_home = None
        if self.target.device == "gpu":
            cuda_home = cuda_toolkit.own(self.variables) or cuda_toolkit.packaged(own_packages)
        variables = build_environment(
            self.target,
            environment_bin=self.python.parent,
            build_bin=build_bin,
            site_packages=self.site_packages,
            cuda_home=cuda_home,
            jobs=len(os.sched_getaffinity(0)),
            inherited=self.variables,
        )
        pip: list[str | Path] = [
            build_bin / "python",
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--no-input",
        ]
        install = [*pip, "install", "--no-deps", "--require-hashes", "--only-binary=:all:"]
        self._run([*install, "-r", self.build_lock], "installing the build tools", variables)
        cuda_toolkit.complete(cuda_toolkit.packaged(own_packages))
        (own_packages / "environment.pth").write_text(f"{self.site_packages}\n")

        say(f"horovod: download and check the {HOROVOD} sdist")
        requirement = scratch / "sdist.txt"
        requirement.write_text(f"horovod=={HOROVOD} --hash=sha256:{SDIST_SHA256}\n")
        download = [*pip, "download", "--no-deps", "--no-build-isolation", "--no-binary=:all:"]
        download += ["--require-hashes", "--dest", scratch, "-r", requirement]
        self._run(download, "downloading Horovod", variables)
        sdist = scratch / f"horovod-{HOROVOD}.tar.gz"
        check_sha256(sdist, SDIST_SHA256)
        source = unpack(sdist, scratch, edits_for(self.target.device))

        say(f"horovod: compile for {self.target.device}, 1 to 3 minutes on two cores")
        # --no-cache-dir: pip would hand out a wheel that it once built for another TensorFlow.
        build = [*pip, "wheel", "--verbose", "--no-cache-dir", "--no-build-isolation", "--no-deps"]
        build += ["--wheel-dir", scratch / "wheel", source]
        self._run(build, "building Horovod", variables, progress=compiled_so_far)
        return next((scratch / "wheel").glob("horovod-*.whl"))
