"""The scripts of `make setup`: their pure parts, and the one line they say when they give up."""

import dataclasses
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import build_horovod
import cuda_toolkit
import environment
import horovod_edits
import horovod_target
import lockfile
import packages
import pytest
import verify_horovod
import wanted
from horovod_edits import Edit
from horovod_target import Target
from stages import Failure, run
from stamp import Environment

ROOT = Path(__file__).resolve().parent.parent
CPU = Target(
    device="cpu",
    tensorflow="2.21.0",
    openmpi="4.1.8",
    compiler="g++-12.2.0",
    python_tag="cp311",
    machine="linux-x86_64",
)
GPU = dataclasses.replace(CPU, device="gpu", cuda="12.9", nccl="2.32", cuda_architectures="70,80")


@pytest.fixture
def bare_checkout(tmp_path: Path) -> Path:
    """What setup reads, in a folder without .venv."""
    shutil.copytree(ROOT / "scripts" / "setup", tmp_path / "scripts" / "setup")
    (tmp_path / "cloudmask").mkdir()
    for name in ["pyproject.toml", "Makefile", "cloudmask/version.py"]:
        shutil.copy(ROOT / name, tmp_path / name)
    for lock in ROOT.glob("requirements-*.lock"):
        shutil.copy(lock, tmp_path)
    return tmp_path


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


def run_setup(
    checkout: Path, path: Path, *options: str, **more: str
) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": str(path), "HOME": str(checkout)} | more
    command = [sys.executable, checkout / "scripts" / "setup" / "setup.py", *options]
    return subprocess.run(command, env=variables, capture_output=True, text=True)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Target)])
def test_cache_key_changes_with_everything_the_wheel_depends_on(field: str) -> None:
    changed = dataclasses.replace(GPU, **{field: "cpu" if field == "device" else "other"})
    assert changed.key() != GPU.key()


def test_cache_key_is_a_folder_name() -> None:
    assert "/" not in GPU.key()
    assert len(GPU.key()) < 255


def test_edit_replaces_its_text() -> None:
    assert Edit("file", "old\n", "new\n").applied("a\nold\nb\n") == "a\nnew\nb\n"


@pytest.mark.parametrize("text", ["nothing to change", "old, and once more old"])
def test_edit_refuses_text_that_does_not_hold_it_exactly_once(text: str) -> None:
    with pytest.raises(Failure, match="does not fit this sdist"):
        Edit("file", "old", "new").applied(text)


def test_edits_of_both_devices_leave_out_xla_and_only_gpu_changes_the_stream() -> None:
    cpu, gpu = map(horovod_edits.edits_for, horovod_target.DEVICES)
    assert set(cpu) & set(gpu) == set(horovod_edits.EDITS)
    assert set(gpu) - set(cpu) == set(horovod_edits.GPU_EDITS)
    assert "xla_mpi_ops.cc" in cpu[0].old
    assert cpu[0].new == ""


