"""Scenes with labels by what cloud and clear sky look like: two passes over them."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from cloudmask.cli.errors import AgreedError, the_same_on_all_ranks
from cloudmask.cli.options import LabelConfig
from cloudmask.data import dual, parallel, slstr, survey
from cloudmask.data.archive import find_scenes
from cloudmask.data.classes import with_classes
from cloudmask.data.entry import Entry
from cloudmask.data.place import Place
from cloudmask.data.prepare.command import MapItems, make_patch_set
from cloudmask.data.prepare.plan import Job
from cloudmask.data.read import read_scene
from cloudmask.data.scene import LabelChoice, Scene, SceneError
from cloudmask.data.slstr import CLASSES
from cloudmask.labels import densities
from cloudmask.labels import unsupervised_votes as votes
from cloudmask.labels.densities import Fitted, Samples
from cloudmask.labels.looks import Looks, looks_of
from cloudmask.labels.unsupervised import confident_label
from cloudmask.labels.unsupervised_command import log_odds_of
from cloudmask.text import plural

VERSION = 1
"""grows when the same scenes give other labels"""
Teacher = LabelChoice | Literal["unsupervised"]
PRIOR = math.log(votes.PRIOR / (1 - votes.PRIOR))
"""log-odds of cloud where the teacher is unsupervised: those of its own votes"""
LEAST_PIXELS, MOST_PIXELS, MOST_OF_A_SCENE = 30_000, 200_000, 3000
"""that the mixtures are fitted to, of each kind of looks; of few scenes each gives more, so that
the rarer class has enough"""
LEAST_LOG_ODDS = 0.4
"""nearer to zero a pixel has no label"""


def label(config: LabelConfig, *, map_items: MapItems = parallel.map_items) -> int:
    """Fit the looks of both classes to the teacher's labels, then label and cut all scenes into the
    patch set `out`, on all ranks. The exit code: 1 if a scene failed.

    AgreedError on every rank, ValueError.
    """
    world = parallel.world()
    teacher = config.teacher
    scenes = world.on_root(lambda: find_scenes(config.scenes))
    with the_same_on_all_ranks():
        reading = slstr.Reading.of(config)
    strips = None
    if teacher == "dual":
        strips = survey.strips_of(scenes, world, option="--teacher")
    work = functools.partial(
        sample_of,
        teacher=teacher,
        reading=reading,
        verify=config.verify,
        strips=strips,
        pixels=pixels_of_a_scene(len(scenes)),
    )
    outcomes = parallel.map_items(work, scenes, world=world, progress="looks", tell=False)
    samples = [outcome.value for outcome in outcomes if outcome and outcome.value]
    prior = PRIOR if teacher == "unsupervised" else None
    told, fitted = world.on_root(
        lambda: (_fingerprint(samples), densities.fit_all(samples, prior=prior))
    )
    failed = {
        scene.name: outcome.error
        for scene, outcome in zip(scenes, outcomes, strict=True)
        if outcome and outcome.error
    }
    if not fitted:
        first = next(iter(failed.values()), "")
        if len(failed) == len(scenes):
            raise AgreedError(f"no scene can be used, the first because {first}")
        more = f"; {len(failed)} of them failed, the first because {first}" if failed else ""
        raise AgreedError(
            f"fewer than {densities.FEWEST} pixels of {plural(len(scenes), 'scene')} are labelled "
            f"cloud, or clear, by '{teacher}', too few to tell what they look like; give more{more}"
        )
    labelling = {
        "label": "densities",
        "teacher": teacher,
        "label_version": str(VERSION),
        "densities": told,
    }
    read = functools.partial(_read, fitted=fitted, failed=failed)
    return make_patch_set(config, labelling, read, scenes=scenes, map_items=map_items)


def pixels_of_a_scene(scenes: int) -> int:
    """How many pixels each of so many scenes gives, of each kind of looks."""
    return min(max(MOST_OF_A_SCENE, LEAST_PIXELS // scenes), 1 + MOST_PIXELS // scenes)


def _fingerprint(samples: Sequence[Samples]) -> str:
    """Of all that the mixtures are fitted to. Their own last bits depend on the number of cores."""
    found = hashlib.sha256()
    for sample in samples:
        for names, (looks, cloud) in sample.items():
            found.update(repr(names).encode() + looks.tobytes() + cloud.tobytes())
    return found.hexdigest()


def sample_of(
    scene: Entry,
    *,
    teacher: Teacher,
    reading: slstr.Reading,
    verify: bool,
    strips: dual.Strips | None,
    pixels: int,
) -> Samples:
    """Looks of some labelled pixels of a scene; which ones follows from its name."""
    whole, known = taught(scene.path, teacher, reading=reading, verify=verify)
    clear = known == 0
    if teacher == "dual":
        strip = read_scene(
            scene.path, label="dual", verify=False, reading=reading, strips=strips
        ).label
        assert strip is not None
        known = strip
    seed = int.from_bytes(hashlib.sha256(scene.name.encode()).digest()[:4], "big")
    return densities.sample(_looks(whole, clear, scene.path), known, pixels=pixels, seed=seed)


def _looks(scene: Scene, clear: np.ndarray, place: Place) -> Looks:
    """Beside what is thought to be clear. SceneError."""
    try:
        return looks_of(scene, clear)
    except ValueError as error:
        problem, _, advice = str(error).partition("; ")
        raise SceneError(place, problem, advice) from error


def taught(
    path: Place, teacher: Teacher, *, reading: slstr.Reading, verify: bool
) -> tuple[Scene, np.ndarray]:
    """A scene, and (H, W) uint8 what the teacher says of all of it. SceneError."""
    if teacher == "unsupervised":
        scene = read_scene(path, need_label=False, verify=verify, reading=reading)
        return replace(scene, classes=CLASSES), confident_label(log_odds_of(scene, path))
    label: LabelChoice = "any" if teacher == "dual" else teacher
    scene = read_scene(path, label=label, verify=verify, reading=reading)
    if sorted(scene.classes) == sorted(CLASSES):
        scene = with_classes(scene, CLASSES)
    if len(scene.classes) != 2:
        problem = f"has {len(scene.classes)} classes, and mixtures tell two apart"
        raise SceneError(path, problem, "give scenes of two classes")
    assert scene.label is not None
    return scene, scene.label


def _read(
    job: Job, options: Mapping[str, Any], verify: bool, *, fitted: Fitted, failed: Mapping[str, str]
) -> Scene:
    if job.name in failed:  # at the first look, which told nobody
        raise ValueError(failed[job.name])
    teacher: Teacher = options["teacher"]
    reading = slstr.recorded(options)
    scene, known = taught(job.source, teacher, reading=reading, verify=verify)
    found = densities.log_odds(_looks(scene, known == 0, job.source), fitted)
    label = confident_label(found, beyond=LEAST_LOG_ODDS)
    return replace(scene, label=label, label_source="densities")
