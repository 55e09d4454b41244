import cv2
import numpy as np

from seaice import colour
from seaice.io import png
from seaice.io.picture import Reading, open_scene
from seaice.io.sources import Source

RNG = np.random.default_rng(3)


def decoded(content):
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_a_palette_shows_the_colours_of_the_classes():
    label = RNG.choice([0, 1, 2, 255], (37, 53)).astype(np.uint8)
    content = png.encode_palette(label, colour.COLOURS)
    assert np.array_equal(decoded(content), colour.picture(label))
    source = Source("picture.png", len(content), 0, "picture", content)
    with open_scene(source, Reading()) as scene:
        assert np.array_equal(scene.picture().image, colour.picture(label))
    assert content == png.encode_palette(label, colour.COLOURS)


def test_pictures_come_back_as_they_were():
    picture = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(decoded(png.encode(picture)), picture)
