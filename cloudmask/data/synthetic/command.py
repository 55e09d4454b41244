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
    """Write the scenes 0 .. config.scenes - 1 that `out` does not hold yet; exit code 0.

    ValueError for numbers that are too small, an `out` that is a file, and a scene in `out` of
    another size or without the extras. OSError.
    """
    out, height, width, seed = config.out, config.height, config.width, config.seed
    check_least("num_scenes", config.scenes, 1)
    check_scene(0, height, width, seed)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file, but scenes are written into a folder; choose another")
    out.mkdir(parents=True, exist_ok=True)
    bar = tqdm(range(config.scenes), desc="synth", unit="scene", leave=False, disable=None)
    for index in bar:
        path = out / scene_name(index, seed=seed)
        if path.exists():
            _check_same(path, config)
        else:
            made = make_scene(index, height=height, width=width, seed=seed, land=config.land)
            write_scene(made, out, extras=config.extras)
    print(f"{config.scenes} scenes of {height} x {width} in {out}")
    return 0


def _check_same(path: Path, config: SynthConfig) -> None:
    """As far as it can be seen: a scene does not tell of its `land`."""
    size = (config.height, config.width)
    way_out = "delete it or write to another folder"
    try:
        with open_hdf5(path) as file:
            found = file["bts"].shape[:2]
            lacking = [name for name in config.extras if name not in file]
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} is not a scene that can be read; {way_out}") from error
    if found != size:
        raise ValueError(f"{path} is {found[0]} x {found[1]}, not {size[0]} x {size[1]}; {way_out}")
    if lacking:
        raise ValueError(f"{path} has no {' and no '.join(lacking)}; {way_out}")
