"""Statistical efficiency from the gradient noise scale: what a larger batch is worth in epochs.

This is a model, not a measurement of epochs. McCandlish et al. (arXiv 1812.06162, section 2) take
one noise scale B_noise for the whole training, and the best learning rate at every batch B. Then
the steps to a quality go as 1 + B_noise / B, and the patches to it as B + B_noise. Hence

    E_stat(B) = (B0 + B_noise) / (B + B_noise),    goodput = patches/s x E_stat(B)

where goodput, of Pollux (Qiao et al., OSDI 2021), is a rate in patches of batch B0. At B = B_noise,
the critical batch, a training takes twice the steps of an endless batch and twice the patches of a
tiny one.
"""

from __future__ import annotations

MODEL = (
    "A model, not a measurement: McCandlish's of large batches, with one noise scale for the whole "
    "training and the best learning rate at every batch."
)
NOT_MEASURED = "not measured: train with --noise-scale, on two ranks or more"


def efficiency(b_noise: float, batch: float, base: float) -> float:
    """E_stat: patches to the target at the batch `base` over those at `batch`."""
    return (base + b_noise) / (batch + b_noise)


def steps_ratio(b_noise: float, batch: float, base: float) -> float:
    """Steps to the target at `batch` over those at the batch `base`."""
    return base / batch / efficiency(b_noise, batch, base)
