"""The tree of settings: every option of the broker, with its default, its limits and one sentence of help.

This is the only list: the annotated ``config/harebell.toml``, ``docs/settings.md`` and the JSON schema are
generated from it (``make generate``). To add an option add a field with a ``description``; its name is then
a key in the file and, as ``HAREBELL_<SECTION>__<KEY>``, an environment variable. Models are frozen: a
running node passes them around.
"""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from harebell.settings.values import (
    Memory,
    Milliseconds,
    Names,
    Seconds,
    Size,
    parse_lower,
    parse_switch,
)

FRAME_MIN_SIZE = 4096
LEAST_MESSAGE_MEMORY = 64 * 1024 * 1024
MAX_MESSAGE_SIZE_CEILING = 512 * 1024 * 1024

LoopName = Annotated[Literal["auto", "uvloop", "asyncio"], BeforeValidator(parse_lower)]
QueueTypeName = Annotated[Literal["classic", "quorum", "stream"], BeforeValidator(parse_lower)]
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
LogLevel = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(parse_lower)]
LogFormat = Annotated[Literal["auto", "text", "json"], BeforeValidator(parse_lower)]
VerifyPeer = Annotated[Literal["none", "optional", "required"], BeforeValidator(parse_lower)]
TlsVersion = Literal["1.2", "1.3"]
CertificateName = Annotated[
    Literal["distinguished_name", "common_name", "subject_alternative_name"], BeforeValidator(parse_lower)
]
AlternativeName = Annotated[Literal["dns", "ip", "email", "uri"], BeforeValidator(parse_lower)]
PasswordHashing = Annotated[Literal["argon2id", "sha256"], BeforeValidator(parse_lower)]
Switch = Annotated[Literal["auto", "on", "off"], BeforeValidator(parse_switch)]


