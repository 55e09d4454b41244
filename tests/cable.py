"""A cable that is long: what goes in at one end comes out at the other some milliseconds later.

python cable.py DELAY_MS NAME SWITCH_PID PORT

Makes a TAP interface NAME in its own network and one called PORT in that of the process SWITCH_PID,
says `ready`, and hands frames from one to the other: late from NAME to PORT, at once back. The
kernel's netem does the same, but is not in every kernel. Frames keep the header of virtio, so TCP
hands over up to 64 kB at a time, and a Gbit/s is some 2,000 frames.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import queue
import struct
import sys
import threading
import time

# From linux/if_tun.h and linux/sched.h.
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
OFFLOAD_CHECKSUM, OFFLOAD_TCP4 = 0x01, 0x02
CLONE_NEWNET = 0x40000000
LARGEST_FRAME = 1 << 17


def make_tap(name: str) -> int:
    """A TAP interface in this thread's network; returns its file."""
    file = os.open("/dev/net/tun", os.O_RDWR)
    flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    fcntl.ioctl(file, TUNSETOFFLOAD, OFFLOAD_CHECKSUM | OFFLOAD_TCP4)
    return file


def enter_network_of(pid: int) -> None:
    handle = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    os.close(handle)


def carry(source: int, sink: int, delay_seconds: float) -> None:
    """Hand frames over in their order, for ever; lost is what meets an interface that is down."""
    under_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def take() -> None:
        while True:
            frame = os.read(source, LARGEST_FRAME)
            under_way.put((time.monotonic() + delay_seconds, frame))

    threading.Thread(target=take, daemon=True).start()
    while True:
        due, frame = under_way.get()
        time.sleep(max(0.0, due - time.monotonic()))
        with contextlib.suppress(OSError):
            os.write(sink, frame)


def main(delay_ms: str, name: str, switch: str, port: str) -> None:
    here = make_tap(name)
    enter_network_of(int(switch))
    there = make_tap(port)
    print("ready", flush=True)
    threading.Thread(target=carry, args=(there, here, 0.0), daemon=True).start()
    carry(here, there, float(delay_ms) / 1000)


if __name__ == "__main__":
    main(*sys.argv[1:])
