"""What is changed in Horovod's sources to build them.

Horovod's last release predates TensorFlow 2.21, so no ready-made wheel fits and its sdist needs a
few lines changed. The changes are explicit edits of known text: should the text differ, the build
stops rather than guesses.
"""

from __future__ import annotations

from dataclasses import dataclass

from stages import Failure

HOROVOD = "0.28.1"
SDIST_SHA256 = "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"
# Part of the wheel's name in the cache: raise it whenever EDITS or the build environment change.
PATCH_REVISION = 2


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
                f"of once: scripts/setup/horovod_edits.py does not fit this sdist ({self.old!r})"
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


def edits_for(device: str) -> tuple[Edit, ...]:
    return EDITS + (GPU_EDITS if device == "gpu" else CPU_EDITS)