class Section(BaseModel):
    """A table of the configuration file. Unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(Section):
    """Where the broker listens and how it starts and stops."""

    bind: Names = Field(
        default=("127.0.0.1", "::1"),
        description="Addresses to listen on, if need be with a port: '0.0.0.0', '::1', '[::]:5673'.",
    )
    port: int = Field(default=5672, ge=0, le=65535, description="AMQP port; 0 takes any free one.")
    plain: bool = Field(default=True, description="Listen without TLS, too.")
    backlog: int = Field(
        default=1024, ge=1, le=65535, description="Connections the kernel may hold before they are accepted."
    )
    handshake_timeout: Seconds = Field(
        default=10.0,
        gt=0,
        description="Seconds a client has from connecting to an open connection; then it is dropped.",
    )
    shutdown_timeout: Seconds = Field(
        default=8.0, description="Seconds to let clients close after SIGTERM before their sockets are cut."
    )
    loop: LoopName = Field(
        default="auto", description="Event loop: uvloop, asyncio, or auto (uvloop where it is installed)."
    )
    proxy_protocol: bool = Field(
        default=False,
        description="Expect the PROXY protocol, version 1 or 2, from load balancers: the first octets of "
        "their connections say where a client really comes from.",
    )
    proxy_trusted: Names = Field(
        default=(),
        description="Networks of those load balancers, such as '10.0.0.0/8'; nobody else is believed, and "
        "who connects from elsewhere needs no PROXY header.",
    )

    @field_validator("bind")
    @classmethod
    def _addresses(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        if not entries:
            raise ValueError("at least one address is needed")
        for entry in entries:
            split_address(entry)
        return entries

    @field_validator("proxy_trusted")
    @classmethod
    def _networks(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            ipaddress.ip_network(entry, strict=False)
        return entries

    def listeners(self) -> tuple[tuple[str, int], ...]:
        """Return every address and port to listen on, in the order given and each once."""
        pairs = [(host, self.port if port is None else port) for host, port in map(split_address, self.bind)]
        return tuple(dict.fromkeys(pairs))


class Amqp(Section):
    """Limits of the protocol that are offered to clients in connection.tune or enforced on what they send."""

    frame_max: int = Field(
        default=131072,
        ge=0,
        le=2**31 - 1,
        description="Largest frame in bytes; 4096 or more, 0 for no limit.",
    )
    channel_max: int = Field(
        default=2047, ge=0, le=65535, description="Channels open at once on a connection; 0 for no limit."
    )
    heartbeat: int = Field(
        default=60, ge=0, le=65535, description="Seconds between heartbeats suggested to clients; 0 for none."
    )
    max_message_size: Size = Field(
        default=16 * 1024 * 1024,
        le=MAX_MESSAGE_SIZE_CEILING,
        description="Largest message body, in bytes or with a unit ('16MiB'); at most 512MiB.",
    )
    max_transaction_size: Size = Field(
        default=256 * 1024 * 1024,
        ge=1,
        le=1024 * 1024 * 1024,
        description="Bytes of messages in one transaction, which is kept in memory until its commit.",
    )

    @field_validator("frame_max")
    @classmethod
    def _not_below_the_minimum(cls, value: int) -> int:
        if 0 < value < FRAME_MIN_SIZE:
            raise ValueError(f"the smallest frame size AMQP 0-9-1 allows is {FRAME_MIN_SIZE} bytes")
        return value


class Limits(Section):
    """What a node lets its clients use before it pushes back or refuses."""

    memory_high_watermark: Memory = Field(
        default=0.6,
        description="Memory at which publishers are blocked: a share of what the machine or container has "
        "(0.6), or a size ('2GiB'); 0 blocks every publisher.",
    )
    message_memory: Memory = Field(
        default=0.02,
        description="Memory for messages that wait in queues: a share of what the machine or container has "
        "(0.02, but not less than 64 MiB), or a size ('512MiB'). Beyond it what is not next stays on disk.",
    )
    disk_free_limit: Size = Field(
        default=256 * 1024 * 1024,
        description="Free disk space below which publishers are blocked: bytes or with a unit; 0 for none.",
    )
    max_connections: int = Field(
        default=0, ge=0, description="Client connections open at once; 0 for no limit."
    )
    max_channels: int = Field(
        default=0, ge=0, description="Channels open at once on all connections together; 0 for no limit."
    )
    max_handshakes: int = Field(
        default=16384,
        ge=0,
        description="Connections at once that have not logged in yet; more are closed. 0 for no limit.",
    )
    max_handshakes_per_address: int = Field(
        default=4096,
        ge=0,
        description="The same for the connections of one address: of one host, or all behind one gateway.",
    )
    outbound_buffer: Size = Field(
        default=1024 * 1024,
        ge=1,
        description="Bytes waiting to be sent on a connection above which its consumers pause.",
    )

    def memory_limit(self, total: int) -> int:
        """Return the high watermark in bytes, at least 1, or 0 when it is a share of an unknown size.

        Args:
            total: bytes of memory the machine or the container has; 0 if that is not known.
        """
        mark = self.memory_high_watermark
        if isinstance(mark, float) and total <= 0:
            return 0
        return max(1, int(total * mark) if isinstance(mark, float) else mark)

    def message_budget(self, total: int) -> int:
        """Return the octets of waiting messages to keep in memory.

        Args:
            total: bytes of memory the machine or the container has; 0 if that is not known.
        """
        memory = self.message_memory
        return max(LEAST_MESSAGE_MEMORY, int(total * memory)) if isinstance(memory, float) else memory


class Auth(Section):
    """The first user and how clients may log in."""

    default_user: str = Field(
        default="guest", min_length=1, description="User made when the node starts with no users."
    )
    default_pass: SecretStr = Field(default=SecretStr("guest"), description="Password of that user.")
    default_vhost: str = Field(default="/", min_length=1, description="Virtual host made at the same time.")
    loopback_users: Names = Field(
        default=("guest",),
        description="Users who may log in only from this machine; an empty list lets all in from anywhere.",
    )
    mechanisms: Names = Field(
        default=("PLAIN", "AMQPLAIN"), description="SASL mechanisms offered, in order of preference."
    )

    password_hashing: PasswordHashing = Field(
        default="argon2id",
        description="How new passwords are hashed: argon2id, or sha256 as RabbitMQ does it, which can then "
        "read what is exported. Hashes of either kind, and RabbitMQ's others, are accepted.",
    )

    free_login_failures: int = Field(
        default=10,
        ge=0,
        description="Wrong passwords for one user from one address that are let pass; further attempts have "
        "to wait, half a second at first and up to 8, and are refused if they do not; 0 never makes them.",
    )
    ssl_cert_login_from: CertificateName = Field(
        default="distinguished_name",
        description="Which name of a client certificate is the user name of EXTERNAL: distinguished_name, "
        "common_name or subject_alternative_name.",
    )
    ssl_cert_login_san_type: AlternativeName = Field(
        default="dns", description="Kind of subject alternative name that is meant: dns, ip, email or uri."
    )
    ssl_cert_login_san_index: int = Field(
        default=0, ge=0, description="Which of several subject alternative names of that kind, from 0."
    )

    @field_validator("mechanisms")
    @classmethod
    def _known_mechanisms(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = ("PLAIN", "AMQPLAIN", "EXTERNAL")
        upper = tuple(name.upper() for name in names)
        if not upper:
            raise ValueError("at least one mechanism is needed")
        for name in upper:
            if name not in known:
                raise ValueError(
                    f"{name!r} is not a mechanism of this broker; choose from {', '.join(known)}"
                )
        return upper


class Queue(Section):
    """Defaults of queues and consumers."""

    consumer_timeout: Milliseconds = Field(
        default=1_800_000,
        description="Milliseconds a delivery may stay unacknowledged before its channel is closed, also "
        "with a unit ('30min'); 0 for no limit.",
    )
    default_queue_type: QueueTypeName = Field(
        default="classic",
        description="Type of queues declared without x-queue-type: classic, quorum or stream.",
    )
    continue_death_history: bool = Field(
        default=True,
        description="Let dead-lettering continue the x-death header of a message that a client published, so "
        "that counts survive republishing; off starts anew, as RabbitMQ 4 does.",
    )
    count_every_return: bool = Field(
        default=True,
        description="Let every return to a quorum queue raise x-delivery-count and count against "
        "x-delivery-limit, as RabbitMQ does up to 4.2: a message that is handed back with basic.nack again "
        "and again is stopped, too. Off counts basic.reject and what closed channels and lost connections "
        "return, but neither basic.nack and basic.recover nor timeouts, as RabbitMQ 4.3 does.",
    )


class Storage(Section):
    """Where durable state lives."""

    data_dir: Path | None = Field(
        default=None,
        description="Folder for durable state; by default $STATE_DIRECTORY, else /var/lib/harebell where it "
        "is writable, else harebell in the user's data folder.",
    )
    in_memory: bool = Field(default=False, description="Keep everything in memory and touch no disk.")
    strict: bool = Field(
        default=False,
        description="Refuse to start with a damaged journal, instead of setting the damaged octets aside.",
    )


class Drain(Section):
    """How a node that was told to stop lets go of its clients."""

    delay: Seconds = Field(
        default=0.0,
        le=3600,
        description="Seconds in which health checks fail already and clients are still served, so that load "
        "balancers send new ones elsewhere; 5s suits Kubernetes.",
    )
    spread: Seconds = Field(
        default=0.0,
        le=3600,
        description="Seconds over which connections are closed, so that not all clients come back at once.",
    )


class Log(Section):
    """What is logged, in which form, and where to."""

    level: LogLevel = Field(
        default="info",
        description="Least severe level that is logged: debug, info, warning, error or critical.",
    )
    format: LogFormat = Field(
        default="auto",
        description="Form of a line: text, json, or auto (text on a terminal, json otherwise).",
    )
    file: Path | None = Field(
        default=None,
        description="File to append to, in place of the standard output; opened anew when it was moved away, "
        "as logrotate does.",
    )
    levels: Names = Field(
        default=(),
        description="Levels of single categories: 'connection=warning', 'channel=debug'; categories are "
        "connection, channel, queue, node, alarm and so on, as in the domain of JSON lines.",
    )

    @field_validator("levels")
    @classmethod
    def _category_levels(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            split_level(entry)
        return entries

    def category_levels(self) -> tuple[tuple[str, str], ...]:
        """Return the categories with levels of their own."""
        return tuple(map(split_level, self.levels))


class Compat(Section):
    """What the broker says of itself to clients, some of which change what they do by it."""

    product: str = Field(
        default="RabbitMQ",
        min_length=1,
        description="Product named in the handshake. Celery and other clients turn features on by it.",
    )
    version: str = Field(
        default="3.13.7",
        pattern=r"^[0-9]+(\.[0-9]+)*([-+.].*)?$",
        description="Version named in the handshake: the RabbitMQ release whose behaviour is followed.",
    )
    node_name: str = Field(default="", description="Name of the node; empty for rabbit@ and the host's name.")
    cluster_name: str = Field(
        default="", description="Name of the cluster in the handshake; empty for the node's name."
    )
    dynamic_qos: Switch = Field(
        default="auto",
        description="Whether basic.qos also changes consumers that already run: on, off, or auto (on for "
        "clients that rely on it).",
    )


class Tls(Section):
    """Encrypted connections; they are offered as soon as a certificate is named."""

    port: int = Field(default=5671, ge=0, le=65535, description="AMQP port for TLS; 0 takes any free one.")
    certificate: Path | None = Field(
        default=None, description="File with the certificate and those between it and the root, in PEM form."
    )
    key: Path | None = Field(
        default=None, description="File with the private key; by default it is in the certificate's file."
    )
    key_password: SecretStr = Field(
        default=SecretStr(""), description="Password of the private key, if it is encrypted."
    )
    sni: Path | None = Field(
        default=None,
        description="Folder with further certificates, each with its key in one file: NAME.pem is for "
        "clients that ask for the host NAME; '*.example.org.pem' is for all names of one level.",
    )
    ca: Path | None = Field(
        default=None, description="File with the authorities whose client certificates are accepted."
    )
    verify: VerifyPeer = Field(
        default="none",
        description="Whether clients must show a certificate: none, optional (checked if shown) or required.",
    )
    crl: Path | None = Field(
        default=None, description="File with certificates that were revoked, in PEM form; needs 'ca'."
    )
    min_version: TlsVersion = Field(default="1.2", description="Oldest version of TLS accepted: 1.2 or 1.3.")
    ciphers: str = Field(default="", description="Ciphers of TLS 1.2, in OpenSSL's form; empty for its own.")


class Management(Section):
    """The HTTP API."""

    enabled: bool = Field(default=True, description="Offer the management HTTP API.")
    bind: Names = Field(
        default=(), description="Addresses to listen on; by default those of the broker ('server.bind')."
    )
    port: int = Field(
        default=15672,
        ge=0,
        le=65535,
        description="HTTP port; 0 takes any free one, and so does the default where server.port is 0.",
    )
    tls_port: int = Field(
        default=15671, ge=0, le=65535, description="HTTPS port, if a certificate is named in [tls]."
    )
    local_socket: bool = Field(
        default=True,
        description="Offer it on the socket 'management.sock' in the data directory too, where the account "
        "that runs the broker, and root, need no password.",
    )
    path_prefix: str = Field(
        default="", pattern=r"^(/[A-Za-z0-9._~-]+)*$", description="Put before every path: '/rabbit'."
    )
    max_body: Size = Field(
        default=64 * 1024 * 1024, ge=1024, description="Largest body of a request, such as definitions."
    )
    max_connections: int = Field(
        default=500, ge=1, description="Most HTTP connections at once; more are dropped."
    )
    trusted_proxies: Names = Field(
        default=(),
        description="Networks of reverse proxies whose header 'X-Forwarded-For' says where a request really "
        "comes from, such as '127.0.0.1/32'. Without it everybody behind a proxy on this machine is local.",
    )
    cors_allow_origins: Names = Field(
        default=(),
        description="Origins whose web pages may use the HTTP API, such as 'https://ops.example'; '*' "
        "is any.",
    )
    sample_interval: Milliseconds = Field(
        default=5000, ge=100, description="Milliseconds between two looks at the counters, for rates."
    )
    load_definitions: Path | None = Field(
        default=None,
        description="Definitions (JSON, as RabbitMQ exports them) to import at every start; a folder is read "
        "file by file.",
    )
    skip_unchanged_definitions: bool = Field(
        default=False, description="Import them only if they have changed since they were last imported."
    )
    skip_unknown_definitions: bool = Field(
        default=False,
        description="Leave out what plugins of RabbitMQ bring (exchange types, policy keys, ...) and warn of "
        "it; else such definitions keep the node from starting.",
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            ipaddress.ip_network(entry, strict=False)
        return entries


class Metrics(Section):
    """Metrics in Prometheus' text format."""

    enabled: bool = Field(default=True, description="Offer metrics over HTTP.")
    bind: Names = Field(
        default=(), description="Addresses to listen on; by default those of the broker ('server.bind')."
    )
    port: int = Field(
        default=15692,
        ge=0,
        le=65535,
        description="HTTP port; 0 takes any free one, and so does the default where server.port is 0.",
    )
    tls_port: int = Field(
        default=15691, ge=0, le=65535, description="HTTPS port, if a certificate is named in [tls]."
    )
    max_labels: int = Field(
        default=100,
        ge=0,
        le=100_000,
        description="Queues that have series of their own in /metrics, for errors and for latencies: the "
        "busiest ones; all others are added up as queue 'other'. The other paths show every queue.",
    )


