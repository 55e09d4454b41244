import dataclasses
from pathlib import Path

import pytest
import tyro
import yaml

from cloudmask.cli import options
from cloudmask.cli.errors import UsageError
from cloudmask.cli.flags import parse, parse_with_program, to_yaml
from cloudmask.cli.options import TrainConfig

REQUIRED = ("--data", "d", "--out", "o")


def train_config(*words):
    return parse(TrainConfig, [*REQUIRED, *map(str, words)], prog="train_hvd.py")


def refused(*words, config_class=TrainConfig):
    """The message, which must be one line."""
    with pytest.raises(UsageError) as caught:
        parse(config_class, [str(word) for word in words], prog="train_hvd.py")
    message = str(caught.value)
    assert message == " ".join(message.split())
    return message


@pytest.fixture
def yaml_file(tmp_path):
    """Write a YAML file and return its path."""

    def write(text, name="options.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_yaml_means_what_flags_mean(yaml_file):
    path = yaml_file(
        "epochs: 3\nbatch-size: 7\nglobal_batch: null\nlr: 1e-4\nwidths: [4, 8]\ncache: memory\n"
        "augment: false\nfixed_mean: [-1, 2.5]\nshuffle: global\ndropout: []\ntarget_accuracy: .9\n"
    )
    flags = "--epochs 3 --batch-size 7 --lr 0.0001 --widths 4 8 --cache memory --no-augment"
    flags += " --fixed-mean -1 2.5 --shuffle global --target-accuracy 0.9"
    assert train_config("--config", path) == train_config(*flags.split())


def test_every_field_can_be_given_as_a_flag_and_in_yaml(yaml_file):
    whole = TrainConfig(
        data=Path("d"),
        out=Path("o"),
        **{
            field.name: _another_value(field)
            for field in dataclasses.fields(TrainConfig)
            if field.name not in ("data", "out")
        },
    )
    text = to_yaml(whole)
    assert set(yaml.safe_load(text)) == {field.name for field in dataclasses.fields(TrainConfig)}
    assert train_config("--config", yaml_file(text)) == whole


def _another_value(field):
    """A value that is not the default."""
    by_type = {
        "int": 17,
        "int | None": 19,
        "float": 0.125,
        "float | None": 0.1,
        "bool": not field.default,
        "Path | None": Path("p"),
        "str | None": "1/2",
        "tuple[int, ...]": (3, 5),
        "tuple[float, ...]": (0.1, 1e-9),
        "tuple[str, ...]": ("S1", "no"),
    }
    if field.type.startswith("Literal"):
        choices = [part.strip(" \"'") for part in field.type[8:-1].split(",")]
        return next(choice for choice in choices if choice != field.default)
    return by_type[field.type]


def test_default_configuration_survives_the_way_through_yaml(yaml_file):
    assert train_config("--config", yaml_file(to_yaml(train_config()))) == train_config()


def test_a_path_that_looks_like_another_type_survives_the_way_through_yaml(yaml_file):
    odd = dataclasses.replace(train_config(), data=Path("no"), out=Path("2024"))
    words = ["--config", str(yaml_file(to_yaml(odd)))]
    assert parse(TrainConfig, words, prog="train_hvd.py") == odd


def test_flag_beats_file_and_file_beats_preset(yaml_file):
    path = yaml_file("batch_size: 5\nlr: 0.5\n")
    words = ("--lr", 0.25, "--preset", "reference", "--config", path)
    found = train_config(*words)
    assert (found.epochs, found.batch_size, found.lr) == (30, 5, 0.25)
    assert found == train_config(*words[2:], *words[:2])
    assert train_config("--preset=reference", f"--config={path}").lr == 0.5


def test_later_file_beats_earlier_file(yaml_file):
    first, second = yaml_file("epochs: 1\nseed: 1\n", "a"), yaml_file("epochs: 2\n", "b")
    found = train_config("--config", first, "--config", second)
    assert (found.epochs, found.seed) == (2, 1)


def test_a_list_in_a_flag_replaces_that_of_the_preset():
    assert train_config("--preset", "tiny").widths == (4, 8)
    assert train_config("--preset", "tiny", "--widths", 2, 3, 5).widths == (2, 3, 5)


def test_reference_preset_is_the_published_benchmark():
    found = train_config("--preset", "reference")
    assert (found.epochs, found.batch_size, found.lr) == (30, 32, 1e-3)
    assert (found.loss, found.pos_weight, found.clip_offset) == ("wbce", 0.5, 15)
    assert (found.precision, found.augment) == ("float32", False)
    assert found.fixed_mean == (0.5,) * 6 + (270.0,) * 3
    assert found.fixed_std == (1.0,) * 6 + (22.0,) * 3
    assert found.widths == (32, 64, 128, 256)
    assert (found.lr_scaling, found.lr_decay, found.warmup_epochs) == ("none", "none", 0)


def test_bare_switches_turn_on_and_off():
    assert train_config("--xla").xla is True
    assert train_config("--xla", "--no-xla").xla is False
    assert train_config("--no-augment").augment is False


def test_unknown_key_is_told_with_the_near_name(yaml_file):
    path = yaml_file("epohcs: 3\n")
    message = refused(*REQUIRED, "--config", path)
    assert message == f"{path}: unknown key 'epohcs'; did you mean 'epochs'?"
    assert "--help" in refused(*REQUIRED, "--config", yaml_file("zzzz: 3\n"))


def test_unknown_option_is_told_with_the_near_name():
    assert refused(*REQUIRED, "--epohcs", 3) == (
        "Unrecognized options: --epohcs, 3; perhaps you meant --epochs "
        "(train_hvd.py --help lists the options)"
    )
    assert "--bogus" in refused(*REQUIRED, "--bogus")
    assert "stray" in refused(*REQUIRED, "stray")
    assert "True" in refused(*REQUIRED, "--xla", "True")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--epochs", "many"), "--epochs"),
        (("--epochs", "3.5"), "--epochs"),
        (("--widths", "4", "wide"), "--widths"),
        (("--precision", "float8"), "float8"),
        (("--lr",), "--lr"),
    ],
)
def test_wrong_type_names_the_option(words, named, yaml_file):
    assert named in refused(*REQUIRED, *words)
    if len(words) > 1:
        line = f"{words[0][2:]}: [{', '.join(words[1:])}]" if len(words) > 2 else ": ".join(words)
        assert named in refused(*REQUIRED, "--config", yaml_file(line.lstrip("-")))


