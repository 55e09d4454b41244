"""Several hosts on this one machine, for as long as a test needs them.

    with cluster.hosts(2, rate="1gbit") as bed:      # node0, node1
        ended = bed.run([*bed.mpirun(1), sys.executable, "train_hvd.py", ...])   # on node0
        process = bed.start([*bed.horovodrun(2), ...], on="node1")               # a Popen
        bed.cut("node1")           # its link goes down; bed.mend("node1")
        bed.lose("node1")          # it crashes: link down, every process gone, for good
        bed.add()                  # node2 joins; bed.names: ["node0", "node2"]

A host is a set of Linux namespaces (network, host name, processes, mounts, IPC) with an interface
`eth0` of its own, which a bridge joins to those of the others, an sshd that lets the other hosts
in without a password, and a share of this machine's cores. All hosts see the same files, but for
/run, /dev/shm, /etc/hosts, /etc/ssh and /etc/resolv.conf, which each has for itself: nothing of
the machine's is written to. The namespaces bear no names; what holds them is one process per host
that ends as soon as the process that made the bed does, by whatever cause, and takes everything in
the host with it. Only the folder of keys may be left, which the next bed removes.

Traps: mpirun sees all cores of the machine in each host and would bind the first rank of each to
core 0, so `mpirun` here binds nothing, and ranks keep to their host's share. The TMPDIR of a
host is its own, since numbers of processes, and with them Open MPI's session folders, are the
same in all hosts. bash reads the user's .bashrc in every ssh session of the first level, and what
that may start (pyenv rehash, say) must not be killed half done with a host: hence SHLVL.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tiny

PROGRAMS = ("ip", "tc", "sshd", "ssh", "ssh-keygen", "unshare", "nsenter", "taskset")
PREFIX = "cloudmask-hosts-"
NETWORK = "10.77.0"
INTERFACE = "eth0"
# mpirun asks a silent host whether it is there, by default after five minutes: here after 3 s, and
# twice. So it finds a lost host before the ranks end by their own watch (cloudmask/train/stall.py):
# once it has asked the host to end its ranks, mpirun would wait minutes for an answer.
KEEPALIVE = {"time": 3, "intvl": 1, "probes": 2}
# What ranks need of the environment, and ssh does not hand over.
HANDED_OVER = ("PATH", "PYTHONPATH", "TF_CPP_MIN_LOG_LEVEL")

_SSHD = """
HostKey /etc/ssh/key
AuthorizedKeysFile /etc/ssh/key.pub
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
UseDNS no
MaxStartups 100
PidFile none
SetEnv TMPDIR=/run/tmp SHLVL=1
"""
_SSH = """
Host *
IdentityFile /etc/ssh/key
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
"""
# Process 1 of a host. It waits for the end of its input, which comes with the end of the test.
_INIT = """
set -e
hostname "$1"
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd /run/tmp
mount -t tmpfs tmpfs /dev/shm
mount --bind "$2/etc-hosts" /etc/hosts
mount --bind "$2/ssh" /etc/ssh
[ ! -f /etc/resolv.conf ] || mount --bind /dev/null /etc/resolv.conf
ip link set lo up
"$3" -f /etc/ssh/sshd_config
echo ready
cat > /dev/null
exit
"""
_SWITCH = "ip link add name bridge type bridge && ip link set bridge up && echo ready && cat; exit"


@functools.cache
def missing() -> str | None:
    """Why no hosts can be made here; None if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    absent = [name for name in PROGRAMS if _program(name) is None]
    if absent:
        return f"no {', '.join(absent)}: apt-get install iproute2 openssh-server util-linux"
    try:
        with hosts(1):
            return None
    except (AssertionError, OSError, RuntimeError) as error:
        return f"no hosts can be made in this kernel or container: {error}"


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin")


