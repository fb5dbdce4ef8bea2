"""``harebell doctor``: is this machine, and the broker on it, in good order?"""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from harebell.cli.api import Api
from harebell.cli.exits import DATA, Failure, address
from harebell.cli.local_socket import default_data_dir
from harebell.cli.options import connection_options, open_api, quiet_option
from harebell.cli.output import emit, mark, octets

ENOUGH_DESCRIPTORS = 65_536
SYNCS = 50
SLOW_SYNC = 0.020
"""Seconds; a sync that takes longer bounds confirms to fewer than 50 batches a second."""

LOW_DISK = 1 << 30
CLOCK_SKEW = 5.0


class Finding(NamedTuple):
    """What was looked at, whether it is well, and what to do if not."""

    name: str
    well: bool
    text: str


@click.command()
@click.option(
    "-D", "--data-dir", type=click.Path(path_type=Path), metavar="DIR", help="The broker's data directory."
)
@click.option("--offline", is_flag=True, help="Look at this machine only, not at a broker.")
@quiet_option
@connection_options
def doctor(data_dir: Path | None, offline: bool) -> int:
    """Look for what makes brokers slow or stops them; exit code 65 if anything is wrong."""
    findings = list(_machine(data_dir))
    if not offline:
        api = open_api(10.0)
        try:
            findings += _broker(api)
        finally:
            api.close()
    emit(f"{mark(one.well, 'ok  ' if one.well else 'LOOK')}  {one.name:12} {one.text}" for one in findings)
    return 0 if all(one.well for one in findings) else DATA


def _machine(data_dir: Path | None) -> Iterator[Finding]:
    yield _compiled()
    yield _loop()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = soft >= ENOUGH_DESCRIPTORS or hard >= ENOUGH_DESCRIPTORS
    advice = (
        ""
        if enough
        else f"; a connection takes one: raise it to {ENOUGH_DESCRIPTORS:,} (LimitNOFILE, ulimit -n)"
    )
    yield Finding("descriptors", enough, f"{soft:,} of at most {hard:,}{advice}")
    yield from _disk(data_dir or default_data_dir(os.environ))


def _compiled() -> Finding:
    from harebell.compiled import summary

    state = summary()
    advice = "" if state == "compiled" else ": several times slower; install a C compiler and build it again"
    return Finding("hot path", state == "compiled", state + advice)


def _loop() -> Finding:
    from importlib.util import find_spec

    if find_spec("uvloop") is None:
        return Finding("loop", False, "asyncio's own: uvloop is faster, and is not installed")
    return Finding("loop", True, "uvloop")


def _disk(folder: Path) -> Iterator[Finding]:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    yield Finding("disk", free >= LOW_DISK, f"{octets(free)} free at {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("data", False, f"{folder} cannot be written by this user: looked from outside only")
        return
    slow = _sync_time(folder)
    advice = "" if slow < SLOW_SYNC else ": confirms of durable messages wait for it"
    yield Finding("sync", slow < SLOW_SYNC, f"{slow * 1000:.2f} ms at the 99th percentile{advice}")
    if (folder / "journal").is_dir():
        yield _damage(folder)


def _sync_time(folder: Path) -> float:
    """Return the 99th percentile of the time, in seconds, in which a small write gets to the disk."""
    path = folder / f".doctor-{os.getpid()}"
    times = []
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        for _ in range(SYNCS):
            os.write(descriptor, b"\0" * 4096)
            began = time.perf_counter()
            getattr(os, "fdatasync", os.fsync)(descriptor)
            times.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return sorted(times)[int(SYNCS * 0.99)]


def _damage(folder: Path) -> Finding:
    from harebell.storage.damage import read_damage
    from harebell.storage.files import DiskFiles

    losses = read_damage(DiskFiles(folder / "journal"))
    advice = f"; `harebell journal damage {folder}` lists what" if losses else ""
    return Finding(
        "journal",
        not losses,
        f"{len(losses)} losses not acknowledged{advice}" if losses else "no known damage",
    )


def _broker(api: Api) -> Iterator[Finding]:
    try:
        sent = time.time()
        overview = api.get("overview")
        node = api.get("nodes", overview["node"])
    except Failure as error:
        yield Finding("broker", False, str(error))
        return
    yield Finding("broker", True, f"{overview['node']} answers in {(time.time() - sent) * 1000:.0f} ms")
    alarms = [name for name, key in (("memory", "mem_alarm"), ("disk", "disk_free_alarm")) if node.get(key)]
    yield Finding("alarms", not alarms, f"{', '.join(alarms)}: publishers are blocked" if alarms else "none")
    for used, total, name in (("mem_used", "mem_limit", "memory"), ("fd_used", "fd_total", "descriptors")):
        share = node.get(used, 0) / (node.get(total) or 1)
        yield Finding(name, share < 0.9, f"{100 * share:.0f} % used")
    lag = node.get("loop_lag")
    if isinstance(lag, int | float):
        yield Finding("event loop", lag < 0.1, f"late by {1000 * lag:.0f} ms lately")
    yield from _openness(api, overview)


def _openness(api: Api, overview: dict[str, object]) -> Iterator[Finding]:
    listeners = overview.get("listeners")
    assert isinstance(listeners, list)
    outside = [
        address(one["ip_address"], one["port"])
        for one in listeners
        if one["ip_address"] not in ("127.0.0.1", "::1") and one["protocol"] in ("amqp", "http")
    ]
    from harebell.cli.users import logs_in

    # Over the local socket nobody had to log in.
    known = api.user == "guest" and (api.local is None or logs_in(api, "guest", "guest"))
    if outside and known:
        text = f"guest has its known password, and {', '.join(outside)} can be reached from other machines"
        yield Finding("password", False, text)
