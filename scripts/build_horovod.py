"""Build the Horovod wheel that fits the TensorFlow and the Open MPI of a virtual environment.

Horovod's last release predates TensorFlow 2.21, so no ready-made wheel fits and its sdist needs a
few lines changed. The changes are explicit edits of known text: should the text differ, the build
stops rather than guesses. A build takes minutes, therefore the wheel is kept in a cache folder
whose name carries every version the wheel depends on.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stages import Command, Failure, run, say

HOROVOD = "0.28.1"
SDIST_SHA256 = "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"
# Part of the cache key: raise it whenever EDITS or the build environment change.
PATCH_REVISION = 1

DEVICES = ("cpu", "gpu")
COMPILER_MISSING = "no C++17 compiler found: install g++ 9 or newer (Debian: apt install g++)"
NVCC_MISSING = "no nvcc found: DEVICE=gpu needs a CUDA 12 or 13 toolkit with bin/nvcc on the PATH"


@dataclass(frozen=True)
class Edit:
    """One change of one file of the sdist: `old` is there exactly once and becomes `new`."""

    path: str
    old: str
    new: str

    def applied(self, text: str) -> str:
        count = text.count(self.old)
        if count != 1:
            raise Failure(
                f"{self.path} of Horovod {HOROVOD} holds the text to change {count} times instead "
                f"of once: scripts/build_horovod.py does not fit this sdist ({self.old!r})"
            )
        return text.replace(self.old, self.new)


TENSORFLOW_CMAKE = "horovod/tensorflow/CMakeLists.txt"
MPI_OPS = "horovod/tensorflow/mpi_ops.cc"
CMAKE_LAST_LINE = 'set_target_properties(${TF_TARGET_LIB} PROPERTIES OUTPUT_NAME "mpi_lib")\n'

EDITS = (
    # This file does not compile against the headers of TensorFlow 2.21. Without it the build loses
    # HOROVOD_ENABLE_XLA_OPS, which is off by default.
    Edit(
        TENSORFLOW_CMAKE,
        'list(APPEND TF_SOURCES "${PROJECT_SOURCE_DIR}/horovod/tensorflow/xla_mpi_ops.cc")\n',
        "",
    ),
    # CMake would record the absolute folders of the environment the wheel is built in; libmpi must
    # come from the environment it is installed in: site-packages/horovod/tensorflow -> lib.
    Edit(
        TENSORFLOW_CMAKE,
        CMAKE_LAST_LINE,
        CMAKE_LAST_LINE
        + "set_target_properties(${TF_TARGET_LIB} PROPERTIES BUILD_WITH_INSTALL_RPATH TRUE "
        'INSTALL_RPATH "$ORIGIN/../../../..;$ORIGIN/../../tensorflow;'
        '$ORIGIN/../../nvidia/nccl/lib")\n',
    ),
)
GPU_EDITS = (
    # The GPU wheel of TensorFlow 2.21 no longer exports this function: the library would build and
    # then not load. The handle it returned is still there, under another name.
    Edit(
        MPI_OPS,
        "GpuStreamHandle AsGpuStreamValue(Stream* stream);\n",
        "template <typename AnyStream>\n"
        "GpuStreamHandle AsGpuStreamValue(AnyStream* stream) {\n"
        "  return static_cast<GpuStreamHandle>(stream->platform_specific_handle().stream);\n"
        "}\n",
    ),
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

    def edits(self) -> tuple[Edit, ...]:
        return EDITS + GPU_EDITS if self.device == "gpu" else EDITS


def locked_versions(lock: str) -> dict[str, str]:
    """Package -> version, of the text of a lock file."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", lock, flags=re.MULTILINE))


