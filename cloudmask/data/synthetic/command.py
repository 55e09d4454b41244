"""An archive of synthetic scenes, made as far as it is not there."""

from pathlib import Path

from tqdm import tqdm

from cloudmask.cli.options import SynthConfig
from cloudmask.data.synthetic.scenes import (
    check_least,
    check_scene,
    make_scene,
    scene_name,
    write_scene,
)
from cloudmask.files import open_hdf5


def synth(config: SynthConfig) -> int:
    """The command: write the scenes and say so; exit code 0. ValueError, OSError."""
    height, width = config.height, config.width
    paths = synthesize(
        config.out, num_scenes=config.scenes, height=height, width=width, seed=config.seed
    )
    print(f"{len(paths)} scenes of {height} x {width} in {config.out}")
    return 0


def synthesize(
    out: Path,
    *,
    num_scenes: int,
    height: int = 1200,
    width: int = 1500,
    seed: int = 0,
) -> list[Path]:
    """Write the scenes 0 .. num_scenes - 1 that `out` does not hold yet; return the paths of all.

    ValueError for numbers that are too small, an `out` that is a file, and a scene in `out` of
    another size.
    """
    check_least("num_scenes", num_scenes, 1)
    check_scene(0, height, width, seed)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file, but scenes are written into a folder; choose another")
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    bar = tqdm(range(num_scenes), desc="synth", unit="scene", leave=False, disable=None)
    for index in bar:
        path = out / scene_name(index, seed=seed)
        if path.exists():
            _check_same_size(path, height, width)
        else:
            write_scene(make_scene(index, height=height, width=width, seed=seed), out)
        paths.append(path)
    return paths


def _check_same_size(path: Path, height: int, width: int) -> None:
    way_out = "delete it or write to another folder"
    try:
        with open_hdf5(path) as file:
            found = file["bts"].shape[:2]
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} is not a scene that can be read; {way_out}") from error
    if found != (height, width):
        raise ValueError(f"{path} is {found[0]} x {found[1]}, not {height} x {width}; {way_out}")
