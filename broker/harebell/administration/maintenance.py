"""What an operator changes on a running node until it starts anew: its alarms' limits, and whom it serves.

The node implements it (``node_maintenance.py``).  RabbitMQ has the same in ``set_vm_memory_high_watermark``,
``set_disk_free_limit``, ``suspend_listeners``, ``resume_listeners``, ``drain`` and ``revive``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

REGULAR: Final = "regular"
DRAINING: Final = "draining"
DRAINED: Final = "drained"
"""Whom a node serves: everybody, nobody new, nobody; RabbitMQ's words for it."""


@dataclass(frozen=True, slots=True)
class MaintenanceStatus:
    """How far maintenance is.

    Attributes:
        state: ``regular``, ``draining`` or ``drained``.
        suspended: whether clients' listeners are closed.
        connections_at_start: when draining began.
        connections_left: open now, those that have not logged in among them.
    """

    state: str
    suspended: bool
    connections_at_start: int
    connections_left: int


class Maintenance(ABC):
    """Limits and maintenance of one running node."""

    @property
    @abstractmethod
    def memory(self) -> int:
        """Octets of memory the machine or container has; 0 if that is not known."""

    @abstractmethod
    def set_memory_limit(self, octets: int) -> None:
        """Block publishers at another number of octets from now on; 0 blocks them at once.

        The alarm is set or cleared before this returns.
        """

    @abstractmethod
    def set_disk_free_limit(self, octets: int) -> None:
        """Block publishers below another number of free octets from now on; 0 never does."""

    @abstractmethod
    def suspend(self) -> None:
        """Close the listeners of clients; connections go on.  Those of HTTP stay, to come back over."""

    @abstractmethod
    async def resume(self) -> None:
        """Listen for clients again, on the same addresses.

        Raises:
            OSError: an address was taken meanwhile; then those listeners stay closed that cannot be opened.
        """

    @abstractmethod
    def drain(self, seconds: float) -> None:
        """Close the listeners, and the connections one after the other; goes on after this returns.

        Args:
            seconds: over which connections are closed.
        """

    @abstractmethod
    async def revive(self) -> None:
        """Serve clients again after ``drain``; what it has not closed yet stays open.

        Raises:
            OSError: as ``resume``.
        """

    @abstractmethod
    def status(self) -> MaintenanceStatus:
        """Tell how far it is."""
