"""Which GPU a rank computes on, and what is free on it; nothing here has seen a GPU yet."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import tensorflow as tf

from cloudmask.cli.errors import AgreedError
from cloudmask.record import nvidia_smi


def of_rank(local_rank: int, local_size: int, *, found: int, visible: str | None) -> int:
    """The number, among the `found` visible GPUs of a host, of a rank's own GPU.

    A launcher may show each rank its own GPU alone (CUDA_VISIBLE_DEVICES with one entry).
    ValueError where ranks would have to share.
    """
    if found >= local_size:
        return local_rank
    if found == 1 and visible is not None and len(visible.split(",")) == 1:
        return 0
    raise ValueError(
        f"{local_size} ranks on this host would share {found} GPU{'s' if found > 1 else ''}; start "
        f"{found} per host, or let the launcher show each rank one GPU of its own "
        "(CUDA_VISIBLE_DEVICES)"
    )


def take(found: Sequence[tf.config.PhysicalDevice], local_rank: int, local_size: int) -> str:
    """Use the rank's own GPU. Of a host that has too few, only the first rank says so."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        number = of_rank(local_rank, local_size, found=len(found), visible=visible)
    except ValueError as error:
        raise (AgreedError if local_rank else ValueError)(str(error)) from None
    return use(found[number])


def use(gpu: tf.config.PhysicalDevice) -> str:
    """Make it the only GPU of this process, which takes memory as needed; returns its name."""
    tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.set_visible_devices(gpu, "GPU")
    return str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))


def visible() -> list[tf.config.PhysicalDevice]:
    """The GPUs that this process may use: its own one, once it has taken that; none on a CPU."""
    return tf.config.get_visible_devices("GPU")


def free_bytes() -> int | None:
    """Memory that is free on this rank's GPU; None where nvidia-smi cannot say."""
    (gpu,) = visible()
    number = int(gpu.name.rpartition(":")[2])
    return free_on(name_for_smi(number, os.environ.get("CUDA_VISIBLE_DEVICES")))


def name_for_smi(number: int, visible: str | None) -> str:
    """How nvidia-smi calls the visible GPU of that number: it knows of no CUDA_VISIBLE_DEVICES."""
    return visible.split(",")[number].strip() if visible else str(number)


def free_on(name: str) -> int | None:
    """Free memory in bytes of one GPU by its index or UUID."""
    rows = nvidia_smi("memory.free", "-i", name)
    found = re.fullmatch(r"(\d+) MiB", rows[0][0]) if rows else None
    return int(found[1]) * 2**20 if found else None


def built_with() -> dict[str, str]:
    """Versions of CUDA and cuDNN that this TensorFlow was built with; empty if without them."""
    built = tf.sysconfig.get_build_info()
    names = ("cuda_version", "cudnn_version")
    return {name: str(built[name]) for name in names if name in built}
