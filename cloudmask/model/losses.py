"""Losses as sums over labelled pixels, to be added over ranks and divided once.

All are computed from logits. Sources: tf.nn.weighted_cross_entropy_with_logits (two classes),
softmax cross-entropy with one weight per class (more), and those that ROBUST names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from cloudmask.metrics import SOFT_STEPS, UNKNOWN


def cross_entropy(
    logits: tf.Tensor,
    label: tf.Tensor,
    *,
    weights: Sequence[float] = (),
    clip_offset: int = 0,
    soft: bool = False,
    loss: str = "bce",
) -> tuple[tf.Tensor, tf.Tensor]:
    """(B, H, W, L) float32 logits, (B, H, W) uint8 -> sum over labelled pixels, their number.

    L = 1: a sigmoid for two classes. `weights`: one per class (default: all one); for two classes
    (1, pos_weight). `soft` and `loss`: see pixel_losses. Pixels labelled 255 and a frame of
    `clip_offset` pixels do not count.
    """
    if clip_offset:
        inside = slice(clip_offset, -clip_offset)
        logits, label = logits[:, inside, inside], label[:, inside, inside]
    known = tf.not_equal(label, UNKNOWN)
    losses = pixel_losses(logits, label, weights=weights, soft=soft, loss=loss)
    return tf.reduce_sum(losses), tf.reduce_sum(tf.cast(known, tf.float32))


def pixel_losses(
    logits: tf.Tensor,
    label: tf.Tensor,
    *,
    weights: Sequence[float] = (),
    soft: bool = False,
    loss: str = "bce",
) -> tf.Tensor:
    """(B, H, W, L) logits, (B, H, W) uint8 -> (B, H, W) losses, zero where the label is 255.

    With `soft` (L = 1) a label v is the probability t = v / 254 of the second class, and the loss
    is what is to be expected of it: -t w log p - (1 - t) log(1 - p), of weights (1, w). `loss` may
    name one of ROBUST (L = 1) instead of cross-entropy; they know neither weights nor soft targets.
    """
    known = tf.not_equal(label, UNKNOWN)
    target = tf.where(known, label, tf.zeros_like(label))
    num_logits = logits.shape[-1]
    if soft:
        assert num_logits == 1, "soft targets are of two classes"
        assert not weights or weights[0] == 1, "of two classes the second one has a weight"
        truth, logit = tf.cast(target, tf.float32) / SOFT_STEPS, logits[..., 0]
        if weights:
            losses = tf.nn.weighted_cross_entropy_with_logits(truth, logit, weights[1])
        else:
            losses = tf.nn.sigmoid_cross_entropy_with_logits(truth, logit)
        return tf.where(known, losses, tf.zeros_like(losses))
    if num_logits == 1:
        function = ROBUST.get(loss, tf.nn.sigmoid_cross_entropy_with_logits)
        losses = function(tf.cast(target, tf.float32), logits[..., 0])
    else:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(target, tf.int32), logits)
    if weights:
        losses *= tf.gather(tf.constant(weights, tf.float32), tf.cast(target, tf.int32))
    return tf.where(known, losses, tf.zeros_like(losses))


def generalised_cross_entropy(truth: tf.Tensor, logit: tf.Tensor, *, q: float = 0.7) -> tf.Tensor:
    """(...) 0 or 1, and logits -> (1 - p**q) / q, p the probability of the true class.

    From cross-entropy (q = 0) to absolute error (q = 1). Zhang and Sabuncu, "Generalized Cross
    Entropy Loss for Training Deep Neural Networks with Noisy Labels", NeurIPS 2018, equation 6.
    """
    return -tf.math.expm1(q * tf.math.log_sigmoid(_margin(truth, logit))) / q


def symmetric_cross_entropy(
    truth: tf.Tensor,
    logit: tf.Tensor,
    *,
    alpha: float = 0.1,
    beta: float = 1.0,
    log_zero: float = -4.0,
) -> tf.Tensor:
    """(...) 0 or 1, and logits -> alpha * cross-entropy + beta * cross-entropy of truth under p.

    The second is -sum p_k log truth_k = -log_zero * (1 - p). Wang et al., "Symmetric Cross Entropy
    for Robust Learning with Noisy Labels", ICCV 2019, equations 5 to 7.
    """
    margin = _margin(truth, logit)
    return alpha * tf.math.softplus(-margin) - beta * log_zero * tf.sigmoid(-margin)


def bootstrapped_cross_entropy(
    truth: tf.Tensor, logit: tf.Tensor, *, beta: float = 0.95
) -> tf.Tensor:
    """(...) 0 or 1, and logits -> cross-entropy with beta * truth + (1 - beta) * p as the target.

    p is the network's own, taken as a number: no gradient flows through it. Reed et al., "Training
    Deep Neural Networks on Noisy Labels with Bootstrapping", ICLR 2015 workshop, equation 6 (soft).
    """
    target = beta * truth + (1 - beta) * tf.stop_gradient(tf.sigmoid(logit))
    return tf.nn.sigmoid_cross_entropy_with_logits(target, logit)


def _margin(truth: tf.Tensor, logit: tf.Tensor) -> tf.Tensor:
    """The logit of the true class."""
    return (2 * truth - 1) * logit


ROBUST: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "gce": generalised_cross_entropy,
    "sce": symmetric_cross_entropy,
    "bootstrap": bootstrapped_cross_entropy,
}
"""losses against labels that err at random; against errors that follow from the image, as those of
another algorithm's mask, they are not known to help"""


def hard_label(soft: tf.Tensor) -> tf.Tensor:
    """(...) uint8 soft targets -> labels: the second class from one half on, 255 stays unknown."""
    second = tf.cast(soft >= SOFT_STEPS // 2, tf.uint8)
    return tf.where(tf.equal(soft, UNKNOWN), soft, second)


def predicted_class(logits: tf.Tensor, *, threshold: float = 0.5) -> tf.Tensor:
    """(B, H, W, L) logits -> (B, H, W) int32 classes; `threshold` on the sigmoid when L = 1."""
    if logits.shape[-1] == 1:
        probability = tf.sigmoid(logits[..., 0])
        return tf.cast(probability >= threshold, tf.int32)
    return tf.argmax(logits, axis=-1, output_type=tf.int32)


def confusion_counts(label: tf.Tensor, predicted: tf.Tensor, num_classes: int) -> tf.Tensor:
    """(B, H, W) uint8 labels and int32 classes -> (K, K) int64 counts [label, predicted]."""
    known = tf.not_equal(label, UNKNOWN)
    pairs = tf.cast(label, tf.int32) * num_classes + predicted
    # Pixels without a label are counted apart: to leave them out first, a device would have to
    # tell the host how many are left, and the host would wait for it.
    number = num_classes**2
    pairs = tf.where(known, pairs, number)
    counts = tf.math.bincount(pairs, minlength=number + 1, maxlength=number + 1)[:number]
    return tf.cast(tf.reshape(counts, (num_classes, num_classes)), tf.int64)
