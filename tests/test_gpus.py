"""What can be known about GPUs without one: the choice by rank, and what nvidia-smi would say."""

import sys

import pytest

from cloudmask import record
from cloudmask.cli.errors import AgreedError
from cloudmask.record import environment, settings
from cloudmask.train import gpus

A100 = "NVIDIA A100-SXM4-40GB, 550.54.15, 40960 MiB"


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """nvidia_smi(*lines, code=0): a real program of that name that prints them and its words."""

    def write(*lines, code=0, then=""):
        script = tmp_path / "nvidia-smi"
        printed = "\n".join(lines)
        script.write_text(
            f"#!{sys.executable}\nimport sys, time\n"
            f"open({str(tmp_path / 'words')!r}, 'w').write(' '.join(sys.argv[1:]))\n"
            f"print({printed!r})\n{then}\nsys.exit({code})\n"
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        return tmp_path / "words"

    return write


def test_each_rank_of_a_host_has_a_gpu_of_its_own():
    for ranks, found in ((1, 1), (4, 4), (2, 8)):
        taken = [gpus.of_rank(rank, ranks, found=found, visible=None) for rank in range(ranks)]
        assert taken == list(range(ranks))


def test_a_launcher_may_show_each_rank_one_gpu():
    assert [gpus.of_rank(rank, 4, found=1, visible="3") for rank in range(4)] == [0] * 4
    assert gpus.of_rank(1, 2, found=1, visible="GPU-8f1c") == 0


@pytest.mark.parametrize(
    ("ranks", "found", "visible", "message"),
    [
        (2, 1, None, "2 ranks on this host would share 1 GPU; start 1 per host, or let"),
        (8, 4, None, "8 ranks on this host would share 4 GPUs; start 4 per host, or let"),
        (4, 2, "0,1", "4 ranks on this host would share 2 GPUs"),
        (4, 1, "0,", "would share 1 GPU"),
    ],
)
def test_ranks_that_would_share_a_gpu_are_refused(ranks, found, visible, message):
    for rank in range(ranks):
        with pytest.raises(ValueError, match=message):
            gpus.of_rank(rank, ranks, found=found, visible=visible)


def test_one_rank_of_a_host_with_too_few_gpus_says_so(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    raised = []
    for rank in range(3):
        with pytest.raises(ValueError, match="3 ranks on this host would share 2 GPUs") as caught:
            gpus.take(["a GPU", "another"], rank, 3)
        raised.append(caught.type)
    assert raised == [ValueError, AgreedError, AgreedError]


def test_nvidia_smi_knows_a_visible_gpu_by_its_place_on_the_host():
    assert [gpus.name_for_smi(n, None) for n in (0, 3)] == ["0", "3"]
    assert [gpus.name_for_smi(n, "5,2") for n in (0, 1)] == ["5", "2"]
    assert gpus.name_for_smi(1, "GPU-aa, GPU-bb") == "GPU-bb"


def test_the_environment_names_gpus_driver_and_memory(nvidia_smi):
    words = nvidia_smi(A100, A100)
    one = {"name": "NVIDIA A100-SXM4-40GB", "driver_version": "550.54.15"}
    assert environment()["gpus"] == [one | {"memory.total": "40960 MiB"}] * 2
    query = "--query-gpu=name,driver_version,memory.total --format=csv,noheader"
    assert words.read_text() == query


def test_free_memory_is_that_of_one_gpu_in_bytes(nvidia_smi):
    words = nvidia_smi("39500 MiB")
    assert gpus.free_on("5") == 39500 * 2**20
    assert words.read_text().endswith("-i 5")


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["NVIDIA-SMI has failed because it could not talk to the driver."], 9),
        ([A100], 1),
        (["No devices were found"], 0),
        ([], 0),
    ],
)
def test_where_nvidia_smi_has_nothing_to_say_nothing_is_recorded(nvidia_smi, lines, code):
    nvidia_smi(*lines, code=code)
    assert record.gpus() == []


@pytest.mark.parametrize(
    "said", ["[N/A]", "No devices were found", "", "[Insufficient Permissions]"]
)
def test_free_memory_that_is_not_told_is_not_known(nvidia_smi, said):
    nvidia_smi(said)
    assert gpus.free_on("0") is None


def test_an_nvidia_smi_that_hangs_is_given_up(nvidia_smi, monkeypatch):
    nvidia_smi(A100, then="sys.stdout.flush(); time.sleep(600)")
    monkeypatch.setattr(record, "SMI_SECONDS", 0.2)
    assert record.gpus() == []


def test_without_nvidia_smi_there_are_no_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment()["gpus"] == []
    assert gpus.free_on("0") is None


def test_a_build_without_cuda_names_none():
    assert gpus.built_with() == {}


def test_how_ranks_communicate_on_gpus_is_recorded(monkeypatch):
    given = {
        "NCCL_SOCKET_IFNAME": "ib0",
        "NCCL_DEBUG": "INFO",
        "CUDA_VISIBLE_DEVICES": "0,1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "HOROVOD_FUSION_THRESHOLD": "67108864",
        "XLA_FLAGS": "--xla_gpu_autotune_level=2",
        "UCX_NET_DEVICES": "mlx5_0:1",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert given.items() <= settings().items()
