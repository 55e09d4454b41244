import json

import numpy as np
import pytest

from cloudmask.train import checkpoint
from cloudmask.train.checkpoint import keep_apart, load, prune, save, steps

STATE = {"epoch": 3, "loss_sum": 0.1 + 0.2, "best": None, "history": [{"loss": 1 / 3}]}


@pytest.fixture
def variables():
    rng = np.random.default_rng(0)
    return {
        "unet/down0_a/kernel": rng.normal(size=(3, 3, 2, 4)).astype(np.float32),
        "unet/down0_a/bias": np.array([0.0, -0.0, np.inf, 1e-45], np.float32),
        "adam/iterations": np.int64(2**40),
        "seed": np.array([1, 2**31], np.int64),
        "empty": np.zeros((0, 3), np.float32),
    }


@pytest.fixture
def saved(tmp_path, variables):
    """(folder, its only checkpoint's two files)."""
    path = save(tmp_path / "checkpoints", 42, variables, STATE)
    return path.parent, path, path.with_suffix(".json")


def test_a_checkpoint_gives_back_every_bit(saved, variables):
    folder, path, _ = saved
    found = load(folder, 42)
    assert (found.step, found.path) == (42, path)
    assert found.state == STATE | {"variables": list(variables)}
    for value, expected in zip(found.variables, variables.values(), strict=True):
        expected = np.asarray(expected)
        assert (value.dtype, value.shape) == (expected.dtype, expected.shape)
        assert value.tobytes() == expected.tobytes()


def test_many_variables_keep_their_order(tmp_path):
    many = {f"variable {index}": np.float32(index) for index in range(120)}
    save(tmp_path, 1, many, {})
    assert [float(value) for value in load(tmp_path, 1).variables] == list(range(120))


def test_the_same_state_gives_the_same_bytes(tmp_path, variables):
    paths = [save(tmp_path / name, 7, variables, STATE) for name in ("a", "b")]
    for one, other in (paths, [path.with_suffix(".json") for path in paths]):
        assert one.read_bytes() == other.read_bytes()


def refused(folder, match):
    with pytest.raises(ValueError, match=match) as caught:
        load(folder, 42)
    assert "step-00000042" in str(caught.value)


def test_half_a_checkpoint_is_refused(saved):
    folder, path, record = saved
    text = record.read_text()
    record.unlink()
    assert steps(folder) == [42]
    refused(folder, "never finished")
    record.write_text(text)
    path.unlink()
    assert steps(folder) == [42]
    refused(folder, "No such file")