def test_missing_options_are_named():
    message = refused("--data", "d")
    assert "--out" in message
    assert "--data" not in message


def test_config_file_that_cannot_be_used_is_named(tmp_path, yaml_file):
    assert str(tmp_path / "none") in refused(*REQUIRED, "--config", tmp_path / "none")
    assert str(tmp_path) in refused(*REQUIRED, "--config", tmp_path)
    broken = yaml_file("epochs: [1\n")
    assert refused(*REQUIRED, "--config", broken).startswith(f"{broken} is not YAML")
    for text in ("- epochs\n", "just text\n", "3\n"):
        path = yaml_file(text)
        assert refused(*REQUIRED, "--config", path) == f"{path} must hold 'key: value' lines"
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x89HDF\r\n\xff\xfe")
    assert refused(*REQUIRED, "--config", binary).startswith(f"{binary} is not YAML")
    assert "--config" in refused(*REQUIRED, "--config")


def test_empty_config_file_changes_nothing(yaml_file):
    assert train_config("--config", yaml_file("# nothing\n")) == train_config()


PUBLISHED_ICE = {
    "widths": (16, 32, 64, 128, 256, 512),
    "dropout": (0.1, 0.1, 0.2, 0.2, 0.2, 0.3),
    "upsampling": "transposed",
    "batch_size": 16,
    "epochs": 50,
    "lr": 1e-3,
    "lr_scaling": "none",
    "lr_decay": "none",
    "warmup_epochs": 0,
    "precision": "float32",
    "loss": "bce",
    "class_weights": (),
    "clip_offset": 0,
    "fixed_mean": (0, 0, 0),
    "fixed_std": (255, 255, 255),
    "augment": False,
}


