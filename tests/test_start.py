"""How a rank starts: what it does not load or rewrite, and how it takes the variables of rank 0."""

import json

import pytest
import tiny

from cloudmask.cli.absent import OF_KERAS, absent

STEP = """
import sys
import train_hvd
from cloudmask.cli.absent import OF_KERAS

train_hvd.main(sys.argv[1:])
print("loaded:", [name for name in OF_KERAS if name in sys.modules])
print("rewritten:", [name for name in sys.modules if name.startswith("__autograph_generated")])
"""


@pytest.mark.slow
@pytest.mark.parametrize("device", [("--emulate", 0.001), ()], ids=["emulated", "real"])
def test_a_start_loads_no_pictures_or_tables_and_rewrites_no_code(tmp_path, device):
    """Half of what a rank took to start: 64 of them start on one host."""
    patches = tiny.make_patchset(tmp_path / "set", patches=2)
    words = ("--data", patches, "--out", tmp_path / "run", "--preset", "tiny", "--max-steps", 1)
    ended = tiny.finish(tiny.start("-c", STEP, *words, "--no-tensorboard", *device))
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-2:] == ["loaded: []", "rewritten: []"]


def test_what_was_kept_away_can_be_had_afterwards(tmp_path, monkeypatch):
    (tmp_path / "kept_away.py").write_text("value = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    with absent("json", "kept_away"):
        with pytest.raises(ModuleNotFoundError):
            import kept_away
        import json as same  # loaded already, so it stays
    import kept_away

    assert same is json
    assert kept_away.value == 7
    assert "numpy" not in OF_KERAS


HAND_ON = """
import json, sys
import numpy as np
import tensorflow as tf
from cloudmask.train import ranks, start

ranks.MESSAGE_BYTES = 100
world = start.start(threads=1)
kinds = ("float32", "int64", "bfloat16", "float16", "int32", "bool", "uint32", "float64")
shapes = ((3, 4), (), (5,), (2, 3), (1,), (), (2,), (0, 3), (100,))
variables = [
    tf.Variable(tf.cast(50 * tf.random.stateless_normal(shape, [world.rank, 1]), kind))
    for kind in kinds
    for shape in shapes
]
before = [np.asarray(variable).tobytes().hex() for variable in variables]
world.broadcast_variables(variables)
after = [np.asarray(variable).tobytes().hex() for variable in variables]
found = world.gather((before, after), name="found")
if world.is_root:
    print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.mpi
def test_every_rank_takes_the_bits_of_rank_0_whatever_their_kind(start):
    ended = tiny.finish(start(HAND_ON, ranks=2))
    assert ended.code == 0, ended.err
    (first, kept), (second, taken) = json.loads(ended.out.splitlines()[-1])
    assert first != second
    assert kept == taken == first