def test_truncated_files_are_refused(saved):
    folder, path, record = saved
    content, text = path.read_bytes(), record.read_text()
    for length in (0, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(folder, f"{length} bytes, should be {len(content)}")
    path.write_bytes(content)
    for length in (0, len(text) // 2):
        record.write_text(text[:length])
        refused(folder, "not readable")


def test_a_flipped_bit_anywhere_in_the_variables_is_refused(saved):
    folder, path, _ = saved
    content = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(content), 30).tolist():
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        refused(folder, "checksum differs")


def test_a_flipped_bit_in_the_state_is_refused_or_changes_nothing(saved, variables):
    folder, _, record = saved
    content = record.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1
        record.write_bytes(damaged)
        try:
            found = load(folder, 42)
        except ValueError:
            continue
        # such as a blank that has become another one: what it says is the same
        assert found.state == STATE | {"variables": list(variables)}


def test_a_checkpoint_of_another_format_is_refused(saved):
    folder, _, record = saved
    values = json.loads(record.read_text())
    for version in (checkpoint.VERSION + 1, None):
        record.write_text(json.dumps(values | {"version": version}))
        refused(folder, f"format version {version}, not {checkpoint.VERSION}")
    for text in ("[]", "3", json.dumps({"version": checkpoint.VERSION})):
        record.write_text(text)
        refused(folder, "format version|damaged")


def test_a_checkpoint_under_the_name_of_another_step_is_refused(saved):
    folder, path, record = saved
    for file in (path, record):
        file.rename(file.with_name(file.name.replace("42", "43")))
    with pytest.raises(ValueError, match="step-00000043"):
        load(folder, 43)


def test_other_files_are_no_checkpoints(saved):
    folder, *_ = saved
    (folder / "step-1.h5").touch()
    (folder / "step-00000007.txt").touch()
    (folder / ".step-00000008.h5.99.part").touch()
    assert steps(folder) == [42]
    assert steps(folder / "missing") == []


def test_a_write_that_fails_leaves_earlier_checkpoints(saved, monkeypatch, variables):
    folder, *_ = saved

    def full(path, value):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        save(folder, 43, variables, STATE)
    assert load(folder, 42).state["epoch"] == 3
    with pytest.raises(ValueError, match="never finished"):
        load(folder, 43)


def killed(path, content):
    raise KeyboardInterrupt


@pytest.mark.parametrize("write", ["write_whole", "write_json"])
def test_writing_a_checkpoint_again_cannot_cost_the_one_that_is_there(
    saved, monkeypatch, variables, write
):
    """As a resumed run does that has an epoch to close: the same variables, and a newer state."""
    folder, *_ = saved
    monkeypatch.setattr(checkpoint, write, killed)
    with pytest.raises(KeyboardInterrupt):
        save(folder, 42, variables, STATE | {"epoch": 4})
    assert load(folder, 42).state["epoch"] == 3


def test_a_checkpoint_written_again_with_other_variables_is_never_half_old(
    saved, monkeypatch, variables
):
    folder, *_ = saved
    monkeypatch.setattr(checkpoint, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        save(folder, 42, variables | {"seed": np.array([5, 6], np.int64)}, STATE)
    refused(folder, "checksum differs|bytes, should be")


def test_the_checksum_is_of_what_was_meant_to_be_written(tmp_path, monkeypatch, variables):
    """A disk that loses bits in silence is found out, and does not vouch for itself."""

    def lossy(path, content):
        path.write_bytes(bytes(content)[:-1] + b"?")

    monkeypatch.setattr(checkpoint, "write_whole", lossy)
    save(tmp_path, 42, variables, STATE)
    refused(tmp_path, "checksum differs")


@pytest.fixture
def ten(tmp_path):
    """A folder with checkpoints of steps 1 to 10."""
    for step in range(1, 11):
        save(tmp_path, step, {"a": np.float32(step)}, {})
    return tmp_path


def test_pruning_keeps_the_last_ones_and_the_best(ten):
    prune(ten, newest=10, keep=3, best=4)
    assert steps(ten) == [4, 8, 9, 10]
    assert len(list(ten.iterdir())) == 8
    assert [load(ten, step).step for step in steps(ten)] == [4, 8, 9, 10]
    prune(ten, newest=10, keep=1, best=10)
    assert steps(ten) == [10]
    prune(ten, newest=10, keep=5, best=None)
    assert steps(ten) == [10]


def test_pruning_leaves_later_ones_alone(ten):
    """The run went back to its memory of step 5 when ranks were lost; this is its sixth."""
    (ten / "step-00000010.h5").write_bytes(b"damaged")
    prune(ten, newest=6, keep=2, best=3)
    assert steps(ten) == [3, 5, 6, 7, 8, 9, 10]


def test_what_is_kept_apart_is_no_checkpoint_and_is_never_deleted(ten):
    content = {path.name: path.read_bytes() for path in ten.glob("step-*9.*")}
    for _ in range(2):  # the second time, one of the same step
        keep_apart(ten, [10, 9])
        assert steps(ten) == list(range(1, 9))
        save(ten, 9, {"a": np.float32(-1)}, {})
        prune(ten, newest=9, keep=1, best=None)
        assert steps(ten) == [9]
        for step in range(1, 9):
            save(ten, step, {"a": np.float32(step)}, {})
    kept = ten / "passed-over"
    assert {name: (kept / name).read_bytes() for name in content} == content
    names = ["step-00000009-2", "step-00000009", "step-00000010"]
    assert {path.stem for path in kept.iterdir()} == set(names)
    assert len(list(kept.iterdir())) == 2 * len(names)


def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        steps(tmp_path / "file")


def test_pruning_removes_what_was_never_finished(ten):
    (ten / "step-00000009.json").unlink()
    (ten / ".step-00000011.h5.1234.part").touch()
    prune(ten, newest=10, keep=2, best=None)
    assert sorted(path.name for path in ten.iterdir()) == [
        f"step-{step:08d}.{kind}" for step in (8, 10) for kind in ("h5", "json")
    ]
