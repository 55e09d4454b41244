"""Options that cannot be, and options that would do nothing: refused before anything is begun.

An option counts as given when its value is not the default, wherever it comes from: typed, in a
file, or in a preset. For the `config.yaml` of a run, which has every option, says no more.

What depends on the launch alone is never refused: a study runs the same words at every number of
ranks, so --lr-scaling is there at one rank too, and --global-batch replaces the --batch-size that
a preset has. Nor does --emulate refuse what describes the training that it stands for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from cloudmask.cli.options import TrainConfig


@dataclasses.dataclass(frozen=True)
class Data:
    """What of the patch set decides whether an option has an effect."""

    classes: int
    valid_patches: int
    soft: bool = False
    """whether a network learns from probabilities beside the labels"""


@dataclasses.dataclass(frozen=True)
class Effect:
    """When some options have one."""

    options: tuple[str, ...]
    holds: Callable[[TrainConfig, Data], object]
    otherwise: str
    """the end of a sentence: the option has no effect ..."""


EFFECTS = (
    Effect(("pos_weight", "class_weights"), lambda c, _: c.loss == "wbce", "without --loss wbce"),
    Effect(("pos_weight",), lambda _, d: d.classes == 2, "with more than two classes"),
    Effect(("class_weights",), lambda _, d: d.classes > 2, "with two classes (see --pos-weight)"),
    Effect(
        ("patience", "target_accuracy", "stop_at_target"),
        lambda c, _: c.emulate is None,
        "with --emulate, which computes no loss and no accuracy",
    ),
    Effect(
        ("init", "xla", "narrow_gradients", "noise_scale"),
        lambda c, _: c.emulate is None,
        "with --emulate",
    ),
    Effect(
        ("narrow_gradients",), lambda c, _: c.precision in ("auto", "float32"), "but in float32"
    ),
    Effect(("emulate_spread",), lambda c, _: c.emulate is not None, "without --emulate"),
    Effect(
        ("patience", "target_accuracy", "validate_every"),
        lambda _, d: d.valid_patches,
        "without validation patches; prepare some with --split valid=...",
    ),
    Effect(
        ("stop_at_target",),
        lambda c, _: c.target_accuracy is not None,
        "without --target-accuracy",
    ),
    Effect(("augment_gain", "augment_shared"), lambda c, _: c.augment, "with --no-augment"),
    Effect(
        ("augment_missing_channels",), lambda c, _: c.augment_missing, "without --augment-missing"
    ),
    Effect(("commit_steps",), lambda c, _: c.elastic, "without --elastic"),
    Effect(("verify",), lambda c, _: c.stage is None, "with --stage, which checks what it copies"),
)

LEAST = {
    **dict.fromkeys(("epochs", "batch_size", "global_batch", "max_steps", "validate_every"), 1),
    **dict.fromkeys(("keep", "commit_steps", "threads", "timing_every"), 1),
    **dict.fromkeys(("warmup_epochs", "checkpoint_steps", "patience"), 0),
    **dict.fromkeys(("augment_gain", "augment_shared", "augment_missing"), 0),
    **dict.fromkeys(("pos_weight", "class_weights"), 0),
}
"""the smallest value of an option, or of each of its values"""


def check_options(config: TrainConfig, data: Data) -> None:
    """Raise ValueError for a value that cannot be, and for an option that would do nothing."""
    _check_numbers(config)
    for effect in EFFECTS:
        for name in effect.options:
            value, default = getattr(config, name), defaults()[name]
            if value != default and not effect.holds(config, data):
                raise ValueError(
                    f"{_typed(name, value)} has no effect {effect.otherwise}; leave it out"
                    + ("" if default in (None, (), True, False) else f" (the default is {default})")
                )
    if config.loss == "wbce" and data.classes not in (2, len(config.class_weights)):
        raise ValueError(f"--loss wbce with {data.classes} classes needs as many --class-weights")
    if config.loss not in ("bce", "wbce") and (data.soft or data.classes != 2):
        has = "soft targets" if data.soft else f"{data.classes} classes"
        raise ValueError(
            f"--loss {config.loss} is for labels of two classes, and the patch set has {has}; "
            "use --loss bce or wbce"
        )


def defaults() -> dict[str, Any]:
    """Of every option that has one."""
    fields = dataclasses.fields(TrainConfig)
    return {
        field.name: field.default for field in fields if field.default is not dataclasses.MISSING
    }


def _check_numbers(config: TrainConfig) -> None:
    for name, least in LEAST.items():
        value = getattr(config, name)
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None and not least <= one < math.inf:
                raise ValueError(f"{_typed(name, one)} must be {least} or more")
    if not 0 < config.lr < math.inf:
        raise ValueError(f"--lr {config.lr} must be above zero and finite")
    if config.target_accuracy is not None and not 0 <= config.target_accuracy <= 1:
        raise ValueError(f"--target-accuracy {config.target_accuracy:g} must be from 0 to 1")
    if config.emulate is not None and not 0 <= config.emulate < math.inf:
        raise ValueError(f"--emulate {config.emulate:g} must be zero or more, and finite")
    if config.augment_missing > 1:
        raise ValueError(f"--augment-missing {config.augment_missing:g} must be from 0 to 1")
    if not 0 <= config.emulate_spread < 1:
        raise ValueError(f"--emulate-spread {config.emulate_spread:g} must be from 0 to below 1")


def _typed(name: str, value: object) -> str:
    """An option as it stands on a command line."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return " ".join([f"--{flag}", *map(str, value if isinstance(value, tuple) else (value,))])
