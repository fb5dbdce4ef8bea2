"""The abstract edges of the engine: what it needs from storage, time, users and sessions.

Each has a real implementation at the rim (``storage``, ``auth``, ``amqp``, ``server``) and is passed in
by the composition root, so that engine and protocol stay free of I/O.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from mypy_extensions import i64, mypyc_attr

from harebell.content.message import Message
from harebell.content.table import Table
from harebell.histograms import Commits


@mypyc_attr(allow_interpreted_subclasses=True)
class ChunkSource(ABC):
    """Who has messages for the journal that become one record together."""

    __slots__ = ()

    @abstractmethod
    def close_chunk(self) -> None:
        """Append them with ``Journal.chunk``, unless there are none any more."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Journal(ABC):
    """The write-ahead log as the engine sees it.

    Every append returns an lsn; what it describes may be confirmed once ``durable`` has reached that
    lsn.  An lsn of 0 means nothing had to be written.

    Attributes:
        durable: the highest lsn known to be on stable storage.
        appended: the lsn behind everything appended.
        commits: how long the disk took.
        keeps_chunks: True if chunks can be appended; else each message needs a record of its own.
        in_transaction: True while a transaction is open, which chunks are no part of.
        segment: number of the segment being written.
        open_octets: what open chunks hold; their sources add and subtract.
    """

    def __init__(self) -> None:
        self.commits = Commits()
        self.durable: i64 = 0
        self.appended: i64 = 0
        self.keeps_chunks: bool = False
        self.in_transaction: bool = False
        self.segment: i64 = 0
        self.open_octets: i64 = 0

    @abstractmethod
    def begin_message(self, message: Message) -> None:
        """Start the record of one persistent message; its enqueues follow."""

    @abstractmethod
    def enqueue(self, queue_id: i64, position: i64) -> None:
        """Add to the open record that a queue takes the message at a position."""

    @abstractmethod
    def end_message(self) -> i64:
        """Close the open record and return its lsn."""

    @abstractmethod
    def open_chunk(self, queue_id: i64, source: ChunkSource) -> None:
        """Have a chunk asked for before anything that must not come before it.

        That is the end of the batch, a record of another message of that queue, and a transaction.  So
        whatever the chunk takes from now on is durable when ``durable`` exceeds what ``appended`` is now.
        """

    @abstractmethod
    def chunk(self, queue_id: i64, chunk: bytes) -> i64:
        """Append messages of a stream, as ``content/chunks.py`` has them, outside of a transaction.

        Returns:
            The octets that ``segment`` holds alive for it, until they are given up with ``release``.
        """

    @abstractmethod
    def settle(self, queue_id: i64, position: i64, message: Message) -> None:
        """Record that a queue no longer holds the message at a position; nobody waits for this."""

    @abstractmethod
    def forget(self, queue_id: i64, position: i64, message: Message) -> None:
        """A deleted queue no longer holds the message: its delete command said so already."""

    @abstractmethod
    def release(self, segment: i64, octets: i64) -> None:
        """Messages are kept elsewhere, durably: a segment holds so many octets less that are alive."""

    @abstractmethod
    def settle_run(self, queue_id: i64, first: i64, count: i64) -> None:
        """Record that a queue no longer holds neighbouring positions; their claims are given up elsewhere."""

    @abstractmethod
    def requeue(self, queue_id: i64, position: i64) -> None:
        """Record that a message went back to the queue, to be flagged redelivered from now on."""

    @abstractmethod
    def hold(self, queue_id: i64, position: i64, until: i64) -> None:
        """Record that a message that went back must not be delivered before a time, unix milliseconds."""

    @abstractmethod
    def flag(self, queue_id: i64, position: i64) -> None:
        """Record that a message never flagged went back, which is not counted: flagged from now on."""

    @abstractmethod
    def command(self, command: bytes) -> i64:
        """Record a change of durable metadata, encoded (see ``engine/commands.py``)."""

    @abstractmethod
    def begin_transaction(self) -> None:
        """What follows, up to ``end_transaction``, is on disk all or not at all; an inner one joins it."""

    @abstractmethod
    def end_transaction(self) -> i64:
        """Close the record set opened by ``begin_transaction`` and return its lsn."""

    @abstractmethod
    def flush(self) -> None:
        """A turn is over: begin to make durable what was appended, unless that is under way already."""

    @abstractmethod
    def backlog(self) -> i64:
        """Give the octets appended that are not written yet."""


class Clock:
    """The time as the engine sees it: set by the rim once a tick, read everywhere.

    Attributes:
        now: monotonic milliseconds.
        wall: unix milliseconds; may jump.
    """

    def __init__(self) -> None:
        self.now: i64 = 0
        self.wall: i64 = 0


class User:
    """An authenticated identity.

    Attributes:
        name: the user name.
        tags: management tags (``administrator``, ``impersonator``, ...).
        unlimited: whether every permission is granted, everywhere: to nobody who logged in.
    """

    def __init__(self, name: str, tags: frozenset[str], unlimited: bool = False) -> None:
        self.name = name
        self.tags = tags
        self.unlimited = unlimited