def _call(*words: object) -> None:
    """Run a program of this machine; RuntimeError with what it said if it fails."""
    line = [str(word) for word in words]
    done = subprocess.run(
        [str(_program(line[0])), *line[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(line)}: {' '.join(done.stderr.split())}")


class _Holder:
    """A process that holds namespaces, and whose end is the end of all that runs in them."""

    def __init__(
        self, script: str, *words: object, kinds: Sequence[str], cores: Sequence[int] = ()
    ) -> None:
        flags = [f"--{kind}" for kind in kinds]
        shell = [*_bound_to(cores), "sh", "-c", script, "sh", *map(str, words)]
        self._outer = subprocess.Popen(
            [str(_program("unshare")), *flags, "--pid", "--fork", "--kill-child", *shell],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the test, which then ends us
        )
        assert self._outer.stdout is not None
        assert self._outer.stderr is not None
        if self._outer.stdout.readline() != "ready\n":
            raise RuntimeError(" ".join(self._outer.stderr.read().split()) or "no namespaces")
        (self.pid,) = (
            int(word)
            for word in Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
            .read_text()
            .split()
        )

    def end(self) -> None:
        """Kill process 1 of the namespaces, and so all others there; returns when they are gone."""
        if self._outer.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._outer.communicate()


@dataclass
class _Host:
    number: int
    holder: _Holder
    cores: tuple[int, ...]
    cable: subprocess.Popen[str] | None = None
    """what delays its packets, which runs in the host"""

    @property
    def address(self) -> str:
        return f"{NETWORK}.{self.number + 1}"

    @property
    def port(self) -> str:
        """The switch's end of its cable."""
        return f"port{self.number}"

    def end(self) -> None:
        self.holder.end()
        if self.cable:
            self.cable.communicate()


@dataclass
class Bed:
    """Hosts that can reach each other and nothing else."""

    rate: str
    delay_ms: float
    folder: Path
    switch: _Holder
    _hosts: dict[str, _Host] = field(default_factory=dict)
    _made: int = 0

    @property
    def names(self) -> list[str]:
        """Host names, without those that were lost."""
        return list(self._hosts)

    # --- Hosts and links ---

    def add(self) -> str:
        """Make one more host, and return its name: node0, node1, ..."""
        number, name = self._made, f"node{self._made}"
        self._made += 1
        with (self.folder / "etc-hosts").open("a") as file:  # one file, bound in every host
            file.write(f"{NETWORK}.{number + 1} {name}\n")
        kinds = ("net", "uts", "ipc", "mount", "mount-proc")
        sshd = _program("sshd")
        cores = _share_of_cores(number)
        host = _Host(
            number, _Holder(_INIT, name, self.folder, sshd, kinds=kinds, cores=cores), cores
        )
        self._hosts[name] = host
        self._plug_in(host)
        tiny.wait_until(lambda: _listens(host.holder.pid))
        return name

    def _plug_in(self, host: _Host) -> None:
        """A cable from the host to the switch, each end with its shape."""
        if self.delay_ms:
            host.cable = _long_cable(host, self.switch, self.delay_ms)
        else:
            peer = ("peer", "name", INTERFACE, "netns", host.holder.pid)
            self._in_net(self.switch, "ip", "link", "add", "name", host.port, "type", "veth", *peer)
        self._in_net(self.switch, "ip", "link", "set", host.port, "master", "bridge", "up")
        address = f"{host.address}/24"
        self._in_net(host.holder, "ip", "address", "add", address, "dev", INTERFACE)
        self._in_net(host.holder, "ip", "link", "set", INTERFACE, "up")
        shape = ("tbf", "rate", self.rate, "burst", "256k", "latency", "50ms")
        queue = ("tc", "qdisc", "add", "dev")
        self._in_net(self.switch, *queue, host.port, "root", *shape)
        self._in_net(host.holder, *queue, INTERFACE, "root", *shape)

    @staticmethod
    def _in_net(holder: _Holder, *words: object) -> None:
        _call("nsenter", f"--net=/proc/{holder.pid}/ns/net", *words)

    def cut(self, name: str) -> None:
        """Pull the host's cable: packets are lost both ways, and nobody is told."""
        self._in_net(self.switch, "ip", "link", "set", self._hosts[name].port, "down")

    def mend(self, name: str) -> None:
        self._in_net(self.switch, "ip", "link", "set", self._hosts[name].port, "up")

    def lose(self, name: str) -> None:
        """The host crashes: no packet says so, and every process of it is gone."""
        self.cut(name)
        self._hosts.pop(name).end()

    # --- Programs ---

    def start(
        self,
        words: Sequence[object],
        *,
        on: str | None = None,
        cwd: Path = tiny.ROOT,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a program in a host, the first unless one is named, as if logged in there."""
        host = self._hosts[on or self.names[0]]
        into = ["nsenter", "--target", host.holder.pid, "--net", "--uts", "--ipc", "--mount"]
        within = ["--pid", *_bound_to(host.cores), "env", f"--chdir={cwd}"]
        return subprocess.Popen(
            [str(word) for word in (*into, *within, *words)],
            env=tiny.environment() | {"TMPDIR": "/run/tmp"} | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self, words: Sequence[object], *, on: str | None = None, seconds: float = 240, **more
    ) -> tiny.Ended:
        """The same, to its end."""
        return tiny.finish(self.start(words, on=on, **more), seconds=seconds)

    def mpirun(self, ranks_per_host: int, *, on: Sequence[str] = ()) -> list[str]:
        """What stands in front of a program to start it on all hosts, or those named, by Open MPI.

        To be started on any host. It says what a cluster's user would say, but for the binding.
        """
        places = [f"{name}:{ranks_per_host}" for name in on or self.names]
        net = ["--mca", "btl_tcp_if_include", INTERFACE, "--mca", "oob_tcp_if_include", INTERFACE]
        for name, value in KEEPALIVE.items():
            net += ["--mca", f"oob_tcp_keepalive_{name}", str(value)]
        passed = [word for name in HANDED_OVER for word in ("-x", name)]
        line = [str(tiny.BIN / "mpirun"), "-H", ",".join(places)]  # its full path tells orted's
        return [*line, *net, *passed, "--bind-to", "none"]

    def horovodrun(
        self, ranks_per_host: int, *, on: Sequence[str] = (), controller: str = "gloo"
    ) -> list[str]:
        """The same by horovodrun, which hands the environment over by itself."""
        names = on or self.names
        places = ",".join(f"{name}:{ranks_per_host}" for name in names)
        total = str(ranks_per_host * len(names))
        line = ["horovodrun", f"--{controller}", "-np", total, "-H", places]
        line += ["--network-interface", INTERFACE]
        if controller == "mpi":
            return [*line, f"--mpi-args=--prefix {tiny.BIN.parent}"]
        # Gloo gives up on a rank whose start takes 30 s longer, as in a crowd on two cores it may.
        return [*line, "--gloo-timeout-seconds", "300"]

    def pids(self, name: str, containing: str = "") -> list[int]:
        """Processes of a host whose command line contains a text, as this machine numbers them."""
        holder = self._hosts[name].holder
        space = Path(f"/proc/{holder.pid}/ns/pid").readlink()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # one may end while we look
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if line and containing in line and (folder / "ns/pid").readlink() == space:
                    found.append(int(folder.name))
        return sorted(found)


def _long_cable(host: _Host, switch: _Holder, delay_ms: float) -> subprocess.Popen[str]:
    """Join a host to the switch by a cable that delays what leaves the host."""
    into = ["nsenter", "--target", str(host.holder.pid), "--net", "--pid"]
    program = [sys.executable, str(Path(__file__).with_name("cable.py"))]
    ends = [str(delay_ms), INTERFACE, str(switch.pid), host.port]
    cable = subprocess.Popen(
        [*into, *program, *ends],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert cable.stdout is not None
    assert cable.stderr is not None
    if cable.stdout.readline() != "ready\n":
        raise RuntimeError(f"no TAP interfaces: {' '.join(cable.stderr.read().split())}")
    return cable


def _listens(pid: int) -> bool:
    """Whether something waits for connections at port 22 (0x16) in a process's network."""
    rows = [row.split() for row in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()]
    return any(row[1].endswith(":0016") and row[3] == "0A" for row in rows)


def _share_of_cores(number: int) -> tuple[int, ...]:
    """One core for each host, in turn: two ranks on two hosts compute on cores of their own."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[number % len(cores)],)


def _bound_to(cores: Sequence[int]) -> list[str]:
    """What stands in front of a program that shall use these cores alone."""
    return ["taskset", "--cpu-list", ",".join(map(str, cores))] if cores else []


@contextlib.contextmanager
def hosts(count: int, *, rate: str = "10gbit", delay_ms: float = 0) -> Iterator[Bed]:
    """So many hosts for the block; `rate` of each link as `tc` writes it, both ways.

    A packet from one host to another comes `delay_ms` late (and a little more: cable.py is a
    program, and takes its share of the cores).
    RuntimeError if they cannot be made, with the words of the program that failed.
    """
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    bed = None
    try:
        (folder / "ssh").mkdir()
        (folder / "etc-hosts").write_text("127.0.0.1 localhost\n")
        (folder / "ssh" / "sshd_config").write_text(_SSHD)
        (folder / "ssh" / "ssh_config").write_text(_SSH)
        _call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "ssh" / "key")
        bed = Bed(rate, delay_ms, folder, _Holder(_SWITCH, kinds=("net",)))
        for _ in range(count):
            bed.add()
        yield bed
    finally:
        if bed:
            for host in bed._hosts.values():
                host.end()
            bed.switch.end()
        shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Remove the folders of beds whose test was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)