class Settings(Section):
    """Every setting of a node. ``Settings()`` holds the defaults and reads nothing."""

    server: Server = Server()
    amqp: Amqp = Amqp()
    limits: Limits = Limits()
    auth: Auth = Auth()
    queue: Queue = Queue()
    storage: Storage = Storage()
    drain: Drain = Drain()
    log: Log = Log()
    compat: Compat = Compat()
    tls: Tls = Tls()
    management: Management = Management()
    metrics: Metrics = Metrics()

    @model_validator(mode="after")
    def _trusts_somebody(self) -> "Settings":
        if self.server.proxy_protocol and not self.server.proxy_trusted:
            raise ValueError("server.proxy_protocol is on: name the load balancers in server.proxy_trusted")
        return self

    @model_validator(mode="after")
    def _some_listener(self) -> "Settings":
        if not self.server.plain and self.tls.certificate is None:
            raise ValueError("server.plain is off and tls.certificate names no file: nothing would listen")
        return self

    def plain_listeners(self) -> tuple[tuple[str, int], ...]:
        """Return every address and port to listen on for AMQP without TLS."""
        return self.server.listeners() if self.server.plain else ()

    def tls_listeners(self) -> tuple[tuple[str, int], ...]:
        """Return every address and port to listen on for AMQP over TLS: any free port if AMQP takes one."""
        named = "port" in self.tls.model_fields_set or self.server.port != 0
        hosts = [host for host, _ in self.server.listeners()]
        return tuple(dict.fromkeys((host, self.tls.port if named else 0) for host in hosts))

    def http_listeners(self, section: Management | Metrics) -> tuple[tuple[str, int], ...]:
        """Return every address and port that the HTTP API, or metrics, listen on.

        Where any free AMQP port is asked for, the same goes for these unless their ports are named: several
        nodes can then run side by side.
        """
        named = "port" in section.model_fields_set or self.server.port != 0
        return self._http_addresses(section, section.port if named else 0)

    def https_listeners(self, section: Management | Metrics) -> tuple[tuple[str, int], ...]:
        """Return every address and port that they listen on with TLS, on the same terms."""
        named = "tls_port" in section.model_fields_set or self.server.port != 0
        port = section.tls_port if named else 0
        pairs = self._http_addresses(section, port)
        return tuple(dict.fromkeys((host, port) for host, _ in pairs))

    def _http_addresses(self, section: Management | Metrics, default: int) -> tuple[tuple[str, int], ...]:
        hosts = section.bind or [host for host, _ in self.server.listeners()]
        pairs = [split_address(entry) if section.bind else (entry, None) for entry in hosts]
        return tuple(dict.fromkeys((host, default if port is None else port) for host, port in pairs))


