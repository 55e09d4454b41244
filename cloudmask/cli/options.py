"""One frozen dataclass per program; flags and YAML files are generated from their fields."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cloudmask.data.place import Place, Url, place_of
from cloudmask.data.prepare.split import SplitBy
from cloudmask.data.scene import LabelChoice
from cloudmask.data.slstr import PixelFlag

Paths = tuple[Path, ...]
_PLACE = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar="PATH",
    instance_from_str=lambda words: place_of(words[0]),
    is_instance=lambda value: isinstance(value, Path | Url),
    str_from_instance=lambda place: [place.text if isinstance(place, Url) else str(place)],
)
Places = tuple[Annotated[Place, _PLACE], ...]
"""paths, or URLs, which a Path would garble"""


@dataclasses.dataclass(frozen=True)
class SynthConfig:
    """Write seeded synthetic SLSTR scenes in the benchmark's layout, with their true cloud mask."""

    out: Path
    """folder for the scenes"""
    scenes: int = 10
    """number of scenes"""
    height: int = 1200
    """rows of a scene"""
    width: int = 1500
    """columns of a scene"""
    seed: int = 0
    """the same seed gives the same scenes"""
    land: Literal["judged", "clear"] = "judged"
    """what the Bayesian mask says of land; clear: 0, as where the benchmark's has not judged;
    scenes that are there already stay as they are, for they do not tell what they were made with"""
    extras: tuple[Literal["depth", "skin"], ...] = ()
    """also write the optical depth, or the skin temperature as a forecast knows it"""


@dataclasses.dataclass(frozen=True)
class PatchSetConfig:
    """What every command that makes a patch set of scenes is asked."""

    scenes: Annotated[Places, tyro.conf.Positional]
    """scene files, or folders that are searched for them, or URLs of products"""
    out: Path
    """folder for the patch set"""
    patch_size: int = 256
    """rows and columns of a patch"""
    stride: int | None = None
    """distance between patches in pixels (default: the patch size, no overlap)"""
    split: str = "train=0.8,valid=0.2"
    """names and shares of the splits; a scene goes whole into one of them"""
    split_by: SplitBy = "random"
    """random: any scene anywhere; blocks: neighbouring scenes of an orbit stay together"""
    seed: int = 42
    """seed of the split"""
    strict: bool = False
    """stop at the first broken scene instead of leaving it out"""
    verify: bool = True
    """check the files of a .SEN3 product against the MD5s of its manifest"""
    max_solar_zenith: float = 88.0
    """degrees from which on a product has no reflectance; the model is then used so too"""
    drop_flagged: tuple[PixelFlag, ...] = ()
    """count a product's pixels with these flags as missing: cosmetic, duplicate"""
    oblique: bool = False
    """add the oblique view of products: the channels S5o, S8o and S9o"""
    skin_temperature: bool = False
    """add the surface's temperature by the weather model that a product brings along, in K: the
    channel TS (of the benchmark's files their dataset skin)"""


@dataclasses.dataclass(frozen=True)
class PrepareConfig(PatchSetConfig):
    """Cut scenes into a patch set: HDF5 files with a manifest, split by scene."""

    label: LabelChoice = "any"
    """which mask of an SLSTR scene is the label: any bit or one bit of the Bayesian mask, any bit
    where the oblique view sees too, and nothing elsewhere (dual), ..."""


@dataclasses.dataclass(frozen=True)
class LabelConfig(PatchSetConfig):
    """Label scenes anew and cut them into a patch set, as prepare does."""

    method: Literal["unsupervised", "densities"] = "unsupervised"
    """unsupervised: tests against the scene's own clear pixels vote, and are believed as far as
    they agree; densities: what the classes of --teacher look like in all scenes together; pixels
    that are left in doubt have no label"""
    teacher: LabelChoice | Literal["unsupervised"] = "dual"
    """of densities: the mask whose classes are looked at; unsupervised: that of the other method"""
    model: Path | None = None
    """a run folder or .keras file that was trained on such labels: what it finds clear is compared
    with, instead of a first guess"""