def test_the_published_sea_ice_training_is_the_papers_and_no_more():
    found = dataclasses.asdict(train_config("--preset", "seaice-published"))
    assert {name: found[name] for name in PUBLISHED_ICE} == PUBLISHED_ICE
    plain = dataclasses.asdict(train_config())
    assert {name for name in found if found[name] != plain[name]} <= set(PUBLISHED_ICE)


def test_the_improved_sea_ice_training_differs_in_what_its_file_says():
    improved = dataclasses.asdict(train_config("--preset", "seaice"))
    published = dataclasses.asdict(train_config("--preset", "seaice-published"))
    assert {name: improved[name] for name in improved if improved[name] != published[name]} == {
        "upsampling": "nearest",
        "lr_decay": "cosine",
        "precision": "auto",
        "fixed_mean": (),
        "fixed_std": (),
        "augment": True,
        "augment_gain": 0.05,
        "augment_shared": 0.1,
        "loss": "wbce",
        "class_weights": (1.0, 1.5, 1.5),
    }


def test_unknown_preset_is_told_with_those_there_are():
    assert (
        refused(*REQUIRED, "--preset", "big")
        == "no preset 'big'; there are: reference, seaice, seaice-published, tiny"
    )


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    out: Path
    ranks: str = "1,2"
    sizes: tuple[int, ...] = ()
    env: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    alone: bool = False


def study_config(*words):
    return parse_with_program(StudyConfig, list(map(str, words)), prog="program")


def test_what_stands_after_two_dashes_is_the_program(yaml_file):
    config = StudyConfig(Path("o"), ranks="1")
    words = ("--out", "o", "--ranks", "1", "--", "python", "--out", "--", "--config", "x")
    assert study_config(*words) == (config, ["python", "--out", "--", "--config", "x"])
    assert study_config("--out", "o") == (StudyConfig(Path("o")), [])
    with pytest.raises(UsageError, match="Unrecognized options: --preset"):
        study_config("--out", "o", "--preset", "tiny")


def test_a_program_in_yaml_is_a_list_or_a_line_and_what_is_typed_wins(yaml_file):
    line = yaml_file("out: o\nprogram: python 'my train.py' --steps 3\n", "line")
    listed = yaml_file("out: o\nprogram: [python, my train.py, --steps, 3]\n", "list")
    bare = yaml_file("alone: true\n", "bare")
    program = ["python", "my train.py", "--steps", "3"]
    assert study_config("--config", line) == study_config("--config", listed)
    assert study_config("--config", line)[1] == program
    assert study_config("--config", line, "--config", bare)[1] == program
    assert study_config("--config", line, "--", "true")[1] == ["true"]
    with pytest.raises(UsageError, match="unknown key 'program'"):
        parse(StudyConfig, ["--config", str(line)], prog="program")


def test_lists_in_yaml_become_what_the_field_takes(yaml_file):
    text = "out: o\nranks: [1, 2, 4]\nsizes: [3, 5]\nenv: {A: 1, B: x y}\n"
    whole = StudyConfig(Path("o"), "1,2,4", (3, 5), ("A=1", "B=x y"))
    assert study_config("--config", yaml_file(text)) == (whole, [])
    text = text.replace("{A: 1, B: x y}", "[A=1, B=x y]")
    assert study_config("--config", yaml_file(text)) == (whole, [])
    added = dataclasses.replace(whole, env=("A=1", "B=x y", "C="), ranks="8")
    words = ("--config", yaml_file(text), "--env", "C=", "--ranks", "8")
    assert study_config(*words) == (added, [])


@pytest.mark.parametrize(
    "config_class",
    [
        options.SynthConfig,
        options.PrepareConfig,
        options.VerifyConfig,
        options.EvaluateConfig,
        TrainConfig,
    ],
)
def test_help_lists_every_option_and_exits_with_0(config_class, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(config_class, ["--help"], prog="program")
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for field in dataclasses.fields(config_class):
        positional = "Positional" in str(field.type)
        assert positional or f"--{field.name.replace('_', '-')}" in shown
