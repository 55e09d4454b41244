"""What a training step takes of a device's memory beside its patches: an estimate, rather high."""

from __future__ import annotations

from cloudmask.train.plan import Plan

RUNTIME_BYTES = 2**30
"""of a GPU: the driver's context, libraries, and what convolutions lay out anew to be fast"""
TIMES = 2
"""every value that is kept for the backward pass, and its gradient or what that is made of"""


def step_bytes(plan: Plan) -> int:
    """Bytes of activations and their gradients at a rank's batch.

    The output of each convolution is kept: two a level on the way down, two on the way up (three
    with transposed convolutions), and the smaller one of pooling; each level has a quarter of the
    pixels of the one above. Inputs are float32, as read and normalised, whatever the precision; and
    so are the logits and the loss.
    """
    if plan.config.emulate is not None:
        return 0
    widths = plan.info.widths
    per_pixel = 0.0
    for level, width in enumerate(widths):
        last = level == len(widths) - 1
        outputs = 2 * width if last else 4 * width + width / 4
        if not last and plan.info.upsampling == "transposed":
            outputs += width
        per_pixel += outputs / 4**level
    bytes_each = 2 if plan.precision in ("bfloat16", "float16") else 4
    inputs = 4 * (2 * len(plan.info.channels) + 3 * len(plan.info.classes))
    pixels = plan.batch_per_rank * plan.patchset.patch_size**2
    return int(TIMES * pixels * (per_pixel * bytes_each + inputs))