@dataclasses.dataclass(frozen=True)
class VerifyConfig:
    """Check every file of a patch set against the checksums in its manifest."""

    patchset: Annotated[Path, tyro.conf.Positional]
    """folder of the patch set"""


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Measure a trained run on one split of a patch set, or masks (or a run) on whole scenes."""

    what: Annotated[Path, tyro.conf.Positional]
    """run folder, .keras model file, or folder of masks"""
    against: Annotated[Places, tyro.conf.Positional]
    """a patch set; or scene files, or folders that are searched for them, or URLs of products"""
    split: str = "valid"
    """which split of the patch set"""
    label: LabelChoice = "any"
    """which mask of an SLSTR scene is the label, as in prepare"""
    threshold: float | None = None
    """probability from which a pixel of a two-class model counts as the second class (default: 0.5,
    or that of the masks)"""
    masks: Path | None = None
    """where a run's masks of scenes are written (default: masks in the run folder)"""
    overwrite: bool = False
    """replace masks there that another model or other options have made"""
    batch_size: int = 8
    """patches per forward pass"""
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "float32"
    """arithmetic of the network; tf32: float32 with 10 bits of mantissa, on GPUs that have it"""
    verify: bool = True
    """check what is read first: patch files by the checksums of their manifest, .SEN3 products by
    the MD5s of theirs"""
    out: Path | None = None
    """JSON file for the result (default: evaluation-SPLIT.json in the run folder, of scenes
    evaluation.json in the folder of their masks)"""


