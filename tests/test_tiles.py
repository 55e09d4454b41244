import numpy as np
import pytest

from cloudmask.data.tiles import grid


def test_benchmark_scene_gives_4_by_5_patches_with_its_margins():
    rows, cols = grid(1200, 1500, size=256, stride=256)
    assert rows.tolist() == [88, 344, 600, 856]
    assert cols.tolist() == [110, 366, 622, 878, 1134]


@pytest.mark.parametrize(
    ("length", "size", "stride"),
    [(64, 64, 64), (65, 64, 1), (100, 32, 32), (99, 32, 16), (7, 3, 5)],
)
def test_tiles_fit_are_a_stride_apart_and_centred(length, size, stride):
    rows, cols = grid(length, length, size=size, stride=stride)
    before, after = rows[0], length - (rows[-1] + size)
    assert (rows == cols).all()
    assert (np.diff(rows) == stride).all()
    assert 0 <= before <= after <= before + 1
    assert before + after < stride  # else one more tile would fit


@pytest.mark.parametrize("shape", [(31, 64), (64, 31)])
def test_scene_smaller_than_a_patch_is_refused_with_its_size(shape):
    with pytest.raises(ValueError, match=rf"{shape[0]}x{shape[1]} pixels .* at most 31"):
        grid(*shape, size=32, stride=32)


def test_stride_of_zero_is_refused():
    with pytest.raises(ValueError, match="stride 0"):
        grid(64, 64, size=32, stride=0)
