"""The whole road on real scenes: trained on one satellite, two ranks, tried on another."""

import json

import pytest
import tiny

from cloudmask import __main__ as cli


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.real
def test_trained_on_landsat_7_it_finds_the_clouds_of_landsat_5(real_data, tmp_path):
    for name in ("landsat5", "landsat7"):
        scene = real_data / "landsat" / f"{name}.npz"
        words = ["prepare", scene, "--out", tmp_path / name, "--split", "train=1"]
        assert cli.main([*map(str, words), "--patch-size", "128"]) == 0
    run = tmp_path / "run"
    trained = tiny.train("--data", tmp_path / "landsat7", "--out", run, "--epochs", 60, ranks=2)
    assert trained.code == 0, trained.err
    words = ["-m", "cloudmask", "evaluate", run, tmp_path / "landsat5", "--split", "train"]
    assert tiny.finish(tiny.start(*words)).code == 0
    found = json.loads((run / "evaluation-train.json").read_text())
    assert 0.6 < found["majority"] < 0.7
    assert found["accuracy"] >= 0.88
