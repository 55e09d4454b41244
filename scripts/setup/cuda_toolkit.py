"""The CUDA toolkit that Horovod is compiled with: packages, or a folder that the user names."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from lockfile import locked_versions
from stages import Failure

# Names a toolkit that is used in place of the packages.
HOME_VARIABLE = "HOROVOD_CUDA_HOME"


def own(variables: Mapping[str, str]) -> Path | None:
    """The folder of the toolkit that the user wants used, if any."""
    named = variables.get(HOME_VARIABLE)
    return Path(named).expanduser().absolute() if named else None


def version(variables: Mapping[str, str], build_lock: str) -> str:
    """Of the compiler that will be used; Failure when the user's own is none."""
    home = own(variables)
    if home is None:
        return locked_versions(build_lock)["nvidia-cuda-nvcc"]
    nvcc = home / "bin" / "nvcc"
    try:
        text = subprocess.run([nvcc, "--version"], text=True, capture_output=True).stdout
    except OSError:
        text = ""
    found = re.search(r"release (\d+\.\d+)", text)
    if found is None:
        raise Failure(
            f"{HOME_VARIABLE}={home} holds no CUDA toolkit (bin/nvcc tells no release): "
            "correct it, or unset it to have the compiler installed"
        )
    return found[1]


def architectures(cuda: str) -> str:
    """Compute capabilities to build for, T4 to H100; later GPUs compile from the last of them.

    CUDA 13 has dropped the V100 (7.0).
    """
    return "75,80,90" if int(cuda.split(".")[0]) >= 13 else "70,75,80,90"


def packaged(site_packages: Path) -> Path:
    """Where CUDA's packages install a toolkit."""
    return site_packages / "nvidia" / "cu13"


def complete(home: Path) -> None:
    """Give a packaged toolkit, if there is one, the names that compilers look for.

    nvcc looks for its libraries in lib64, and CMake for a libcudart.so.
    """
    link_shared(home / "lib" / "libcudart.so")
    if home.is_dir() and not (home / "lib64").exists():
        (home / "lib64").symlink_to("lib")


def link_shared(link: Path) -> None:
    """Give the one libNAME.so.N of a folder the name libNAME.so, which a linker asks for."""
    if link.parent.is_dir() and not link.exists():
        link.symlink_to(next(link.parent.glob(f"{link.name}.*")).name)