def test_unpack_applies_the_edits(tmp_path: Path) -> None:
    sdist, name = tmp_path / "horovod.tar.gz", f"horovod-{horovod_edits.HOROVOD}/a/CMakeLists.txt"
    with tarfile.open(sdist, "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = 3
        archive.addfile(member, io.BytesIO(b"old"))
    root = build_horovod.unpack(sdist, tmp_path, [Edit("a/CMakeLists.txt", "old", "new")])
    assert (root / "a" / "CMakeLists.txt").read_text() == "new"


def test_sdist_with_another_sum_is_refused(tmp_path: Path) -> None:
    sdist = tmp_path / "horovod-0.28.1.tar.gz"
    sdist.write_bytes(b"not horovod")
    with pytest.raises(Failure, match="refused"):
        build_horovod.check_sha256(sdist, horovod_edits.SDIST_SHA256)


def build_variables(
    target: Target, inherited: dict[str, str], cuda_home: Path | None = None
) -> dict[str, str]:
    return build_horovod.build_environment(
        target,
        cuda_home=cuda_home,
        environment_bin=Path("/env/bin"),
        build_bin=Path("/build/bin"),
        site_packages=Path("/env/site-packages"),
        jobs=3,
        inherited=inherited,
    )


def test_build_finds_its_own_tools_first_then_the_mpi_of_the_environment() -> None:
    variables = build_variables(CPU, {"PATH": "/usr/bin", "MPI_HOME": "/opt/site-mpi"})
    assert variables["PATH"] == "/build/bin:/env/bin:/usr/bin"
    assert variables["MPI_HOME"] == "/env"


def test_build_inherits_the_compiler_but_no_horovod_or_make_settings() -> None:
    inherited = {"CXX": "clang++", "HOROVOD_WITHOUT_GLOO": "1", "MAKEFLAGS": "w -- DEVICE=cpu"}
    variables = build_variables(CPU, inherited)
    assert variables["CXX"] == "clang++"
    assert variables["MAKEFLAGS"] == "-j3"
    assert "HOROVOD_WITHOUT_GLOO" not in variables


def test_only_a_gpu_build_asks_for_nccl() -> None:
    assert not {name for name in build_variables(CPU, {}) if "NCCL" in name or "GPU" in name}
    variables = build_variables(GPU, {}, Path("/cuda"))
    assert variables["HOROVOD_GPU_OPERATIONS"] == "NCCL"
    assert variables["HOROVOD_NCCL_HOME"] == "/env/site-packages/nvidia/nccl"
    assert variables["HOROVOD_NCCL_LINK"] == "SHARED"
    assert variables["HOROVOD_BUILD_CUDA_CC_LIST"] == "70,80"


def test_gpu_build_uses_the_chosen_toolkit_whatever_the_machine_has() -> None:
    site = {"PATH": "/usr/local/cuda/bin:/usr/bin", "CUDA_HOME": "/site", "NVCC_CCBIN": "g++-4"}
    variables = build_variables(GPU, site, Path("/cuda"))
    assert variables["PATH"] == "/build/bin:/cuda/bin:/env/bin:/usr/local/cuda/bin:/usr/bin"
    assert variables["HOROVOD_CUDA_HOME"] == variables["CUDAToolkit_ROOT"] == "/cuda"
    assert not {"CUDA_HOME", "NVCC_CCBIN"} & variables.keys()


def test_openmpi_is_that_of_the_environment_whatever_another_mpirun_says(tmp_path: Path) -> None:
    packages.point_to_openmpi(tmp_path)
    names = ("OPAL_PREFIX", "PMIX_INSTALL_PREFIX")
    program = (
        f"import os, site, sys; site.addsitedir({str(tmp_path)!r}); "
        f"print(sys.prefix, *[os.environ[name] for name in {names}])"
    )
    result = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env=os.environ | dict.fromkeys(names, "/another/environment"),
        capture_output=True,
        text=True,
    )
    prefix, *others = result.stdout.split()
    assert others == [prefix, prefix]


def test_setup_run_by_another_environments_python_does_not_inherit_its_openmpi() -> None:
    inherited = {"OPAL_PREFIX": "/another", "PMIX_INSTALL_PREFIX": "/another", "LANG": "C"}
    variables = environment.child_variables(inherited, Environment(Path("/env")))
    assert not {"OPAL_PREFIX", "PMIX_INSTALL_PREFIX"} & variables.keys()
    assert variables["LANG"] == "C"


@pytest.mark.parametrize(("cuda", "expected"), [("12.9", "70,75,80,90"), ("13.0.88", "75,80,90")])
def test_cuda_architectures_are_those_the_toolkit_still_knows(cuda: str, expected: str) -> None:
    assert cuda_toolkit.architectures(cuda) == expected


