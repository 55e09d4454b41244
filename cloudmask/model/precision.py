"""The arithmetic of a network: float32, TF32, or 16 bits where the device is made for them.

TensorFlow computes float32 in TF32 (10 bits of mantissa) on GPUs from compute capability 8.0 on,
unless it is told not to. Here it is told: float32 is float32, and TF32 has a name of its own. The
switch is read whenever an operation runs, compiled or not, and belongs to the whole process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf

POLICIES = {
    "float32": "float32",
    "tf32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
AMPERE = (8, 0)
"""compute capability of the first GPUs with TF32 and bfloat16"""


def use(precision: str) -> None:
    """Build and run the networks that follow in this precision; their variables stay float32.

    A user's keras.json may say otherwise for other programs, and also where channels stand.
    """
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    keras.mixed_precision.set_dtype_policy(POLICIES[precision])
    tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")


@contextlib.contextmanager
def used(precision: str) -> Iterator[None]:
    """`use` for one block alone: Keras and TensorFlow may be somebody else's too."""
    policy = keras.config.dtype_policy()
    floatx, image = keras.config.floatx(), keras.config.image_data_format()
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    use(precision)
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_image_data_format(image)
        keras.config.set_dtype_policy(policy)
        tf.config.experimental.enable_tensor_float_32_execution(tf32)


def resolve(precision: str) -> str:
    """What `auto` is on the device of this process: bfloat16 where it computes in it, else float32.

    Raises ValueError for TF32 on a device that has none.
    """
    if precision == "auto":
        return "bfloat16" if _has_bfloat16() else "float32"
    if precision == "tf32" and (capability := _gpu_capability()) < AMPERE:
        there = (
            f"this one has {'.'.join(map(str, capability))}" if any(capability) else "here is none"
        )
        raise ValueError(
            f"--precision tf32 needs a GPU of compute capability 8.0 or more, and {there}; "
            "use --precision float32"
        )
    return precision


def _has_bfloat16() -> bool:
    if tf.config.get_visible_devices("GPU"):
        return _gpu_capability() >= AMPERE
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _gpu_capability() -> tuple[int, int]:
    """Compute capability of the first GPU that this process sees; (0, 0) without one."""
    for gpu in tf.config.get_visible_devices("GPU"):
        return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
    return (0, 0)
