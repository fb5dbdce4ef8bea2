"""Weighing processes, through /proc."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from bench.errors import BenchError

LISTENING = "0A"
PAGE_OCTETS = os.sysconf("SC_PAGE_SIZE")
PEAK_OF_NOW = "5"
"""Written to clear_refs it makes the peak of a process what the process has now: proc(5)."""


def resident_octets(port: int) -> int:
    """Return the resident memory of the process that listens on ``port`` and of all below it."""
    total = 0
    for pid in process_tree(port):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_OCTETS
    return total


def peak_octets(port: int) -> int:
    """Return the most resident memory these processes had since they began or ``forget_peak``.

    The kernel keeps it for each process on its own, so that nothing is missed between two looks; of several
    processes it is the sum, no less than what they had together.
    """
    total = 0
    for pid in process_tree(port):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1]) * 1024
    return total


def forget_peak(port: int) -> None:
    """Let the peak begin anew at what the processes have now; where that is refused it stays as it is."""
    for pid in process_tree(port):
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text(PEAK_OF_NOW)


def process_tree(port: int) -> set[int]:
    """Return the process that listens on ``port`` and all below it."""
    tree = {listener_pid(port)}
    parents = dict(running_processes())
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in tree} - tree
        grown = bool(children)
        tree |= children
    return tree


def running_processes() -> Iterator[tuple[int, int]]:
    """Yield the id and the parent's id of every process."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                yield int(entry.name), int((entry / "stat").read_text().rpartition(")")[2].split()[1])


def listener_pid(port: int) -> int:
    """Return the process that listens on ``port`` (IPv4). Raises BenchError."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    for pid, _ in running_processes():
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(link) in inodes:
                        return pid
    raise BenchError(f"no process of ours listens on port {port}")
