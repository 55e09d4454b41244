"""What a Horovod wheel depends on, and what is changed in Horovod's sources to build it.

Horovod's last release predates TensorFlow 2.21, so no ready-made wheel fits and its sdist needs a
few lines changed. The changes are explicit edits of known text: should the text differ, the build
stops rather than guesses.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from stages import Failure

HOROVOD = "0.28.1"
SDIST_SHA256 = "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"
# Part of the cache key: raise it whenever EDITS or the build environment change.
PATCH_REVISION = 2

DEVICES = ("cpu", "gpu")
COMPILER_MISSING = "no C++17 compiler found: install g++ 9 or newer (Debian: apt install g++)"
MAKE_MISSING = "no make found: install GNU make (Debian: apt install make)"
SSH_MISSING = (
    "no ssh found: Open MPI starts no rank without one, on a single host either: install an ssh "
    "client (Debian: apt install openssh-client)"
)
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
                f"of once: scripts/setup/horovod_target.py does not fit this sdist ({self.old!r})"
            )
        return text.replace(self.old, self.new)


TENSORFLOW_CMAKE = "horovod/tensorflow/CMakeLists.txt"
TF_LIBRARY_LINE = "add_library(${TF_TARGET_LIB} SHARED ${SOURCES} ${TF_SOURCES})\n"
GLOO_CMAKE = "third_party/gloo/gloo/CMakeLists.txt"
GLOO_LAST_LINE = "target_link_libraries(gloo PRIVATE ${gloo_DEPENDENCY_LIBS})\n"
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
    # Horovod compiles Gloo twice, as C++11 and as the C++17 that TensorFlow needs, and links one.
    Edit(
        "CMakeLists.txt",
        "add_subdirectory(third_party/gloo)\n",
        "add_subdirectory(third_party/gloo EXCLUDE_FROM_ALL)\n",
    ),
    # Debugging information is a third of the compilers' work and nine tenths of the library.
    Edit(
        "CMakeLists.txt",
        'string(REPLACE "-O2" "-O3" CMAKE_CXX_FLAGS_RELWITHDEBINFO',
        'string(REPLACE "-O2 -g" "-O3" CMAKE_CXX_FLAGS_RELWITHDEBINFO',
    ),
    # Most of the rest is the same headers in every source, hence few large sources. The file that
    # stays alone means another ReductionFunction than the others.
    Edit(
        GLOO_CMAKE,
        GLOO_LAST_LINE,
        GLOO_LAST_LINE
        + "set_target_properties(gloo PROPERTIES UNITY_BUILD TRUE UNITY_BUILD_BATCH_SIZE 19)\n"
        'set_source_files_properties("${CMAKE_CURRENT_SOURCE_DIR}/allreduce_local.cc" '
        "PROPERTIES SKIP_UNITY_BUILD_INCLUSION TRUE)\n",
    ),
)
CPU_EDITS = (
    # The same for Horovod; not tried with the sources for GPUs. The two that take longest stay
    # alone, so that two compilers end at about the same time.
    Edit(
        TENSORFLOW_CMAKE,
        TF_LIBRARY_LINE,
        TF_LIBRARY_LINE + "set_target_properties(${TF_TARGET_LIB} PROPERTIES "
        "UNITY_BUILD TRUE UNITY_BUILD_BATCH_SIZE 10)\n"
        "set_source_files_properties(${TF_SOURCES} "
        '"${PROJECT_SOURCE_DIR}/horovod/common/optim/gaussian_process.cc" '
        "PROPERTIES SKIP_UNITY_BUILD_INCLUSION TRUE)\n",
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
        return EDITS + (GPU_EDITS if self.device == "gpu" else CPU_EDITS)


def locked_versions(lock: str) -> dict[str, str]:
    """Package -> version, of the text of a lock file."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", lock, flags=re.MULTILINE))


def detect_target(device: str, lock: str) -> Target:
    """The target of this machine and the locked versions; Failure when a build tool is missing."""
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
    if shutil.which("make") is None:
        raise Failure(MAKE_MISSING)
    agents = ("ssh", "rsh")
    if "OMPI_MCA_plm_rsh_agent" not in os.environ and not any(map(shutil.which, agents)):
        raise Failure(SSH_MISSING)
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