class Login:
    """One attempt to authenticate.

    Args:
        mechanism: SASL mechanism name.
        username: as claimed.
        password: as claimed; empty for EXTERNAL.
        peer: the peer's address, as text.
        certificate_name: the name in the peer's verified certificate, or None.
        protocol: what it is counted under: ``amqp`` or ``http``.

    Attributes:
        refusal: why it was refused, for the log; a client is not told all of it.
    """

    def __init__(
        self,
        mechanism: str,
        username: str,
        password: bytes,
        peer: str = "",
        certificate_name: str | None = None,
        protocol: str = "amqp",
    ) -> None:
        self.mechanism = mechanism
        self.username = username
        self.password = password
        self.peer = peer
        self.certificate_name = certificate_name
        self.protocol = protocol
        self.refusal = ""


@mypyc_attr(allow_interpreted_subclasses=True)
class AccessControl(ABC):
    """Who may do what; asked on every operation (cached where it runs per message)."""

    @abstractmethod
    def authenticate(self, login: Login, done: Callable[[User | None], None]) -> None:
        """Check a login and call ``done`` with the user or None, at once or later."""

    def renew(self, user: User, secret: bytes, done: Callable[[User | None], None]) -> None:
        """Take a new secret from a connected user (``connection.update-secret``).

        Logins of the internal directory do not expire, so it takes any secret, as RabbitMQ does.
        """
        done(user)

    @abstractmethod
    def apply(self, kind: str, change: Table) -> Iterable[str]:
        """Carry out a change of the directory, which was checked before it was journalled.

        Args:
            kind: what changes; see ``auth/changes.py``.
            change: what it takes.

        Returns:
            The virtual hosts in which somebody's permissions are others now.
        """

    @abstractmethod
    def changes(self) -> Iterable[tuple[str, Table]]:
        """List kinds and changes that make up everything the directory keeps."""

    @abstractmethod
    def forget_vhost(self, vhost: str) -> None:
        """A virtual host is deleted: what was granted in it goes."""

    @abstractmethod
    def may_open(self, user: User, vhost: str) -> bool:
        """Tell whether the user has any permission in the virtual host."""

    def limit(self, user: User, name: str) -> int:
        """Give a limit of the user: ``max-connections`` or ``max-channels``; negative is none."""
        return -1

    @abstractmethod
    def allowed(self, user: User, vhost: str, permission: str, name: str) -> bool:
        """Check ``configure``, ``write`` or ``read`` on a named exchange or queue."""

    @abstractmethod
    def topic_allowed(self, user: User, vhost: str, exchange: str, permission: str, routing_key: str) -> bool:
        """Check a routing key on a topic exchange."""


class Schema:
    """What messages have to look like.

    Args:
        kind: ``json-schema``, ``avro`` or ``protobuf``.
        text: as it was registered.
        message: the message type of a Protobuf schema; empty for the first one.
    """

    def __init__(self, kind: str, text: str, message: str = "") -> None:
        self.kind = kind
        self.text = text
        self.message = message


@mypyc_attr(allow_interpreted_subclasses=True)
class MessageCheck(ABC):
    """A schema, ready to check messages."""

    @abstractmethod
    def problem(self, body: bytes, framed: bool) -> str:
        """Say what is wrong with a message; empty if it is valid.

        Args:
            body: without the five octets of a frame.
            framed: True if it came in one (see ``engine/schemas.py``).
        """


@mypyc_attr(allow_interpreted_subclasses=True)
class SchemaFormats(ABC):
    """Knows the formats of schemas."""

    @abstractmethod
    def check(self, schema: Schema) -> MessageCheck:
        """Make a schema ready.

        Raises:
            InvalidSchema: it is no schema, or what reads its format is not installed.
        """

    @abstractmethod
    def differences(self, reader: Schema, writer: Schema) -> list[str]:
        """List why who goes by one schema may be unable to read what is valid by another; empty if it can.

        Raises:
            InvalidSchema: one of them is no schema, or what reads its format is not installed.
        """


@mypyc_attr(allow_interpreted_subclasses=True)
class SessionHandle(ABC):
    """A client connection as the rest of the broker sees it."""

    @abstractmethod
    def close_session(self, text: str) -> None:
        """Close the connection with 320 CONNECTION_FORCED and this text."""

    def info(self) -> Table:
        """Describe the connection in the fields of RabbitMQ's HTTP API, without rates."""
        return {}

    def channel_infos(self) -> list[Table]:
        """Describe its channels in the fields of RabbitMQ's HTTP API, without rates."""
        return []

    def consumer_infos(self) -> list[Table]:
        """Describe its consumers in the fields of RabbitMQ's HTTP API."""
        return []

    @abstractmethod
    def unacked_messages(self, segment: i64) -> list[tuple[int, int, Message, int]]:
        """List queue id, position, message and returns (``paging.RETURN``) of unanswered deliveries.

        Args:
            segment: number of the journal's segment their record is in; -1 is any.
        """

    @abstractmethod
    def block(self, reason: str) -> None:
        """Tell a publisher that it must wait."""

    @abstractmethod
    def unblock(self) -> None:
        """Tell a publisher that it may go on."""
