"""Creating, changing and deleting virtual hosts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from harebell.administration.administration import Administration
from harebell.administration.users import set_permissions
from harebell.amqp.connection import Connection
from harebell.content.table import Table
from harebell.engine.commands import CreateVhost, DeleteVhost, SetVhostDefaultQueueType, SetVhostMetadata
from harebell.engine.erlang_terms import term
from harebell.engine.policy_checks import check_default_queue_type
from harebell.engine.redeclaring import MODES, REDECLARE, STRICT
from harebell.engine.vhost import Vhost
from harebell.errors import NOT_FOUND, PRECONDITION_FAILED, BrokerError

DESCRIPTION: Final = "description"
TAGS: Final = "tags"
TRACING: Final = "tracing"
PROTECTED: Final = "protected_from_deletion"

UNDEFINED: Final = "undefined"
"""What RabbitMQ shows as the default queue type of a virtual host that has none of its own."""

MAX_NAME: Final = 255
MAX_TEXT: Final = 16_384
MAX_TAGS: Final = 100

EVERYTHING: Final = ".*"


def put_vhost(
    admin: Administration,
    name: str,
    *,
    description: str = "",
    tags: Sequence[str] = (),
    default_queue_type: str | None = None,
    tracing: bool | None = None,
    protected: bool | None = None,
    redeclare: str | None = None,
    creator: str = "",
) -> int:
    """Create a virtual host, or describe an existing one anew.

    As on RabbitMQ an absent description and absent tags replace those there are, whatever else is absent
    stays, and who creates a virtual host may do everything in it.

    Args:
        name: at most 255 octets.
        description, tags: free text.
        default_queue_type: type of queues declared without one; empty or ``undefined`` for the node's.
        tracing: noted and shown; nothing is traced.
        protected: whether the virtual host is refused to be deleted.
        redeclare: what becomes of declarations that differ: ``strict``, ``warn`` or ``update``.
        creator: user who gets all permissions in a new virtual host; empty for nobody.

    Returns:
        The lsn to wait for, 0 if nothing changed.

    Raises:
        BrokerError: PRECONDITION_FAILED for a name, type or text that cannot be.
    """
    wanted = UNDEFINED if default_queue_type is None else default_queue_type
    check_vhost(name, description, tags, wanted)
    check_redeclare(redeclare)
    broker = admin.broker
    lsn = 0
    if name not in broker.vhosts:
        lsn = broker.commit(CreateVhost(name), durable=True)
        if creator and creator in admin.directory.users:
            lsn = max(lsn, set_permissions(admin, name, creator, EVERYTHING, EVERYTHING, EVERYTHING))
    vhost = broker.vhosts[name]
    metadata: Table = {**vhost.metadata, DESCRIPTION: description, TAGS: list(tags)}
    if tracing is not None:
        metadata[TRACING] = tracing
    if protected is not None:
        metadata[PROTECTED] = protected
    if redeclare is not None:
        metadata[REDECLARE] = redeclare
        if redeclare == STRICT:
            del metadata[REDECLARE]
    if metadata != (vhost.metadata or {DESCRIPTION: "", TAGS: []}):
        lsn = max(lsn, broker.commit(SetVhostMetadata(name, metadata), durable=True))
    type_name = "" if wanted == UNDEFINED else wanted
    if default_queue_type is not None and type_name != vhost.default_queue_type:
        lsn = max(lsn, broker.commit(SetVhostDefaultQueueType(name, type_name), durable=True))
    return lsn


def check_vhost(name: str, description: str, tags: Sequence[str], default_queue_type: str) -> None:
    """Check what a virtual host is to be called and described by.

    Raises:
        BrokerError: PRECONDITION_FAILED.
    """
    if not name or _octets(name) > MAX_NAME:
        raise BrokerError(PRECONDITION_FAILED, f"the name of a virtual host has 1 to {MAX_NAME} octets")
    if len(tags) > MAX_TAGS or _octets(description) + sum(map(_octets, tags)) > MAX_TEXT:
        raise BrokerError(
            PRECONDITION_FAILED,
            f"description and tags of a virtual host have {MAX_TEXT} octets and {MAX_TAGS} tags at most",
        )
    if default_queue_type != UNDEFINED:
        check_default_queue_type(default_queue_type)


def check_redeclare(mode: str | None) -> None:
    """Check what is to become of declarations that differ; None leaves it.

    Raises:
        BrokerError: PRECONDITION_FAILED.
    """
    if mode is not None and mode not in MODES:
        raise BrokerError(PRECONDITION_FAILED, f"redeclare is one of {', '.join(MODES)}, not {term(mode)}")


def _octets(text: str) -> int:
    try:
        return len(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise BrokerError(PRECONDITION_FAILED, f"{term(text)} cannot be written in UTF-8") from None


def delete_vhost(admin: Administration, name: str) -> int:
    """Delete a virtual host with everything in it, and close the connections to it with 320.

    Permissions and topic permissions in it go, too.

    Raises:
        BrokerError: NOT_FOUND; PRECONDITION_FAILED if it is protected from deletion.
    """
    vhost = find_vhost(admin, name)
    if protected(vhost):
        raise BrokerError(
            PRECONDITION_FAILED, f"cannot delete virtual host '{name}': it is protected from deletion"
        )
    for session in admin.broker.sessions:
        if isinstance(session, Connection) and session.vhost is vhost:
            session.close_session(f"vhost '{name}' is deleted")
    return admin.broker.commit(DeleteVhost(name), durable=True)


def protect_vhost(admin: Administration, name: str, protect: bool) -> int:
    """Protect a virtual host from deletion, or lift the protection.

    Raises:
        BrokerError: NOT_FOUND.
    """
    vhost = find_vhost(admin, name)
    if protected(vhost) == protect:
        return 0
    metadata: Table = {DESCRIPTION: "", TAGS: [], **vhost.metadata, PROTECTED: protect}
    return admin.broker.commit(SetVhostMetadata(name, metadata), durable=True)


def protected(vhost: Vhost) -> bool:
    """Tell whether a virtual host is protected from deletion."""
    return vhost.metadata.get(PROTECTED) is True


def find_vhost(admin: Administration, name: str) -> Vhost:
    """Look up a virtual host.

    Raises:
        BrokerError: NOT_FOUND.
    """
    found = admin.broker.vhosts.get(name)
    if found is None:
        raise BrokerError(NOT_FOUND, f"vhost '{name}' not found")
    return found