def test_compiler_for_gpus_is_that_of_the_lock_unless_a_toolkit_is_named(tmp_path: Path) -> None:
    lock = (ROOT / "requirements-build-gpu.lock").read_text()
    assert cuda_toolkit.own({}) is None
    assert cuda_toolkit.version({}, lock).startswith("13.0.")
    (tmp_path / "bin").mkdir()
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.write_text("#!/bin/sh\necho Cuda compilation tools, release 12.9, V12.9.86\n")
    nvcc.chmod(0o755)
    named = {"HOROVOD_CUDA_HOME": str(tmp_path)}
    assert cuda_toolkit.own(named) == tmp_path
    assert cuda_toolkit.version(named, lock) == "12.9"
    nvcc.unlink()
    with pytest.raises(Failure, match=f"{tmp_path} holds no CUDA toolkit"):
        cuda_toolkit.version(named, lock)


def test_toolkit_of_packages_gets_the_names_that_compilers_look_for(tmp_path: Path) -> None:
    home = cuda_toolkit.packaged(tmp_path)
    cuda_toolkit.complete(home)  # of the other device: no such folder
    (lib := home / "lib").mkdir(parents=True)
    (lib / "libcudart.so.13").touch()
    for _ in range(2):
        cuda_toolkit.complete(home)
        assert (home / "lib64" / "libcudart.so").resolve() == lib / "libcudart.so.13"


def test_compiled_so_far_reads_the_last_percentage() -> None:
    log = "  [  7%] Building CXX object a.o\n  [ 31%] Building CXX object b.o\n  [ 40%] Linking\n"
    assert build_horovod.compiled_so_far(log) == "  compiled 31 %"
    assert build_horovod.compiled_so_far("-- Configuring done\n") is None


def test_library_gets_the_link_that_its_wheel_lacks_and_keeps_it(tmp_path: Path) -> None:
    folder = tmp_path / "nvidia" / "nccl" / "lib"
    cuda_toolkit.link_shared(folder / "libnccl.so")  # of the other device: no such folder
    folder.mkdir(parents=True)
    (folder / "libnccl.so.2").touch()
    for _ in range(2):
        cuda_toolkit.link_shared(folder / "libnccl.so")
        assert (folder / "libnccl.so").resolve() == folder / "libnccl.so.2"


def test_cache_folder_follows_the_variables() -> None:
    assert environment.cache_folder({"HOME": "/h"}) == Path("/h/.cache/cloudmask")
    xdg = {"HOME": "/h", "XDG_CACHE_HOME": "/x"}
    assert environment.cache_folder(xdg) == Path("/x/cloudmask")
    assert environment.cache_folder(xdg | {"CLOUDMASK_CACHE": "/c"}) == Path("/c")


@pytest.mark.parametrize("device", horovod_target.DEVICES)
def test_lock_pins_what_horovod_is_built_against_and_names_no_index(device: str) -> None:
    lock = (ROOT / f"requirements-{device}.lock").read_text()
    versions = lockfile.locked_versions(lock)
    assert versions["openmpi"] == "4.1.8"
    assert versions["tensorflow" if device == "gpu" else "tensorflow-cpu"] == "2.21.0"
    assert "://" not in lock
    assert lock.count("==") < lock.count("--hash=sha256:")


def test_packages_of_the_other_device_and_the_former_name_are_strays() -> None:
    installed = [
        "tensorflow-cpu",
        "Typing_Extensions",
        "pip",
        "horovod",
        "cloudmask-hvd",
        "cloudmask",
    ]
    lock = "tensorflow==2.21.0 \\\ntyping-extensions==4.16.0 ; python_version < '3.12' \\\n"
    assert lockfile.strays(lock, installed, beside=packages.NOT_IN_LOCK) == [
        "cloudmask",
        "tensorflow-cpu",
    ]


@pytest.mark.parametrize("device", horovod_target.DEVICES)
def test_what_horovod_is_built_against_and_the_others_are_the_whole_lock(device: str) -> None:
    lock = (ROOT / f"requirements-{device}.lock").read_text()
    names = lockfile.locked_versions(lock).keys()
    first = lockfile.needed_by(lock, packages.BUILT_AGAINST)
    assert {"openmpi", "keras", "h5py", "numpy", "packaging"} < first < names
    assert not first & {"pyspark", "satpy", "opencv-python-headless", "scipy"}
    parts = [lockfile.without(lock, names - first), lockfile.without(lock, first)]
    assert sum(part.count("==") for part in parts) == lock.count("==")
    assert sum(part.count("--hash") for part in parts) == lock.count("--hash")


