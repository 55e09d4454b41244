"""A Slurm of one node on this machine, for as long as a test needs it.

    with slurm.cluster() as cluster:
        cluster.run("sbatch", "job.sh")

Debian's munged, slurmctld and slurmd run as root with keys, configuration, ports, state and logs of
their own in a temporary folder: neither /etc nor a Slurm that is already there is touched. What
daemons and jobs have started is killed at the end, whatever happens: by name of that folder, which
stands in the environment of every one of them.
"""

from __future__ import annotations

import contextlib
import os
import platform
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import tiny

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol")
REQUEUE_SECONDS = 5
"""how long a requeued job waits at least; Slurm's own default is two minutes"""


def missing() -> str | None:
    """Why no Slurm can be started here; None if it can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"no {', '.join(absent)}: apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "slurmd needs root to start jobs"
    return None


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin"])


def _configuration(
    folder: Path, *, ports: tuple[int, int], cpus: int, threads_per_core: int
) -> str:
    host, cores = platform.node(), cpus // threads_per_core
    shape = (
        f"CPUs={cpus} SocketsPerBoard=1 CoresPerSocket={cores} ThreadsPerCore={threads_per_core}"
    )
    return f"""
ClusterName=cloudmask
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={REQUEUE_SECONDS}
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
KillWait=30
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 {shape} State=UNKNOWN
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=all Nodes={host} Default=YES PriorityTier=1 State=UP
PartitionName=urgent Nodes={host} PriorityTier=2 PreemptMode=OFF State=UP
"""


@dataclass(frozen=True)
class Cluster:
    """A running Slurm: its folder, and the environment in which its commands find it."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, *words: object, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this Slurm, or any program that is to find it, to its end."""
        return subprocess.run(
            list(map(str, words)),
            env={**self.environment, **changes},
            cwd=tiny.ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def submit(self, *words: object, **changes: str) -> str:
        """`sbatch WORDS`; returns the number of the job."""
        done = self.run("sbatch", "--parsable", *words, **changes)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` says: JobState, Restarts, ExitCode, ..."""
        done = self.run("scontrol", "--oneliner", "show", "job", number)
        assert done.returncode == 0, done.stderr
        return dict(word.split("=", 1) for word in done.stdout.split() if "=" in word)

    def wait(self, number: str, condition: Callable[[dict[str, str]], bool], *, seconds: float):
        """Poll a job until a condition holds; returns what it was then."""
        end = time.monotonic() + seconds
        while not condition(job := self.job(number)):
            assert time.monotonic() < end, f"not within {seconds} s: {job}\n{self.log()}"
            time.sleep(0.1)
        return job

    def end(self, number: str, *, seconds: float = 240) -> dict[str, str]:
        """Wait until a job has ended, in whatever way."""
        going = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED")
        return self.wait(number, lambda job: job["JobState"] not in going, seconds=seconds)

    def is_idle(self) -> bool:
        """Whether the node runs nothing, not even the end of a job."""
        words = ("sinfo", "--noheader", "--partition=all", "--format=%T")
        return self.run(*words).stdout.strip() == "idle"

    def log(self) -> str:
        return "".join(_tail(path) for path in sorted(self.folder.glob("*.log")))


def _tail(path: Path) -> str:
    return f"--- {path.name}\n" + "".join(path.read_text().splitlines(keepends=True)[-15:])


@contextlib.contextmanager
def cluster(*, cpus: int = 2, threads_per_core: int = 1) -> Iterator[Cluster]:
    """Start munged, slurmctld and slurmd, wait until the node is idle, and end all of it.

    The node is what is said of it here, whatever this machine has.
    """
    # Not pytest's own folder: munged wants to be reachable by everybody, all the way down.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    own = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{tiny.BIN}{os.pathsep}{_path()}"}
    here = Cluster(folder, tiny.environment() | own)
    daemons: list[subprocess.Popen[str]] = []

    def daemon(*words: object) -> None:
        with (folder / f"{words[0]}.out.log").open("w") as file:
            daemons.append(
                subprocess.Popen(
                    list(map(str, words)), env=here.environment, stdout=file, stderr=file, text=True
                )
            )

    try:
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "slurm.conf").write_text(
            _configuration(folder, ports=_ports(), cpus=cpus, threads_per_core=threads_per_core)
        )
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        files = {"key-file": key, "socket": folder / "munge.socket"}
        files |= {f"{kind}-file": folder / f"munged.{kind}" for kind in ("pid", "log", "seed")}
        daemon("munged", "--foreground", *(f"--{name}={path}" for name, path in files.items()))
        tiny.wait_until(lambda: _alive(here, daemons) and files["socket"].exists(), seconds=60)
        daemon("slurmctld", "-D", "-i")
        daemon("slurmd", "-D")
        tiny.wait_until(lambda: _alive(here, daemons) and here.is_idle(), seconds=120)
        yield here
    finally:
        _kill_all(folder)
        for process in daemons:
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _alive(here: Cluster, daemons: list[subprocess.Popen[str]]) -> bool:
    assert all(process.poll() is None for process in daemons), here.log()
    return True


def _ports() -> tuple[int, int]:
    """Two ports that are free, below those that the kernel gives to whoever asks for any."""
    free = filter(_is_free, random.sample(range(20000, 32768), 1000))
    return next(free), next(free)


def _is_free(port: int) -> bool:
    with socket.socket() as one, contextlib.suppress(OSError):
        one.bind(("127.0.0.1", port))
        return True
    return False


def _kill_all(folder: Path) -> None:
    """SIGKILL until no process is left that has the folder in its environment or command line."""
    while pids := _living(folder):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _living(folder: Path) -> list[int]:
    """Processes of this folder; those that have ended but are not waited for do not count."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                if str(folder).encode() in text:
                    found.append(int(entry.name))
    return found
