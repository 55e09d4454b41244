"""What is installed and under which name: scripts, extras, the content of the wheel, the advice."""

import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest
from imports import ROOT, modules

from cloudmask.cli import errors

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME, EXTRAS = PROJECT["name"], PROJECT["optional-dependencies"]
SCRIPTS = ("cloudmask", "cloudmask-train", "scaling", "seaice")

# Whoever tells a tool to install `cloudmask` gets another project's package.
ADVICE = re.compile(
    r"""\b(?:pip3?|pipx|uv|poetry|pdm|conda|mamba)\b.*?\s(?:install|add)\s+
    (?:(?!in\b)['"]?[\w.,\[\]<>=~!-]+['"]?\s+)*?['"]?cloudmask(?![\w/.-])
    |cloudmask(?:-hvd)?\[[a-z]""",
    re.VERBOSE,
)
OURS = ("cloudmask", "scaling", "seaice", "train_hvd")
# Import names that are not the names of their distributions.
DISTRIBUTIONS = {
    **{"cv2": "opencv-python-headless", "skimage": "scikit-image", "yaml": "pyyaml"},
    **{"mlperf_logging": "mlperf-logging"},
}
# What comes with a library that depends on it for good. Horovod is built by setup.
COME_ALONG = {
    **{"keras": "tensorflow-cpu", "py4j": "pyspark", "markupsafe": "jinja2", "PIL": "matplotlib"},
    "dask": "satpy",
}
BUILT = {"horovod"}
# Takes and makes xarray's arrays where the caller has them.
XARRAYS = "cloudmask/predict/xarrays.py"
TRAIN = ("cloudmask/train", "cloudmask/model", "cloudmask/predict", "cloudmask/evaluate")
# Of the networks' house, what alone wants the extra fits: a calibration blurs.
CALIBRATION = "cloudmask/model/calibration.py"
# Which modules each extra is for; what is in none of them needs the core alone.
SPARK = ("seaice/spark.py", "seaice/spark_session.py")
SEAICE = sorted(path for path in modules("seaice") if path not in SPARK)
GEOTIFF = "cloudmask/predict/masks/geotiff.py"
MASKS = [path for path in modules("cloudmask/predict/masks") if path != GEOTIFF]
MODULES = {
    "masks": MASKS,
    "geotiff": [GEOTIFF],
    "mpi": ["cloudmask/data/parallel.py"],
    "products": ["cloudmask/data/formats/safe", *MASKS, XARRAYS],
    "zarr": ["cloudmask/data/formats/eopf.py", "cloudmask/data/formats/remote.py"],
    "train": [
        *(path for path in modules(*TRAIN) if path not in (XARRAYS, GEOTIFF, CALIBRATION)),
        *("cloudmask/data/parallel.py", "scaling/measure"),
    ],
    "fits": ["scaling/laws", "cloudmask/labels", CALIBRATION],
    "mllog": ["cloudmask/mlcommons"],
    "report": ["cloudmask/report", *MASKS, "scaling/report"],
    "seaice": [*SEAICE, *MASKS],
    "spark": ["seaice"],
}


def brought(extra):
    """Distributions that an extra names, those of extras within it too, by their plain names."""
    found = set()
    for requirement in EXTRAS[extra]:
        name, inner = re.match(r"([\w-]+)(?:\[([\w,-]+)\])?", requirement).groups()
        if name == NAME:
            found |= {item for part in inner.split(",") for item in brought(part)}
        else:
            found.add(name.lower())
    return found


CORE = {re.match(r"[\w-]+", requirement)[0].lower() for requirement in PROJECT["dependencies"]}


def wanted(names):
    """Imported names -> distributions that must be named."""
    tops = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - set(OURS)
    carried = {COME_ALONG.get(top, DISTRIBUTIONS.get(top, top)) for top in tops - BUILT}
    return {name.lower() for name in carried}


def alike(names):
    """TensorFlow is published under two names, of one content."""
    return {"tensorflow-cpu" if name == "tensorflow" else name for name in names}


@pytest.mark.parametrize("extra", MODULES)
def test_an_extra_holds_all_that_its_modules_import(extra):
    found = modules(*MODULES[extra])
    assert found
    for path, names in found.items():
        assert alike(wanted(names)) <= alike(brought(extra)) | CORE, path
    if extra == "train":
        assert alike(brought("train")) <= alike(brought("train-gpu"))


