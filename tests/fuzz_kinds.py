"""What is damaged: a whole file of every kind that is read, and the commands that read it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import evaluation_fake
import forms
import h5py
import numpy as np
import scaling_fake
import sen3
import tiny
from damage import OF_BYTES, OF_JSON, OF_TEXT, Damage

from cloudmask import __main__ as cli
from seaice import __main__ as ice


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of file: where a whole one stands, and the commands that read it."""

    name: str
    original: Path
    """a file in the folder of originals"""
    commands: tuple[tuple[str, ...], ...]
    """{case}: folder of this case, a copy of `needs` with the damaged file in place"""
    needs: Path
    """what is copied for each case: the file, or a folder around it"""
    damages: tuple[Damage, ...] = OF_BYTES
    share: int = 1
    always_found: bool = False
    """a checksum or the like finds every change"""
    restores: str = ""
    """a file that the command makes anew as it was, whatever the damage"""
    heavy: bool = False
    """read by what TensorFlow is loaded for"""


def originals(folder: Path) -> list[Kind]:
    """Whole files of every kind, made by the programs themselves."""

    def call(main: Callable[[Sequence[str]], int], *words: object) -> None:
        assert main([str(word) for word in words]) == 0, words

    hdf = folder / "hdf"
    call(cli.main, "synth", "--out", hdf, "--scenes", 3, "--height", 64, "--width", 64)
    npz = folder / "npz"
    for seed in range(4):
        tiny.write_scene(npz / f"scene_{seed}.npz", size=32, patches=4, seed=seed)
    with np.load(npz / "scene_1.npz") as arrays:
        np.savez_compressed(npz / "scene_1.npz", **arrays)
    product = sen3.write_product(folder / "products", sen3.make_values())
    data = folder / "data"
    prepare = ["prepare", npz, "--out", data, "--patch-size", 32, "--split"]
    call(cli.main, *prepare, "train=0.75,valid=0.25")
    run = folder / "run"
    words = ["--data", data, "--out", run, "--widths", 4, 8, "--epochs", 1, "--threads", 1]
    ended = tiny.train(*words, "--no-tensorboard", "--batch-size", 4)
    assert ended.code == 0, ended.err
    masks = folder / "masks"
    ended = tiny.finish(tiny.start("-m", "cloudmask", "predict", run, npz, "--out", masks))
    assert ended.code == 0, ended.err
    evaluation_fake.write(masks, sorted(npz.glob("*.npz")))
    old = folder / "hdf5-masks"
    old.mkdir()
    _write_old_masks(old, sorted(npz.glob("*.npz")))
    study = scaling_fake.write_study(folder / "study", repeats=2)
    config = folder / "config.yaml"
    config.write_text(f"scenes: [{npz}]\npatch-size: 32\nsplit: train=0.75,valid=0.25\nseed: 3\n")
    ice_scenes, ice_out = folder / "ice", folder / "ice-out"
    call(ice.main, "synth", "--out", ice_scenes, "--scenes", 2, "--height", 64, "--width", 64)
    call(ice.main, "label", ice_scenes / "scenes", "--out", ice_out)

    def cut(scenes: str, *more: str, size: int = 32) -> tuple[object, ...]:
        end = ("--out", "{case}/out", "--patch-size", size)
        return ("cloudmask", "prepare", scenes, *more, *end)

    alone = ("--split", "train=1")
    members = sorted(product.glob("*.nc"))
    evaluate_masks = ("cloudmask", "evaluate", "{case}", npz, "--out", "{case}/found.json")
    prepare_again = [
        *("cloudmask", "prepare", npz, "--out", "{case}", "--patch-size", 32),
        *("--split", "train=0.75,valid=0.25"),
    ]
    receipt = next((data / ".prepare").glob("*.json"))
    patch_file = next((data / "train").glob("*.h5"))
    step = max((run / "checkpoints").glob("step-*.h5"))
    found: list[Kind] = []

    def add(name: str, original: Path, needs: Path, *commands: Sequence[object], **more) -> None:
        lines = tuple(tuple(map(str, command)) for command in commands)
        found.append(Kind(name, original, lines, needs, **more))

    add("benchmark HDF5", min(hdf.glob("*.hdf")), hdf, cut("{case}", *alone), share=4)
    add("npz", npz / "scene_1.npz", npz, cut("{case}", *alone), share=4)
    unchecked = cut("{case}/products", *alone, "--no-verify", size=8)
    checked = cut("{case}/products", *alone, size=8)
    for path in members:
        if path.name != "viscal.nc":
            add(f"product member {path.name}", path, product.parent, unchecked)
    add("product, verified", members[0], product.parent, checked, share=2, always_found=True)
    xml = product / "xfdumanifest.xml"
    add("product manifest", xml, product.parent, checked, damages=OF_TEXT, share=3)
    packed = forms.zipped(product, folder / "zips")
    add("product in a zip", packed, packed.parent, cut("{case}", *alone, size=8), share=3)
    store = forms.stored(product, folder / "stores")
    whole = sorted(path for path in store.rglob("*") if path.is_file())
    metadata = [path for path in whole if path.name.startswith(".z")]
    of_store = ("cloudmask", "evaluate", masks, "{case}", "--label", "summary")
    for path in metadata[:3]:
        name = f"Zarr {path.relative_to(store)}"
        add(name, path, store.parent, of_store, damages=OF_JSON)
    for path in [path for path in whole if path not in metadata][:3]:
        add(f"Zarr {path.relative_to(store)}", path, store.parent, of_store)
    verify = ("cloudmask", "verify", "{case}")
    read = ("read", "{case}")
    add("patch file", patch_file, data, read, share=5)
    add("patch file, verified", patch_file, data, verify, always_found=True)
    manifest = data / "manifest.json"
    add("patch-set manifest", manifest, data, read, verify, damages=OF_JSON, share=6)
    add("patch-set index", data / "manifest.index", data, read)
    add(
        *("receipt", receipt, data, prepare_again),
        **{"damages": OF_JSON, "share": 4, "restores": "manifest.json"},
    )
    add("mask, NetCDF", masks / "scene_1.nc", masks, evaluate_masks, share=5)
    add("mask, HDF5", old / "scene_1.h5", old, evaluate_masks, share=2)
    page = ("cloudmask", "report", "{case}", "--out", "{case}/page.html", "--show", 0)
    add("evaluation.json", masks / "evaluation.json", masks, page, damages=OF_JSON, share=4)
    add("run summary", run / "summary.json", run, page, damages=OF_JSON)
    fit, shown = ("scaling", "fit", "{case}"), ("scaling", "report", "{case}")
    add("study rows", study / "results.jsonl", study, fit, shown, damages=OF_JSON, share=5)
    add("study header", study / "study.json", study, fit, damages=OF_JSON)
    configured = ("cloudmask", "prepare", "--config", "{case}/config.yaml", "--out", "{case}/out")
    add("YAML config", config, config, configured, damages=OF_TEXT, share=4)
    record = next((ice_out / "records").glob("*.json"))
    label = ("seaice", "label", ice_scenes / "scenes", "--out", "{case}")
    add("labelling record", record, ice_out, label, damages=OF_JSON, share=2)
    picture = next((ice_scenes / "scenes").glob("*.png"))
    label = ("seaice", "label", "{case}/scenes", "--out", "{case}/labels")
    add("picture", picture, ice_scenes, label, share=2)
    sure = {"always_found": True, "heavy": True}
    checkpoint = ("checkpoint", "{case}")
    add("checkpoint", step, step.parent, checkpoint, share=2, **sure)
    state = step.with_suffix(".json")
    add("checkpoint state", state, step.parent, checkpoint, damages=OF_JSON, share=3, **sure)
    model = run / "model.keras"
    predict = ("cloudmask", "predict", "{case}/model.keras", npz, "--out", "{case}/out")
    add("model", model, model, predict, share=6, heavy=True)
    return found


def _write_old_masks(folder: Path, scenes: Sequence[Path]) -> None:
    """In the benchmark's layout, as of another program."""
    for path in scenes:
        with np.load(path) as arrays:
            shape = arrays["label"].shape
        with h5py.File(folder / f"{path.stem}.h5", "w") as file:
            probability = np.random.default_rng(0).random((1, *shape, 1), np.float32)
            file.create_dataset("mask", data=probability, compression="gzip")
            file.attrs["classes"] = json.dumps(["class 0", "class 1"])
