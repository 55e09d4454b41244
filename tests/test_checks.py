"""Options that cannot be and options that would do nothing, by the table of train/checks.py."""

import dataclasses
import math

import pytest

from cloudmask.cli.flags import PRESETS, parse, to_yaml
from cloudmask.cli.options import TrainConfig
from cloudmask.train.checks import EFFECTS, Data, check_options, defaults

TWO, THREE = Data(classes=2, valid_patches=10), Data(classes=3, valid_patches=10)
UNJUDGED = Data(classes=2, valid_patches=0)
WEIGHTS = {"loss": "wbce", "class_weights": (1.0, 2.0, 3.0)}

# (options, on which data, what the error says); without the first option all is well.
IDLE = [
    ({"pos_weight": 0.25}, TWO, "--pos-weight 0.25 has no effect without --loss wbce; leave"),
    ({"pos_weight": 0.25, "loss": "gce"}, TWO, "--pos-weight 0.25 has no effect without --loss w"),
    ({"class_weights": (1.0, 2.0)}, TWO, "--class-weights 1.0 2.0 has no effect without --loss w"),
    ({"pos_weight": 0.25, **WEIGHTS}, THREE, "--pos-weight 0.25 has no effect with more than two"),
    ({"class_weights": (1.0, 9.0), "loss": "wbce"}, TWO, "has no effect with two classes (see"),
    ({"stop_at_target": True}, TWO, "--stop-at-target has no effect without --target-accuracy"),
    ({"emulate_spread": 0.1}, TWO, "--emulate-spread 0.1 has no effect without --emulate"),
    ({"augment_gain": 0.1, "augment": False}, TWO, "--augment-gain 0.1 has no effect with --no-au"),
    ({"augment_shared": 0.1, "augment": False}, TWO, "--augment-shared 0.1 has no effect with"),
    ({"augment_missing_channels": ("S1",)}, TWO, "has no effect without --augment-missing"),
    ({"commit_steps": 5}, TWO, "--commit-steps 5 has no effect without --elastic; leave it out"),
    ({"verify": False, "stage": "near"}, TWO, "--no-verify has no effect with --stage"),
    ({"xla": True, "emulate": 1.0}, TWO, "--xla has no effect with --emulate"),
    ({"noise_scale": True, "emulate": 1.0}, TWO, "--noise-scale has no effect with --emulate"),
    ({"narrow_gradients": True, "emulate": 1.0}, TWO, "has no effect with --emulate"),
    ({"narrow_gradients": True, "precision": "bfloat16"}, TWO, "but in float32"),
    ({"init": "run", "emulate": 1.0}, TWO, "--init run has no effect with --emulate"),
    ({"patience": 2, "emulate": 1.0}, TWO, "--patience 2 has no effect with --emulate, which"),
    ({"target_accuracy": 0.9, "emulate": 1.0}, TWO, "with --emulate, which computes no loss"),
    ({"stop_at_target": True, "emulate": 1.0}, TWO, "with --emulate, which computes no loss"),
    ({"patience": 2}, UNJUDGED, "--patience 2 has no effect without validation patches"),
    ({"target_accuracy": 0.9}, UNJUDGED, "has no effect without validation patches"),
    ({"validate_every": 2}, UNJUDGED, "--validate-every 2 has no effect without validation"),
]


def check(data=TWO, **changes):
    check_options(TrainConfig(data="set", out="run", **changes), data)


@pytest.mark.parametrize(("changes", "data", "message"), IDLE)
def test_an_option_without_effect_is_refused_by_name(changes, data, message):
    with pytest.raises(ValueError, match="leave it out") as caught:
        check(data, **changes)
    assert message in str(caught.value)
    name, *_ = changes
    check(data, **{other: value for other, value in changes.items() if other != name})
    check(data, **changes | {name: defaults()[name]})


@pytest.mark.parametrize("loss", ["gce", "sce", "bootstrap"])
def test_losses_for_labels_that_err_take_labels_of_two_classes(loss):
    check(loss=loss)
    with pytest.raises(ValueError, match=f"--loss {loss} is for labels .* set has 3 classes; use"):
        check(THREE, loss=loss)
    soft = dataclasses.replace(TWO, soft=True)
    with pytest.raises(ValueError, match=f"--loss {loss} is for labels .* set has soft targets; u"):
        check(soft, loss=loss)
    check(soft, loss="wbce", pos_weight=0.25)


def test_every_row_of_the_table_is_tried():
    tried = {(next(iter(changes)), data) for changes, data, _ in IDLE}
    for effect in EFFECTS:
        for name in effect.options:
            assert name in {option for option, _ in tried}
            assert name in defaults(), "an option that has no default is always given"


def test_what_an_option_needs_makes_it_count():
    check(loss="wbce", pos_weight=0.25)
    check(THREE, **WEIGHTS)
    check(stop_at_target=True, target_accuracy=0.9, patience=3, validate_every=2)
    check(emulate=1.0, emulate_spread=0.1)
    check(elastic=True, commit_steps=5)
    check(augment_gain=0.1, augment_shared=0.1)


def test_presets_and_what_a_study_adds_to_them_are_no_fault():
    """A study brings a batch of its own and runs the same words on one rank and on many."""
    for name in PRESETS:
        for added in ((), ("--global-batch", "64", "--lr-scaling", "linear"), ("--emulate", "0.1")):
            words = ["--data", "set", "--out", "run", "--preset", name, *added]
            check_options(
                parse(TrainConfig, words, prog="train"), THREE if name == "seaice" else TWO
            )


def test_a_configuration_that_was_accepted_is_accepted_from_its_file(tmp_path):
    """It names every option; those at their defaults say nothing."""
    config = TrainConfig(data=tmp_path, out=tmp_path, augment=False)
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    words = ["--config", str(tmp_path / "config.yaml")]
    check_options(parse(TrainConfig, words, prog="train"), TWO)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": 0}, "--threads 0 must be 1 or more"),
        ({"commit_steps": 0, "elastic": True}, "--commit-steps 0 must be 1 or more"),
        ({"warmup_epochs": math.inf}, "--warmup-epochs inf must be 0 or more"),
        ({"augment_gain": -0.1}, "--augment-gain -0.1 must be 0 or more"),
        ({"augment_missing": -0.1}, "--augment-missing -0.1 must be 0 or more"),
        ({"augment_missing": 1.1}, "--augment-missing 1.1 must be from 0 to 1"),
        ({"pos_weight": math.nan, "loss": "wbce"}, "--pos-weight nan must be 0 or more"),
        ({"target_accuracy": 90.0}, "--target-accuracy 90 must be from 0 to 1"),
    ],
)
def test_numbers_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        check(**changes)


def test_the_table_names_options_that_there_are():
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    assert {name for effect in EFFECTS for name in effect.options} <= names
