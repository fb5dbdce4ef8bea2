"""What all who administer a broker share: the HTTP API, definitions at start, an embedded broker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harebell.administration.audit import AuditLog
from harebell.administration.host import Host
from harebell.administration.schedules import Schedules
from harebell.auth.backends import UserDirectory
from harebell.engine.broker import Broker
from harebell.settings import Settings

if TYPE_CHECKING:
    from harebell.administration.redrive import Redrives


@dataclass(frozen=True, slots=True)
class Administration:
    """One node, as who administers it sees it.

    Operations are functions of the modules of this package that take it as their first argument.  They check,
    commit, and return the lsn that their answer waits for (``Host.durable``); they never wait themselves.

    Attributes:
        broker: the engine.
        directory: the users.
        settings: frozen.
        host: the node around.
        audit: who did what.
        redrives: dead letters on their way back.
        schedules: messages that the node publishes at certain times.
    """

    broker: Broker
    directory: UserDirectory
    settings: Settings
    host: Host
    audit: AuditLog
    redrives: Redrives
    schedules: Schedules = field(default_factory=Schedules)
