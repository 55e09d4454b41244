"""What a Horovod wheel depends on: detected on this machine, and read from the locks."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import cuda_toolkit
from horovod_edits import HOROVOD, PATCH_REVISION, SDIST_SHA256
from lockfile import locked_versions, tensorflow_package
from stages import Failure

DEVICES = ("cpu", "gpu")
COMPILER_MISSING = "no C++17 compiler found: install g++ 9 or newer (Debian: apt install g++)"
MAKE_MISSING = "no make found: install GNU make (Debian: apt install make)"
SSH_MISSING = (
    "no ssh found: Open MPI starts no rank without one, on a single host either: install an ssh "
    "client (Debian: apt install openssh-client)"
)


@dataclass(frozen=True)
class Target:
    """Everything a Horovod wheel depends on."""

    device: str
    tensorflow: str
    openmpi: str
    compiler: str
    python_tag: str
    machine: str
    cuda: str = "none"
    nccl: str = "none"
    cuda_architectures: str = "none"
    horovod: str = HOROVOD
    sdist_sha256: str = SDIST_SHA256
    patch_revision: int = PATCH_REVISION

    def key(self) -> str:
        """The name of the wheel's folder in the cache."""
        parts = [
            f"horovod-{self.horovod}",
            f"sdist-{self.sdist_sha256[:12]}",
            f"patch-{self.patch_revision}",
            f"tensorflow-{self.tensorflow}",
            f"openmpi-{self.openmpi}",
            f"{self.python_tag}-{self.machine}",
            self.compiler,
            self.device,
        ]
        if self.device == "gpu":
            architectures = self.cuda_architectures.replace(",", "+")
            parts.append(f"cuda-{self.cuda}-sm-{architectures}-nccl-{self.nccl}")
        return "_".join(parts)


def detect_target(device: str, lock: str, build_lock: str) -> Target:
    """The target of this machine and the locked versions; Failure when a build tool is missing."""
    versions = locked_versions(lock)
    target = Target(
        device=device,
        tensorflow=versions[tensorflow_package(versions)],
        openmpi=versions["openmpi"],
        compiler=compiler_version(),
        python_tag=python_tag(),
        machine=machine(),
    )
    if shutil.which("make") is None:
        raise Failure(MAKE_MISSING)
    if device != "gpu":
        return target
    version = cuda_toolkit.version(os.environ, build_lock)
    chosen = os.environ.get("HOROVOD_BUILD_CUDA_CC_LIST") or cuda_toolkit.architectures(version)
    nccl = versions["nvidia-nccl-cu12"]
    return replace(target, cuda=version, nccl=nccl, cuda_architectures=chosen)


def python_tag() -> str:
    return f"cp{sys.version_info.major}{sys.version_info.minor}"


def machine() -> str:
    return f"{platform.system().lower()}-{platform.machine()}"


def check_ssh() -> None:
    agents = ("ssh", "rsh")
    if "OMPI_MCA_plm_rsh_agent" not in os.environ and not any(map(shutil.which, agents)):
        raise Failure(SSH_MISSING)


def compiler_version() -> str:
    """Name and version of the C++ compiler, once it has shown that it knows C++17."""
    compiler = find_compiler()
    program = "#include <optional>\nint main() { return std::optional<int>{}.value_or(0); }\n"
    test = [*compiler, "-std=c++17", "-fsyntax-only", "-x", "c++", "-"]
    if subprocess.run(test, input=program, text=True, capture_output=True).returncode != 0:
        raise Failure(COMPILER_MISSING)
    flags = ["-dumpfullversion", "-dumpversion"]
    version = subprocess.run([*compiler, *flags], text=True, capture_output=True).stdout.strip()
    return f"{Path(compiler[0]).name}-{version}"


def find_compiler() -> list[str]:
    """The C++ compiler as CMake would choose it: $CXX, else the usual names on the PATH."""
    candidates = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    for candidate in candidates:
        words = candidate.split()
        if shutil.which(words[0]):
            return words
    raise Failure(COMPILER_MISSING)