def test_needed_packages_are_found_through_others_and_each_version() -> None:
    lock = (
        "a==1 \\\n    --hash=sha256:aa\n    # via project (pyproject.toml)\n"
        "b==1 ; x \\\n    --hash=sha256:bb\n    # via d\n"
        "b==2 ; y \\\n    --hash=sha256:bb\n    # via\n    #   a\n    #   d\n"
        "c==1 \\\n    --hash=sha256:cc\n    # via b\nd==1 \\\n    --hash=sha256:dd\n"
    )
    assert lockfile.needed_by(lock, {"a"}) == {"a", "b", "c"}


def test_lock_laid_over_another_pins_what_differs_and_keeps_the_rest() -> None:
    lock = "# made\na==1 \\\n    --hash=sha256:aa\n    # via b\nb==1 \\\n    --hash=sha256:bb\n"
    other = (
        lock.replace("b==1", "b==2").replace("via b", "via c") + "c==1 \\\n    --hash=sha256:cc\n"
    )
    over = lockfile.differing(lock, other)
    assert lockfile.locked_versions(over) == {"b": "2", "c": "1"}
    both = lockfile.overlaid(lock, over)
    assert lockfile.locked_versions(both) == lockfile.locked_versions(other)
    assert both.count("--hash") == 3
    assert lockfile.differing(other, both) == "# made\n"


@pytest.mark.parametrize("device", horovod_target.DEVICES)
def test_locks_for_a_tensorflow_to_come_replace_that_package_and_drop_none(device: str) -> None:
    name = "tensorflow" if device == "gpu" else "tensorflow-cpu"
    own = lockfile.locked_versions(lockfile.read(ROOT, device))
    for path in ROOT.glob(f"requirements-{device}-tensorflow-*.lock"):
        version = path.stem.rpartition("-")[2]
        text = lockfile.read(ROOT, device, version)
        assert "://" not in text
        found = lockfile.locked_versions(text)
        assert (own[name], found[name]) == ("2.21.0", version)
        assert own.keys() <= found.keys()
        assert {"keras-nightly", "tensorflow" if device == "cpu" else "tensorflow-cpu"}.isdisjoint(
            found
        )


def test_tensorflow_that_no_lock_pins_is_one_line_that_names_those_there_are(
    bare_checkout: Path,
) -> None:
    result = run_setup(bare_checkout, Path(os.defpath), "--tensorflow", "2.9.1")
    assert result.returncode == 1
    assert re.search(
        "no lock pins TensorFlow 2.9.1 for DEVICE=cpu, only 2.21.0 and .*: use TENSORFLOW=",
        one_line(result.stdout + result.stderr),
    )


def test_the_locks_own_tensorflow_is_no_choice_that_has_to_be_kept() -> None:
    plain = wanted.read(ROOT, "cpu", None)
    assert wanted.read(ROOT, "cpu", "2.21.0") == plain
    assert plain.tensorflow == ""


def pip_stub(made: Environment, second: str) -> None:
    """A python whose first command ends well at once and whose second is a shell script."""
    made.python.unlink()
    made.site_packages.mkdir(parents=True)
    (made.folder / "etc").mkdir()
    first = made.folder / "first"
    script = f"#!/bin/sh\nif mkdir {first} 2>/dev/null; then exit 0; fi\n{second}\n"
    made.python.write_text(script)
    made.python.chmod(0o755)


def test_other_packages_are_there_when_the_block_has_ended(tmp_path: Path) -> None:
    made = fake_environment(tmp_path / ".venv")
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    os.mkfifo(begun)
    pip_stub(made, f"read line < {begun}; touch {ended}")
    with packages.installing(made, "a==1\n", os.environ):
        assert (made.folder / "first").exists()
        assert not ended.exists()
        begun.write_text("go on\n")
    assert ended.exists()


