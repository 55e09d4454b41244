"""What a user has set for Keras in other programs changes nothing here."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tiny

from cloudmask.cli import errors

PREDICT = """
import sys
import numpy as np
import cloudmask
model = cloudmask.load(sys.argv[1], precision="float32")
np.save(sys.argv[2], model.predict(np.load(sys.argv[3])).probability)
"""


@pytest.mark.slow
def test_other_settings_of_keras_change_no_bit(tmp_path):
    patches = tiny.make_patchset(tmp_path / "set")
    image = np.random.default_rng(0).normal(0, 1, (40, 40, 3)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    (tmp_path / "keras").mkdir()
    settings = {"floatx": "float64", "image_data_format": "channels_first", "backend": "jax"}
    (tmp_path / "keras/keras.json").write_text(json.dumps(settings))
    odd = {"KERAS_HOME": str(tmp_path / "keras"), "KERAS_BACKEND": "jax"}
    odd |= {"TF_USE_LEGACY_KERAS": "1"}
    found = {}
    for name, environment in (("plain", {}), ("odd", odd)):
        run = tmp_path / name
        options = ["--preset", "tiny", "--threads", "1", "--precision", "float32", "--no-horovod"]
        options += ["--max-steps", "2", "--no-tensorboard", "--data", patches, "--out", run]
        answer = tmp_path / f"{name}.npy"
        for words in (
            [tiny.ROOT / "train_hvd.py", *options],
            ["-c", PREDICT, run, answer, tmp_path / "image.npy"],
        ):
            done = subprocess.run(
                [sys.executable, *map(str, words)],
                env=tiny.environment() | environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
        summary = json.loads((run / "summary.json").read_text())
        found[name] = summary["last_step_loss"], summary["best"]["loss"], np.load(answer).tobytes()
    assert found["odd"] == found["plain"]


def test_keras_that_another_program_has_loaded_otherwise_is_one_line(monkeypatch):
    class Config:
        backend = staticmethod(lambda: "jax")

    monkeypatch.setitem(sys.modules, "keras", type("Keras", (), {"config": Config}))
    with (
        pytest.raises(ValueError, match=r"the backend jax.*KERAS_BACKEND=tensorflow before"),
        errors.loading_tensorflow(),
    ):
        pass
