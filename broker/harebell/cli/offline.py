"""Definitions off the data directory of a broker that does not run. Nothing is changed there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from harebell.administration.administration import Administration
from harebell.administration.audit import AuditLog
from harebell.administration.definitions import exported, exported_vhost
from harebell.administration.host import Host, Listener, Resources
from harebell.administration.redrive import Redrives
from harebell.auth.backends import UserDirectory
from harebell.cli.exits import CONFIG, DATA, IO_FAILED, Failure
from harebell.engine.broker import Broker, Limits
from harebell.engine.commands import decode
from harebell.errors import BrokerError
from harebell.node import new_token
from harebell.settings import Settings
from harebell.storage.data_dir import JOURNAL
from harebell.storage.files import DiskFiles
from harebell.storage.null import NullJournal
from harebell.storage.records import SEGMENT_HEAD_SIZE, BadSegment, decode_segment_head, next_valid
from harebell.storage.replay import Recovered
from harebell.storage.segments import NAME_SUFFIX
from harebell.storage.snapshot import BadSnapshot, read_snapshot
from harebell.storage.streams.memory import MemoryStreamLogs


class _Stopped(Host):
    """A node that does not run: it has a name, and nothing can be asked of it."""

    def turn(self) -> NoReturn:
        raise RuntimeError("the node does not run")

    async def durable(self, lsn: int) -> NoReturn:
        self.turn()

    def listeners(self) -> list[Listener]:
        return []

    def resources(self) -> Resources:
        return Resources()

    def in_service(self) -> bool:
        return False

    def set_log_level(self, level: str) -> NoReturn:
        self.turn()

    def log_level(self) -> str:
        return ""

    def certificate_expiries(self) -> list[tuple[Listener, int]]:
        return []

    def stop(self) -> NoReturn:
        self.turn()


def read_definitions(data_dir: Path, vhost: str | None) -> dict[str, Any]:
    """Read what is declared in a data directory.

    Args:
        data_dir: of a broker that does not run; what one that runs declares meanwhile may be missing.
        vhost: only of this virtual host.

    Raises:
        Failure: there is no journal, or it cannot be read; or there is no such virtual host.
    """
    if not (data_dir / JOURNAL).is_dir():
        raise Failure(f"{data_dir} is no data directory of harebell: it has no folder {JOURNAL!r}", CONFIG)
    access = UserDirectory(())
    broker = Broker(access, NullJournal(), Limits(), new_token, {}, streams=MemoryStreamLogs())
    try:
        for encoded in _commands(DiskFiles(data_dir / JOURNAL)):
            broker.replay(decode(encoded))
    except (BadSegment, BadSnapshot) as error:
        raise Failure(f"{data_dir}: {error}", DATA) from None
    except OSError as error:
        raise Failure(f"the journal cannot be read: {error}", IO_FAILED) from None
    audit = AuditLog(None, lambda: 0)
    admin = Administration(broker, access, Settings(), _Stopped(), audit, Redrives())
    try:
        found = exported(admin) if vhost is None else exported_vhost(admin, vhost)
        return dict(found.document())
    except BrokerError:
        raise Failure(f"there is no virtual host {vhost!r}", DATA) from None


def _commands(files: DiskFiles) -> list[bytes]:
    """Read the commands of the snapshot and those after it; damaged octets are passed over."""
    snapshot, _ = read_snapshot(files)
    recovered = Recovered(snapshot.start, snapshot.lsn)
    for name in files.names():
        if not name.endswith(NAME_SUFFIX):
            continue
        data = files.read(name)
        base, _ = decode_segment_head(data)
        if base < snapshot.start:
            continue
        recovered.next_segment(base)
        behind = base - SEGMENT_HEAD_SIZE
        offset = SEGMENT_HEAD_SIZE
        while 0 <= offset < len(data):
            offset = int(recovered.replay(data, offset, behind))
            if offset < len(data):
                offset = int(next_valid(data, offset + 1, behind))
    later = [command for lsn, command in recovered.commands if lsn >= snapshot.lsn]
    return snapshot.commands + later
