"""A node without sockets, as who administers it sees it."""

from __future__ import annotations

from harebell.administration.administration import Administration
from harebell.administration.audit import AuditLog
from harebell.administration.host import Host, Listener, Resources
from harebell.administration.redrive import Redrives
from harebell.settings import Settings
from tests.support.node import Node


class QuietHost(Host):
    """A host that listens nowhere and uses nothing; a turn is the test node's."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.stopped = False
        self._level = "info"

    def turn(self) -> None:
        self._node.turn()

    async def durable(self, lsn: int) -> None:
        self._node.sync(lsn)

    def listeners(self) -> list[Listener]:
        return []

    def resources(self) -> Resources:
        return Resources()

    def in_service(self) -> bool:
        return not self.stopped

    def set_log_level(self, level: str) -> None:
        self._level = level

    def log_level(self) -> str:
        return self._level

    def certificate_expiries(self) -> list[tuple[Listener, int]]:
        return []

    def stop(self) -> None:
        self.stopped = True


def administration_of(node: Node, settings: Settings | None = None) -> Administration:
    """Give the administration of a node."""

    def no_failure(error: OSError) -> None:
        raise AssertionError(f"the audit log of a node in memory failed: {error}")

    audit = AuditLog(None, lambda: 0, no_failure)
    return Administration(node.broker, node.users, settings or Settings(), QuietHost(node), audit, Redrives())