def detect_target(device: str, lock: str) -> Target:
    """The target of this machine and the locked versions; Failure when a compiler is missing."""
    versions = locked_versions(lock)
    cuda = cuda_version() if device == "gpu" else None
    target = Target(
        device=device,
        tensorflow=versions["tensorflow-cpu" if cuda is None else "tensorflow"],
        openmpi=versions["openmpi"],
        compiler=compiler_version(),
        python_tag=f"cp{sys.version_info.major}{sys.version_info.minor}",
        machine=f"{platform.system().lower()}-{platform.machine()}",
    )
    if cuda is None:
        return target
    chosen = os.environ.get("HOROVOD_BUILD_CUDA_CC_LIST") or cuda_architectures(cuda)
    nccl = versions["nvidia-nccl-cu12"]
    return replace(target, cuda=cuda, nccl=nccl, cuda_architectures=chosen)


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


def cuda_version() -> str:
    """major.minor of the CUDA toolkit whose nvcc is on the PATH."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise Failure(NVCC_MISSING)
    text = subprocess.run([nvcc, "--version"], text=True, capture_output=True).stdout
    release = re.search(r"release (\d+\.\d+)", text)
    if release is None:
        raise Failure(f"{nvcc} --version names no release: is it a CUDA toolkit's nvcc?")
    return release[1]


def cuda_architectures(cuda: str) -> str:
    """Compute capabilities to build for: V100, A100 and H100; CUDA 13 has dropped the V100."""
    return "80,90" if int(cuda.split(".")[0]) >= 13 else "70,80,90"


def build_environment(
    target: Target,
    *,
    environment_bin: Path,
    build_bin: Path,
    site_packages: Path,
    jobs: int,
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """The variables of the build; the caller's settings of Horovod, MPI and make do not leak in."""
    foreign = ("HOROVOD_", "MPI_", "OMPI_", "CMAKE_", "MAKE", "MFLAGS", "CCL_ROOT")
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
    if target.device == "gpu":
        variables |= {
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
        # The filter refuses members that would land outside the folder. Python before 3.11.4, such
        # as Debian 12's, has none and relies on the checked sum alone.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        archive.extractall(folder)
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
    """

    target: Target
    python: Path
    site_packages: Path
    build_lock: Path
    cache: Path
    variables: Mapping[str, str]
    log: Path

    def wheel(self) -> Path:
        """The wheel from the cache, built first when it is not there."""
        folder = self.cache / "wheels" / self.target.key()
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
        run(command, what=what, log=self.log, environment=variables, progress=progress)

    def _build(self, scratch: Path) -> Path:
        say(f"horovod: build tools (log: {self.log})")
        # The build tools have an environment of their own, because they must be older than what
        # TensorFlow installs. It sees the packages of the real one, behind its own.
        base = getattr(sys, "_base_executable", sys.executable)
        create: Command = [base, "-m", "venv", scratch / "tools"]
        self._run(create, "creating the build environment", self.variables)
        build_bin = scratch / "tools" / "bin"
        variables = build_environment(
            self.target,
            environment_bin=self.python.parent,
            build_bin=build_bin,
            site_packages=self.site_packages,
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
        own_packages = next((scratch / "tools" / "lib").glob("python3*")) / "site-packages"
        (own_packages / "environment.pth").write_text(f"{self.site_packages}\n")

        say(f"horovod: download and check the {HOROVOD} sdist")
        requirement = scratch / "sdist.txt"
        requirement.write_text(f"horovod=={HOROVOD} --hash=sha256:{SDIST_SHA256}\n")
        download = [*pip, "download", "--no-deps", "--no-build-isolation", "--no-binary=:all:"]
        download += ["--require-hashes", "--dest", scratch, "-r", requirement]
        self._run(download, "downloading Horovod", variables)
        sdist = scratch / f"horovod-{HOROVOD}.tar.gz"
        check_sha256(sdist, SDIST_SHA256)
        source = unpack(sdist, scratch, self.target.edits())

        say(f"horovod: compile for {self.target.device}, 2 to 5 minutes on two cores")
        # --no-cache-dir: pip would hand out a wheel that it once built for another TensorFlow.
        build = [*pip, "wheel", "--verbose", "--no-cache-dir", "--no-build-isolation", "--no-deps"]
        build += ["--wheel-dir", scratch / "wheel", source]
        self._run(build, "building Horovod", variables, progress=compiled_so_far)
        return next((scratch / "wheel").glob("horovod-*.whl"))