def test_other_packages_that_fail_are_a_failure(tmp_path: Path) -> None:
    pip_stub(made := fake_environment(tmp_path / ".venv"), "echo the reason; exit 3")
    with (
        pytest.raises(Failure, match=r"(?s)installing packages failed.*the reason"),
        packages.installing(made, "a==1\n", os.environ),
    ):
        pass


def test_other_packages_that_fail_end_the_build_at_once(tmp_path: Path) -> None:
    """The build waits for ever unless it is ended; the pipe tells that it has begun."""
    os.mkfifo(begun := tmp_path / "begun")
    pip_stub(made := fake_environment(tmp_path / ".venv"), f"read x < {begun}; echo why; exit 3")
    build = ["sh", "-c", f"echo $$ > {tmp_path / 'pid'}; echo go > {begun}; exec sleep 600"]
    with (
        pytest.raises(Failure, match=r"(?s)installing packages failed.*why"),
        packages.installing(made, "a==1\n", os.environ) as check_others,
    ):
        run(build, what="a", log=tmp_path / "log", environment=os.environ, watch=check_others)
    assert not is_running((tmp_path / "pid").read_text().strip())


def test_interrupt_beside_the_other_packages_stops_their_installation(tmp_path: Path) -> None:
    made = fake_environment(tmp_path / ".venv")
    os.mkfifo(pid_file := tmp_path / "pid")
    pip_stub(made, f"echo $$ > {pid_file}; exec sleep 60")
    pids = []

    def interrupted() -> None:
        with packages.installing(made, "a==1\n", os.environ):
            pids.append(pid_file.read_text().strip())
            assert is_running(pids[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not is_running(pids[0])


def test_project_metadata_ignores_the_settings_of_linters() -> None:
    text = '[project]\nname = "a"\n[build-system]\nrequires = []\n'
    metadata = wanted.project_metadata(text)
    assert wanted.project_metadata(text + "[tool.ruff]\nline-length = 80\n") == metadata
    assert wanted.project_metadata(text.replace('"a"', '"b"')) != metadata


def fake_environment(folder: Path) -> Environment:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    return Environment(folder)


def test_stage_is_done_only_when_its_block_ends_well(tmp_path: Path) -> None:
    made = fake_environment(tmp_path / ".venv")
    made.write_stamp({"venv": "1", "packages": "old", "inputs": "all"})
    with pytest.raises(KeyboardInterrupt), made.stage("packages", "new"):
        raise KeyboardInterrupt
    assert made.stamp() == {"venv": "1"}
    with made.stage("packages", "new"):
        pass
    assert made.stamp() == {"venv": "1", "packages": "new"}


def test_stamp_of_an_environment_without_its_python_counts_for_nothing(tmp_path: Path) -> None:
    made = fake_environment(tmp_path / ".venv")
    made.write_stamp({"venv": "1"})
    made.python.unlink()
    made.python.symlink_to("/nowhere/python")
    assert made.stamp() == {}


def test_all_launches_expect_the_sum_over_their_ranks() -> None:
    found = {launch.name: launch for launch in verify_horovod.launches(Path("/env/bin/python"))}
    assert [report["sum"] for report in found["mpirun"].expected(CPU)] == [3.0, 3.0]
    assert [report["mpi_size"] for report in found["horovodrun --gloo"].expected(GPU)] == [1, 1]
    assert found["mpirun"].expected(CPU)[0]["nccl_built"] is False
    assert found["mpirun"].expected(GPU)[0]["nccl_built"] is True


def is_running(pid: str) -> bool:
    """Whether a process is there and no zombie that nobody has collected yet."""
    try:
        return "State:\tZ" not in Path("/proc", pid, "status").read_text()
    except OSError:  # FileNotFoundError, or ProcessLookupError if it went while we looked
        return False


def test_command_that_hangs_is_stopped_and_reported(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(Failure, match="a nap was stopped after 5 s"):
        run(
            ["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"],
            what="a nap",
            log=tmp_path / "log",
            environment=os.environ,
            limit_seconds=5.0,
        )
    pid = pid_file.read_text().strip()
    deadline = time.monotonic() + 20.0
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(pid)


def test_command_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"(?s)exit status 3.*the reason$"):
        run(
            ["sh", "-c", "echo the reason; exit 3"],
            what="a command",
            log=tmp_path / "log",
            environment=os.environ,
        )


def test_missing_compiler_is_one_line_that_says_what_to_install(bare_checkout: Path) -> None:
    (empty := bare_checkout / "empty").mkdir()
    result = run_setup(bare_checkout, empty)
    assert result.returncode == 1
    assert one_line(result.stdout + result.stderr) == f"setup: {horovod_target.COMPILER_MISSING}"
    assert not (bare_checkout / ".venv").exists()


@pytest.mark.parametrize("device", horovod_target.DEVICES)
def test_image_leaves_out_locked_packages_and_nothing_else(device: str) -> None:
    lock = (ROOT / f"requirements-{device}.lock").read_text()
    kept = lockfile.without(lock, wanted.NOT_IN_IMAGE)
    before, after = (lockfile.locked_versions(text) for text in (lock, kept))
    assert before.keys() - after.keys() == wanted.NOT_IN_IMAGE
    assert len(re.findall("--hash", kept)) < len(re.findall("--hash", lock))
    assert lockfile.without(lock, set()) == lock


def test_a_package_left_out_takes_its_hashes_along() -> None:
    lock = (
        "# made by\na==1 \\\n    --hash=sha256:aa\n    # via b\na-b==2 \\\n    --hash=sha256:bb\n"
    )
    left = "# made by\na-b==2 \\\n    --hash=sha256:bb\n"
    assert lockfile.without(lock, {"a"}) == left


def test_an_images_environment_needs_the_locks_and_scripts_alone(bare_checkout: Path) -> None:
    """What it says is the next problem: it has read all that it reads."""
    shutil.rmtree(bare_checkout / "cloudmask")
    (bare_checkout / "pyproject.toml").unlink()
    (empty := bare_checkout / "empty").mkdir()
    result = run_setup(bare_checkout, empty, "--image")
    assert result.returncode == 1
    assert one_line(result.stderr) == f"setup: {horovod_target.COMPILER_MISSING}"


def test_toolkit_that_is_none_is_one_line_that_says_what_to_do(bare_checkout: Path) -> None:
    variables = {"HOROVOD_CUDA_HOME": str(bare_checkout)}
    result = run_setup(bare_checkout, Path(os.defpath), "--device", "gpu", **variables)
    assert result.returncode == 1
    assert "holds no CUDA toolkit" in one_line(result.stdout + result.stderr)
    assert not (bare_checkout / ".venv").exists()


def test_missing_ssh_is_one_line_that_says_what_to_install(bare_checkout: Path) -> None:
    (tools := bare_checkout / "tools").mkdir()
    for name in ("make", "c++"):
        (tools / name).write_text("#!/bin/true\n")
        (tools / name).chmod(0o755)
    result = run_setup(bare_checkout, tools)
    assert result.returncode == 1
    assert one_line(result.stdout + result.stderr) == f"setup: {horovod_target.SSH_MISSING}"
    assert not (bare_checkout / ".venv").exists()


def test_python_without_ensurepip_is_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Failure, match=r"apt install python3\.\d+-venv"):
        environment.check_python_modules()


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 10, 13), (3, 14, 0)])
def test_python_of_another_age_is_one_line_that_says_which(version: tuple[int, int, int]) -> None:
    program = (
        f"import runpy, sys; sys.version_info = {version}; "
        f"runpy.run_path({str(ROOT / 'scripts' / 'setup' / 'setup.py')!r}, run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 1
    assert f"this is {version[0]}.{version[1]}" in one_line(result.stdout + result.stderr)


def test_missing_python_is_one_line_that_says_what_to_install(bare_checkout: Path) -> None:
    command = ["make", "-C", bare_checkout, "--no-print-directory", "setup", "PYTHON=python9.9"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "install Python 3.11" in result.stderr.splitlines()[0]
    assert "Traceback" not in result.stderr