@dataclasses.dataclass(frozen=True)
class MllogConfig:
    """Write finished runs as a result set of the MLCommons Science benchmark CloudMask."""

    runs: Annotated[Paths, tyro.conf.Positional]
    """run folders: all that were made under the same conditions, but for their seeds; or one
    scaling study, each of whose rank counts becomes a set DESCRIPTOR-MODE-nRANKS"""
    out: Path
    """folder of the result tree; the set goes to OUT/ORG/cloudmask/SYSTEM/DESCRIPTOR"""
    org: str
    """who submits, as a folder name"""
    system: str
    """what the runs were made on, as a folder name"""
    descriptor: str = "experiment-1"
    """what tells this set from others on the system, as a folder name"""
    status: Literal["research", "onprem", "cloud", "preview"] = "research"
    """how the system can be had"""
    runs_made: int | None = None
    """how many runs were made in all, if these are the best of them (default: not declared)"""
    staging_seconds: float | None = None
    """what bringing the data near took before each run, which counts; --stage is known already"""
    caches_flushed: bool = False
    """declare that the nodes' caches were flushed before each run"""
    code_url: str | None = None
    """where the code can be had"""
    data_url: str | None = None
    """where, or by which command, the data can be had"""
    overwrite: bool = False
    """replace the results of a set that is there"""


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Predict whole scenes with a trained network, one mask file per scene."""

    run: Annotated[Path, tyro.conf.Positional]
    """run folder, or a .keras model file"""
    scenes: Annotated[Places, tyro.conf.Positional]
    """scene files, or folders that are searched for them, or URLs of products"""
    out: Path
    """folder for the masks"""
    models: Paths = ()
    """more runs or models, say of other seeds: their mean probability and its spread are written"""
    threshold: float = 0.5
    """probability from which a pixel of a two-class model is of the second class"""
    tile: int = 2048
    """largest rows and columns computed at once; less takes less memory"""
    overlap: int | None = None
    """pixels dropped at each cut (default: what the network can see, so that no seam exists)"""
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto"
    """arithmetic of the network; auto: bfloat16 where the device has it, else float32; tf32:
    float32 with 10 bits of mantissa, on GPUs that have it"""
    format: Literal["netcdf", "hdf5", "geotiff"] = "netcdf"
    """netcdf: CF NetCDF; hdf5: the benchmark's layout, mask (1, H, W, 1); geotiff: cloud-optimised
    GeoTIFF, of a swath with ground control points"""
    verify: bool = True
    """check the files of a .SEN3 product against the MD5s of its manifest"""
    overwrite: bool = False
    """replace masks that another model or other options have made; those of a scene that has
    changed since are always made again"""


@dataclasses.dataclass(frozen=True)
class CalibrateConfig:
    """Make a trained network better by a few scenes whose mask is known: a new model file."""

    run: Annotated[Path, tyro.conf.Positional]
    """run folder, or a .keras model file; of two classes, and not calibrated yet"""
    scenes: Annotated[Places, tyro.conf.Positional]
    """the scenes, as files or in folders; never judge the new model on them"""
    label: LabelChoice = "truth"
    """which mask of a scene is taken for right"""
    teacher: LabelChoice | None = None
    """also weigh this mask, say any: the network then needs it of every scene it predicts"""
    out: Path | None = None
    """the new model (default: calibrated.keras beside the model)"""
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto"
    """arithmetic of the network, as in predict"""
    tile: int = 2048
    """largest rows and columns computed at once; less takes less memory"""
    verify: bool = True
    """check the files of a .SEN3 product against the MD5s of its manifest"""
    overwrite: bool = False
    """replace the file at --out, unless it is the model itself"""


@dataclasses.dataclass(frozen=True)
class RefurbishConfig:
    """Write a patch set again with soft targets: its labels, weighed against what networks say that
    never saw them."""

    sources: Annotated[Paths, tyro.conf.Positional, tyro.conf.arg(metavar="RUN ... PATCHES")]
    """run folders, or .keras model files, that were trained with --fold, and that together have
    left out every scene; then the patch set, of two classes"""
    out: Path
    """folder for the new patch set"""
    strip: tuple[int, int] | None = None
    """columns FIRST to END (not included) of a scene where the labels err otherwise, such as those
    that both views see: counted apart"""
    fill: bool = False
    """let pixels without a label count too, as the networks see them"""
    least_logit: float = 0.4
    """targets whose logit is nearer to zero do not count"""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """arithmetic of the networks; tf32: float32 with 10 bits of mantissa, on GPUs that have it"""
    verify: bool = True
    """check the patch files against the checksums in their manifest first"""

    @property
    def runs(self) -> Paths:
        return self.sources[:-1]

    @property
    def patches(self) -> Path:
        return self.sources[-1]


@dataclasses.dataclass(frozen=True)
class DescribeConfig:
    """Write model.json beside trained models: what each takes and gives, as a STAC Item."""

    runs: Annotated[Paths, tyro.conf.Positional]
    """run folders, or .keras model files"""


@dataclasses.dataclass(frozen=True)
class QuicklookConfig:
    """Draw masks, and the scene of one, as PNG pictures with their legends."""

    masks: Annotated[Paths, tyro.conf.Positional]
    """mask files (.nc, .h5 or .tif), or folders of them"""
    out: Path
    """folder for the pictures"""
    scene: Path | None = None
    """the scene of a single mask: its colours, label and differences are drawn too"""
    label: LabelChoice = "any"
    """which mask of an SLSTR scene is the label, as in prepare"""


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Show a run and the masks it made on one page: figures, curves, and pictures of scenes."""

    sources: Annotated[Paths, tyro.conf.Positional]
    """run folders, or folders of evaluated masks"""
    out: Path
    """the page, say report.html; full-size pictures go into report_files beside it"""
    show: int = 20
    """scenes with pictures, the worst first; the table has all"""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Train a U-Net on a patch set, on as many ranks as the launcher starts."""

    data: Path
    """folder of the patch set"""
    out: Path
    """run folder: checkpoints, model, logs, summary"""
    init: Path | None = None
    """start from the weights of this run folder or .keras file: same channels, classes, widths,
    up-sampling and options that add planes"""
    fold: str | None = None
    """K/N, K from 0: learn from no scene of the K-th of N folds, which a scene's orbit or else its
    name decides in any patch set; see cloudmask refurbish"""
    epochs: int = 30
    """passes over the training patches"""
    batch_size: int = 4
    """patches per rank and step"""
    global_batch: int | None = None
    """patches per step over all ranks; replaces --batch-size"""
    max_steps: int | None = None
    """stop after this many steps, whatever --epochs says"""
    lr: float = 1e-3
    """learning rate of Adam"""
    lr_scaling: Literal["none", "linear", "sqrt"] = "none"
    """how the learning rate grows with the number of ranks"""
    warmup_epochs: float = 0.0
    """epochs in which the learning rate rises linearly from zero to its full value"""
    lr_decay: Literal["none", "cosine"] = "cosine"
    """cosine: the learning rate falls to zero over --epochs (or --max-steps)"""
    precision: Literal["auto", "float32", "tf32", "bfloat16", "float16"] = "auto"
    """arithmetic of the network; auto: bfloat16 where the device has it, else float32; tf32:
    float32 with 10 bits of mantissa, on GPUs that have it"""
    loss: Literal["bce", "wbce", "gce", "sce", "bootstrap"] = "bce"
    """cross-entropy, plain or with --pos-weight (two classes) or class weights; or, for labels of
    two classes that err at random, generalised, symmetric or bootstrapped cross-entropy"""
    pos_weight: float = 0.5
    """weight of the second class in wbce with two classes"""
    class_weights: tuple[float, ...] = ()
    """weight of each class in wbce with more than two classes"""
    clip_offset: int = 0
    """pixels at each side of a patch that do not count in the loss"""
    widths: tuple[int, ...] = (32, 64, 128, 256)
    """channels of the network's levels, from the top"""
    dropout: tuple[float, ...] = ()
    """dropout of each level (default: none)"""
    upsampling: Literal["nearest", "transposed"] = "nearest"
    """how the network comes back to full size: each pixel four times, or a learned (transposed) 2x2
    convolution of stride two"""
    missing_channel: bool = False
    """let the network see where a channel is missing, as one plane more; else it sees the mean"""
    fixed_mean: tuple[float, ...] = ()
    """subtracted from each channel (default: the mean of the training pixels)"""
    fixed_std: tuple[float, ...] = ()
    """divides each channel (default: the standard deviation of the training pixels)"""
    decorrelate: bool = False
    """show the network the channels a second time, taken apart where they go together: what differs
    between neighbouring bands is then seen from the start"""
    augment: bool = True
    """flips, quarter turns, and changes of gain and offset per channel"""
    augment_gain: float = 0.2
    """largest change of gain, and of offset in standard deviations, of each channel by itself"""
    augment_shared: float = 0.3
    """the same for all channels of a patch together"""
    augment_missing: float = 0.0
    """share of the patches, drawn anew in each epoch, in which some channels are made missing: by
    day too the network then learns to do without what night scenes lack"""
    augment_missing_channels: tuple[str, ...] = ()
    """which channels these are (default: those that some training scenes lack altogether)"""
    shuffle: Literal["shard", "global"] = "shard"
    """shard: each rank keeps its own part of the patches; global: the same batches at every N"""
    stage: Path | None = None
    """copy what a host's ranks read to this folder on its own disk first, checked on the way"""
    cache: Literal["none", "memory", "device"] = "none"
    """where a rank keeps its patches: in memory once read, or in its device's from the start"""
    patience: int = 0
    """stop after this many epochs without a better validation loss, those that were not validated
    included (0: never)"""
    target_accuracy: float | None = None
    """note when validation accuracy first reaches this, and stop there with --stop-at-target"""
    stop_at_target: bool = False
    """stop at the epoch that reaches --target-accuracy"""
    validate_every: int = 1
    """epochs between validations"""
    checkpoint_steps: int = 0
    """also write a checkpoint every so many steps (0: only at each epoch's end)"""
    keep: int = 3
    """checkpoints to keep beside the best one"""
    elastic: bool = False
    """outlive the loss of ranks, and take in new ones, under horovodrun's elastic driver"""
    commit_steps: int = 10
    """steps between --elastic's copies of the state in memory: what a loss can cost"""
    resume: bool = False
    """go on from the newest checkpoint in --out that verifies"""
    verify: bool = True
    """check every file of the patch set before training; the ranks share the work"""
    stall_seconds: float = 600.0
    """end the run when a rank has not got on for so long (0: never); what it does for the first
    time (start, check, compile, validate) may take six times as long"""
    seed: int = 0
    """seed of weights, order and augmentation"""
    threads: int | None = None
    """threads per rank (default: the cores the rank may use, and its share of a CPU quota)"""
    timing_every: int | None = None
    """steps from one whose computing and communication is clocked to the next (default: 1 on CPUs;
    10 on GPUs, which a clock holds up)"""
    rank_times: bool = False
    """write the times of every step of all ranks, a file each, and not of rank 0 alone"""
    narrow_gradients: bool = False
    """sum a filter's gradient over narrow pieces of the image, in float32 on CPUs: faster on wide
    patches (1.23 times with AVX2), but with other last bits"""
    noise_scale: bool = False
    """measure the gradient noise scale: up to which batch a larger one saves steps"""
    xla: bool = False
    """compile the forward and backward pass; no gradient travels before all are there"""
    horovod: bool = True
    """join the ranks by Horovod; without it one process trains by itself, as a base to compare"""
    tensorboard: bool = True
    """write TensorBoard scalars to OUT/tensorboard"""
    emulate: float | None = None
    """no training: wait so many seconds instead of computing a step; all else is done for real"""
    emulate_spread: float = 0.02
    """relative spread of that wait, drawn for each rank and step"""