def split_level(entry: str) -> tuple[str, str]:
    """Split ``category=level``.

    Raises:
        ValueError: it is not of that form, or there is no such level.
    """
    category, _, level = (part.strip().lower() for part in entry.partition("="))
    if not category.replace("_", "").isalnum() or level not in LOG_LEVELS:
        raise ValueError(f"{entry!r} is not 'category=level' with one of {', '.join(LOG_LEVELS)}")
    return category, level


def split_address(entry: str) -> tuple[str, int | None]:
    """Split ``host``, ``host:port``, ``::1`` or ``[::1]:port`` into the host and the port, if one is given.

    Raises:
        ValueError: no host, or a port that is not a number from 0 to 65535.
    """
    text = entry.strip()
    host, port = text, ""
    if text.startswith("["):
        host, closing, rest = text[1:].partition("]")
        if not closing or (rest and not rest.startswith(":")) or not _is_ipv6(host):
            raise ValueError(f"{entry!r} is not an address; write '[::1]:5672'")
        port = rest[1:]
        if rest and not port:
            raise ValueError(f"{entry!r} ends in a colon without a port")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port:
            raise ValueError(f"{entry!r} ends in a colon without a port")
    elif ":" in text and not _is_ipv6(text):
        raise ValueError(f"{entry!r} is not an IPv6 address")
    if not host or any(character.isspace() for character in host):
        raise ValueError(f"{entry!r} names no address")
    if not port:
        return host, None
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"{entry!r}: a port is a number from 0 to 65535")
    return host, int(port)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
