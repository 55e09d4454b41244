"""The container image as far as it needs no builder: which one is chosen, what it is told."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import image
import pytest

ROOT = Path(__file__).resolve().parents[1]
HOST = ROOT / "jobs" / "cloudmask-host"


@pytest.mark.parametrize(
    ("there", "working", "chosen"),
    [
        ({"docker", "podman", "buildah"}, {"docker", "podman", "buildah"}, "docker"),
        ({"docker", "buildah"}, {"buildah"}, "buildah"),
        ({"podman"}, {"podman"}, "podman"),
    ],
)
def test_first_builder_that_works_is_chosen(there, working, chosen):
    assert image.choose(there.__contains__, working.__contains__) == chosen


@pytest.mark.parametrize(
    ("there", "message"),
    [(set(), "none of docker, podman, buildah found"), ({"docker"}, "`docker info` failed")],
)
def test_without_a_builder_the_way_out_is_named(there, message):
    with pytest.raises(ValueError, match=message) as caught:
        image.choose(there.__contains__, set().__contains__)
    assert "install" in str(caught.value)


def test_make_image_without_a_builder_says_so_in_one_line(tmp_path):
    for name, target in (("python3", sys.executable), ("make", shutil.which("make"))):
        (tmp_path / name).symlink_to(target)
    for name in ("sh", "id"):
        (tmp_path / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        ["make", "-s", "image"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if not line.startswith("make")] == [
        "image: none of docker, podman, buildah found: install one (Debian: apt install buildah)"
    ]


def test_command_names_device_and_commit_and_ends_with_the_users_own_flags():
    assert image.command("docker", device="cpu", commit="abc", flags=["--pull"]) == [
        *("docker", "build", "--tag", "cloudmask:cpu"),
        *("--build-arg", "DEVICE=cpu", "--build-arg", "COMMIT=abc", "--pull", "."),
    ]


def test_buildah_is_asked_to_keep_layers():
    words = image.command("buildah", device="cpu", commit="", flags=[])
    assert words[:5] == ["buildah", "build", "--tag", "cloudmask:cpu", "--layers"]


def test_gpu_image_differs_from_the_others_by_its_device_alone():
    cpu, gpu = (
        image.command("podman", device=device, commit="", flags=[]) for device in image.DEVICES
    )
    assert [word.replace("gpu", "cpu") for word in gpu] == cpu
    assert "--build-arg" in gpu


def joined(path):
    """The lines of a file, continued ones in one."""
    return (ROOT / path).read_text().replace("\\\n", " ")


def words_after(text, command):
    """Of every such command its plain words, up to the end of the line or the next `&&`."""
    found = re.findall(rf"{command}(.*?)(?:&&|\n)", text)
    return [{word for word in rest.split() if not word.startswith("-")} for rest in found]


def test_apptainers_definition_does_what_the_dockerfile_does():
    both = dockerfile, definition = joined("Dockerfile"), joined("jobs/cloudmask.def")
    tools, runs = words_after(dockerfile, "apt-get install")
    assert {"g++", "make"} <= tools
    assert words_after(definition, "apt-get install") == [tools, runs - {"openssh-server"}]
    assert all(re.search(r"setup\.py --device \S+ --image\s", text) for text in both)
    names = ("PATH", "OPAL_PREFIX", "OMPI_MCA_btl_vader_single_copy_mechanism")
    for name in names:
        values = [re.findall(rf"\b{name}=(\S+)", text) for text in (dockerfile, definition)]
        assert len(values[0]) == 1
        assert values[0] == values[1], name


def section(definition, name, number):
    """The plain lines of the so-many-th section of an Apptainer definition."""
    found = re.findall(rf"^%{name}\b.*\n((?:(?:[ \t].*)?\n)*)", definition, flags=re.MULTILINE)
    return [line.split() for line in found[number].splitlines() if line.split()]


def test_the_environment_is_made_of_locks_and_setup_alone_so_that_sources_never_rebuild_it():
    made_of = {"requirements-cpu.lock", "requirements-build.lock", "scripts/setup"}
    first = joined("Dockerfile").rpartition("\nFROM ${BASE}\n")[0]
    first = first.replace("${DEVICE}", "cpu").replace("build*", "build")
    copied = [line.split()[:-1] for line in re.findall(r"^COPY (.*)", first, flags=re.MULTILINE)]
    assert {source for sources in copied for source in sources} == made_of
    definition = joined("jobs/cloudmask.def")
    assert {source for source, _ in section(definition, "files", 0)} == made_of


def test_apptainers_image_holds_what_the_dockerfiles_does_but_for_setup_and_jobs():
    ignored = (ROOT / ".dockerignore").read_text()
    context = {line[1:] for line in ignored.splitlines() if line.startswith("!")}
    files = section(joined("jobs/cloudmask.def"), "files", 2)
    assert {source for source, _ in files} == context - {"scripts", "jobs", "requirements-*.lock"}
    assert all(target == f"/opt/cloudmask/{source}" for source, target in files)


def test_compilers_stay_in_the_first_stage():
    first, _, last = joined("Dockerfile").rpartition("\nFROM ${BASE}\n")
    assert words_after(first, "apt-get install")[0] >= {"g++", "make"}
    assert not words_after(last, "apt-get install")[0] & {"g++", "make", "python3-venv"}


def test_host_without_keys_names_the_folder_to_mount(tmp_path):
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run([HOST], env=variables, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert (
        f"mount a folder with authorized_keys and a private key as {tmp_path}/.ssh" in done.stderr
    )