def test_every_import_of_ours_is_in_the_core_or_in_an_extra():
    covered = {path: extra for extra, places in MODULES.items() for path in modules(*places)}
    for path, names in modules("cloudmask", "scaling", "seaice", "train_hvd.py").items():
        assert path in covered or alike(wanted(names)) <= CORE, path
    assert {re.match(r"[\w-]+", name)[0] for name in EXTRAS["all"]} == {NAME}
    device, groups = {"train", "train-gpu"}, {"masks", "mpi", "horovod-needs"}
    assert {
        *("train", "products", "zarr", "geotiff", "report", "fits", "mllog", "seaice"),
        *("spark", "dev"),
    } == (EXTRAS.keys() - groups - {"all"} - device | {"train"})
    everything = brought("all")
    assert all(brought(extra) <= everything for extra in EXTRAS if extra != "train-gpu")


@pytest.mark.parametrize(("name", "carrier"), COME_ALONG.items())
def test_what_comes_along_is_required_by_its_carrier(name, carrier):
    needed = importlib.metadata.requires(carrier)
    distribution = {"PIL": "pillow"}.get(name, name)
    assert any(
        re.match(r"[\w-]+", line)[0].lower() == distribution and "extra ==" not in line
        for line in needed
    )


def test_locks_hold_what_the_extras_bring():
    for lock, extra in (("cpu", "train"), ("gpu", "train-gpu")):
        text = (ROOT / f"requirements-{lock}.lock").read_text()
        pinned = set(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==", text, flags=re.MULTILINE))
        named = brought(extra) | (brought("all") - {"tensorflow-cpu"}) | CORE
        assert named <= pinned
        assert "via cloudmask (" not in text


def test_messages_name_extras_that_bring_the_library():
    for library, extra in errors.EXTRAS.items():
        assert alike(wanted({library})) <= alike(brought(extra)), library
    advised = r"""missing\([^)]*?,\s*["']([\w-]+)["']\)"""
    for path in [path for folder in OURS[:3] for path in (ROOT / folder).rglob("*.py")]:
        for extra in re.findall(advised, path.read_text()):
            assert extra in EXTRAS, path


def texts():
    """Path and text of each file of the repository that is text."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in done.stdout.splitlines():
        try:
            yield name, (ROOT / name).read_text()
        except (UnicodeDecodeError, OSError):
            continue


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("pip install cloudmask", True),
        ("pip install -U 'cloudmask[seaice]'", True),
        ("pip install numpy cloudmask==1", True),
        ("uv add cloudmask", True),
        ('pipx install "cloudmask"', True),
        ("pip install cloudmask-hvd[train]", True),
        ("pip install '.[seaice]' in the checkout of cloudmask", False),
        ("pip install --editable /opt/cloudmask", False),
        ("pip install -e .", False),
    ],
)
def test_advice_to_install_from_an_index_is_recognized(line, wrong):
    assert bool(ADVICE.search(line)) == wrong


def test_no_text_advises_to_install_cloudmask_from_an_index():
    allowed = {"pyproject.toml", "tests/test_packaging.py"}
    found = [
        f"{name}: {match[0]}"
        for name, text in texts()
        if name not in allowed
        for match in ADVICE.finditer(text)
    ]
    assert not found
    for name, text in texts():
        for extras in re.findall(r"install '?\.\[([\w,-]+)\]", text):
            assert set(extras.split(",")) <= EXTRAS.keys(), (name, extras)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_console_script_says_what_it_takes(script):
    assert PROJECT["scripts"].keys() == set(SCRIPTS)
    module, _, function = PROJECT["scripts"][script].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    code = f"import sys; from {module} import {function}; sys.exit({function}())"
    words = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


def test_the_wheel_holds_the_packages_and_their_data(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob(f"{NAME.replace('-', '_')}-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    data = ("py.typed", "*.yaml", "*.html", "*.jinja", "references/*.json")
    places = [ROOT / folder for folder in OURS[:3]]
    expected = {"train_hvd.py"}
    for place in places:
        expected |= {path for kind in ("*.py", *data) for path in place.rglob(kind)}
    names = {
        name if isinstance(name, str) else name.relative_to(ROOT).as_posix() for name in expected
    }
    assert names <= held
    assert {f"{folder}/py.typed" for folder in OURS[:3]} <= held
    assert "cloudmask/presets/tiny.yaml" in held
    assert any(name.endswith(".html") for name in names)
    assert any(name.endswith(".jinja") for name in names)
    assert any("references/" in name for name in names)
    elsewhere = ("tests", "benchmarks", "scripts", "scaling/example")
    assert not any(name.startswith(elsewhere) for name in held)
