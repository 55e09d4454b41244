"""Cores and memory as affinity, control groups of both versions and Slurm leave them."""

import os
import subprocess
import sys

import pytest

from cloudmask import host

GIB = 2**30


@pytest.fixture
def machine(tmp_path):
    """machine(lines of /proc/self/cgroup, {file of a control group: content}) -> its two roots."""

    def build(groups, files):
        proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
        (proc / "self").mkdir(parents=True)
        (proc / "self/cgroup").write_text(groups)
        (proc / "meminfo").write_text("MemTotal: 33554432 kB\nMemAvailable: 16777216 kB\n")
        for name, content in files.items():
            (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
            (cgroups / name).write_text(content)
        return proc, cgroups

    return build


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/job/step\n", {"job/cpu.max": "400000 100000", "job/step/cpu.max": "max 100000"}, 4),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "300000 100000"}, 2),
        # The path of a container's group is the host's, where only the group itself is mounted.
        ("0::/docker/0abc\n", {"cpu.max": "150000 100000"}, 1.5),
        (
            "3:cpu,cpuacct:/job\n2:memory:/\n",
            {"cpu,cpuacct/job/cpu.cfs_quota_us": "300000\n", "cpu/none": ""}
            | {"cpu,cpuacct/job/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        (
            "3:cpu,cpuacct:/docker/0abc\n",
            {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"},
            0.5,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("", {}, None),
    ],
)
def test_quota_is_the_least_of_all_groups(machine, groups, files, cores):
    assert host.cpu_quota(*machine(groups, files)) == cores


def test_half_a_core_counts_as_one_and_no_quota_as_all(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for quota, cores in ((None, 8), (0.5, 1), (2.5, 3), (64.0, 8)):
        monkeypatch.setattr(host, "cpu_quota", lambda quota=quota: quota)
        assert host.num_cores() == cores


@pytest.mark.parametrize(
    ("groups", "files", "free"),
    [
        ("0::/\n", {}, 16 * GIB),
        ("0::/\n", {"memory.max": "max", "memory.current": "5"}, 16 * GIB),
        (
            "0::/job\n",
            {"job/memory.max": f"{2 * GIB}", "job/memory.current": f"{GIB}"}
            | {"job/memory.stat": f"anon 7\ninactive_file {GIB // 2}\n"},
            2 * GIB - GIB // 2,
        ),
        (
            "4:memory:/x\n",
            {"memory/x/memory.limit_in_bytes": f"{GIB}"}
            | {"memory/x/memory.usage_in_bytes": f"{GIB // 2}"}
            | {"memory/x/memory.stat": f"inactive_file 7\ntotal_inactive_file {GIB // 4}\n"},
            GIB - GIB // 2 + GIB // 4,
        ),
        (
            "4:memory:/\n",
            {"memory/memory.limit_in_bytes": "9223372036854771712"}
            | {"memory/memory.usage_in_bytes": "0"},
            16 * GIB,
        ),
    ],
)
def test_free_memory_knows_the_limits_of_groups(machine, groups, files, free):
    assert host.free_memory_bytes(*machine(groups, files), {}) == free


def test_free_memory_knows_what_slurm_has_granted(machine):
    proc, cgroups = machine("0::/\n", {})
    (proc / "self/statm").write_text("9999 256 8 1 0 7 0\n")  # 256 pages of this process
    used = 256 * os.sysconf("SC_PAGE_SIZE")

    def free(processes=1, **environment):
        return host.free_memory_bytes(proc, cgroups, environment, processes=processes)

    assert free(SLURM_MEM_PER_NODE="2048") == 2 * GIB - used
    assert free(4, SLURM_MEM_PER_CPU="512", SLURM_CPUS_ON_NODE="8") == 4 * GIB - 4 * used
    assert free(SLURM_MEM_PER_NODE="0") == free(SLURM_MEM_PER_CPU="512") == free()


def test_memory_of_a_slurm_job_is_what_it_asked_for():
    whole = host.memory_bytes({})
    assert host.memory_bytes({"SLURM_MEM_PER_NODE": "64"}) == 64 * 2**20
    assert host.memory_bytes({"SLURM_MEM_PER_NODE": "0"}) == whole  # all of the node


def test_affinity_holds_a_process_back():
    core = max(host.allowed_cores())
    code = "from cloudmask import host; print(host.allowed_cores(), host.num_cores())"
    done = subprocess.run(
        ["taskset", "-c", str(core), sys.executable, "-c", code], capture_output=True, text=True
    )
    assert done.stdout == f"({core},) 1\n"


def test_processors_of_one_core_go_together(tmp_path, monkeypatch):
    for cpu, siblings in ((0, "0,2"), (1, "1,3"), (2, "0,2"), (3, "1,3")):
        place = tmp_path / f"cpu{cpu}/topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(f"{siblings}\n")
    monkeypatch.setattr(host, "TOPOLOGY", tmp_path)
    assert host.physical_cores([0, 1, 2, 3]) == [[0, 2], [1, 3]]
    assert host.physical_cores([1, 2]) == [[1], [2]]


def test_cores_of_a_socket_go_in_a_row(tmp_path, monkeypatch):
    """Some kernels number the sockets in turns."""
    for cpu in range(4):
        place = tmp_path / f"cpu{cpu}/topology"
        place.mkdir(parents=True)
        (place / "physical_package_id").write_text(f"{cpu % 2}\n")
        (place / "package_cpus_list").write_text(f"{cpu % 2},{cpu % 2 + 2}\n")
    node = tmp_path / "cpu3/node1"
    node.mkdir()
    (node / "cpulist").write_text("3\n")
    monkeypatch.setattr(host, "TOPOLOGY", tmp_path)
    assert host.physical_cores([0, 1, 2, 3]) == [[0], [2], [1], [3]]
    assert host.neighbours(3) == ["1,3", "3"]


@pytest.mark.parametrize(
    ("quota", "granted", "limit"),
    [(None, "", None), (2.5, "", 2.5), (None, "4", 4), (2.5, "4", 2.5), (8.0, "4", 4)],
)
def test_slurms_grant_limits_like_a_quota(monkeypatch, quota, granted, limit):
    monkeypatch.setattr(host, "cpu_quota", lambda: quota)
    assert host.core_limit({"SLURM_CPUS_ON_NODE": granted}) == limit
