"""What administration needs of the node around the broker: addresses, memory, the disk, its turn.

The node implements it (``node_host.py``); tests and embedded brokers may have a smaller one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from harebell.administration.maintenance import REGULAR, Maintenance


@dataclass(frozen=True, slots=True)
class Listener:
    """One address listened on.

    Attributes:
        protocol: ``amqp``, ``amqp/ssl``, ``http``, ``https`` or ``http/prometheus``.
        host, port: the address.
    """

    protocol: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Resources:
    """What the process uses and may use; 0 for what is not known.

    Attributes:
        memory_used, memory_limit: octets resident, and at which publishers are blocked.
        disk_free, disk_free_limit: octets free where the data is, and below which publishers are blocked.
        descriptors_used, descriptors_limit: open files and sockets.
        sockets_used: client connections, those before their login among them.
        loop_lag: seconds by which the event loop was late lately.
    """

    memory_used: int = 0
    memory_limit: int = 0
    disk_free: int = 0
    disk_free_limit: int = 0
    descriptors_used: int = 0
    descriptors_limit: int = 0
    sockets_used: int = 0
    loop_lag: float = 0.0


class Host(ABC):
    """The node as administration sees it.

    Attributes:
        name: the node's name, ``rabbit@...``.
        started_at: unix milliseconds.
        data_dir: the data folder as text; empty in memory.
        maintenance: changes limits and whom the node serves; None where no node runs.
        being_drained: True while the node is put into maintenance mode, or is in it.
    """

    name: str = "rabbit@localhost"
    started_at: int = 0
    data_dir: str = ""
    maintenance: Maintenance | None = None

    @property
    def being_drained(self) -> bool:
        maintenance = self.maintenance
        return maintenance is not None and maintenance.status().state != REGULAR

    @abstractmethod
    def turn(self) -> None:
        """Let queues deliver and write what a change caused, as after a chunk of a client's input."""

    @abstractmethod
    async def durable(self, lsn: int) -> None:
        """Wait until the journal is on stable storage up to an lsn."""

    @abstractmethod
    def listeners(self) -> list[Listener]:
        """List the addresses listened on."""

    @abstractmethod
    def resources(self) -> Resources:
        """Tell what the process uses now; cheap enough for every request."""

    @abstractmethod
    def in_service(self) -> bool:
        """Tell whether clients are accepted: the node has started and is not about to stop."""

    @abstractmethod
    def set_log_level(self, level: str) -> None:
        """Change the least severe level that is logged.

        Raises:
            KeyError: there is no such level.
        """

    @abstractmethod
    def log_level(self) -> str:
        """Give the least severe level that is logged."""

    def log_lines(self, after: int, most: int) -> tuple[int, list[str]]:
        """Give the number of the last line of the log, and the last lines after another number.

        Args:
            after: number of a line; 0 leaves out nothing.
            most: how many lines.
        """
        return 0, []

    @abstractmethod
    def certificate_expiries(self) -> list[tuple[Listener, int]]:
        """List the TLS listeners and when their certificates end, unix seconds."""

    @abstractmethod
    def stop(self) -> None:
        """Begin an orderly shutdown."""
