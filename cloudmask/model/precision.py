"""The arithmetic of a network: float32, or 16 bits where the device is made for them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def use(precision: str) -> None:
    """Build the networks that follow in this precision; their variables stay float32."""
    keras.mixed_precision.set_dtype_policy(POLICIES[precision])


@contextlib.contextmanager
def used(precision: str) -> Iterator[None]:
    """`use` for one block alone: Keras may be somebody else's too."""
    policy = keras.config.dtype_policy()
    use(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def best(device: str) -> str:
    """bfloat16 where the device computes in it, else float32."""
    if device == "CPU":
        try:
            flags = Path("/proc/cpuinfo").read_text()
        except OSError:
            return "float32"
        return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
    (gpu,) = tf.config.get_visible_devices("GPU")
    details = tf.config.experimental.get_device_details(gpu)
    return "bfloat16" if details.get("compute_capability", (0, 0))[0] >= 8 else "float32"
