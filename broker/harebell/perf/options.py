"""What one run is asked to do, checked before anything is connected."""

from dataclasses import dataclass, field

from pamqp.common import FieldValue

from harebell.perf.errors import OptionError
from harebell.perf.inbound import ORDERED_OCTETS, STAMP_OCTETS
from harebell.perf.url import BrokerURL

EXCHANGE_TYPES = ("direct", "fanout", "topic", "headers")
DROPPED = "dropped"
REJECTED = "rejected"
DEAD_LETTERS = (DROPPED, REJECTED)
MAX_SIZE = 512 * 1024 * 1024
MAX_CONNECTIONS = 10_000
MAX_WINDOW = 1_000_000
MAX_PREFETCH = 65_535
MAX_IN_FLIGHT = 1_000_000_000
MAX_PRIORITY = 255
MAX_EXPIRATION = 4_294_967_295
DEFAULT_SECONDS = 10.0


@dataclass(frozen=True)
class Options:
    """One run. Sizes in octets, times in seconds, ``rate`` in messages per second over all publishers.

    ``duration`` None with ``count`` None means ``DEFAULT_SECONDS``. ``confirm`` 0 means no confirms,
    ``ack_every`` 0 automatic acknowledgement, 1 each delivery on its own, n every n-th with multiple.
    ``in_flight`` is how many messages may be published and not yet received, 0 for no limit. ``ordered``
    numbers what is published, and has consumers, in this run or another, count what is not in order.
    ``priority`` and ``expiration`` (ms) are the least and the most: each message has a random one of these.
    With ``dead_letters`` each queue has a dead-letter queue, and the consumers take what comes there:
    because the queue gave it up (``DROPPED``), or a connection for each consumer rejects it (``REJECTED``).
    """

    url: BrokerURL = field(default_factory=BrokerURL)
    publishers: int = 1
    consumers: int = 1
    queues: int = 1
    queue: str | None = None
    exchange: str | None = None
    exchange_type: str | None = None
    routing_key: str | None = None
    size: int = 100
    persistent: bool = False
    durable: bool = False
    mandatory: bool = False
    confirm: int = 0
    ack_every: int = 0
    prefetch: int = 0
    rate: float = 0.0
    in_flight: int = 0
    duration: float | None = None
    count: int | None = None
    queue_args: dict[str, FieldValue] = field(default_factory=dict)
    consume_args: dict[str, FieldValue] = field(default_factory=dict)
    heartbeat: int = 60
    warmup: float = 0.0
    latency: bool = True
    ordered: bool = False
    priority: tuple[int, int] | None = None
    expiration: tuple[int, int] | None = None
    dead_letters: str | None = None

    @property
    def seconds(self) -> float | None:
        """How long to measure, None for as long as ``count`` messages take."""
        if self.duration is None and self.count is None:
            return DEFAULT_SECONDS
        return self.duration

    @property
    def stamped(self) -> bool:
        """Whether bodies carry the time of their publish."""
        return self.latency and self.publishers > 0 and self.size >= STAMP_OCTETS

    def check(self) -> None:
        """Raise OptionError, naming the option, for the first thing that makes no sense."""
        for name, value, least, most in (
            ("--publishers", self.publishers, 0, MAX_CONNECTIONS),
            ("--consumers", self.consumers, 0, MAX_CONNECTIONS),
            ("--queues", self.queues, 1, MAX_CONNECTIONS),
            ("--size", self.size, 0, MAX_SIZE),
            ("--confirm", self.confirm, 0, MAX_WINDOW),
            ("--prefetch", self.prefetch, 0, MAX_PREFETCH),
            ("--in-flight", self.in_flight, 0, MAX_IN_FLIGHT),
            ("--heartbeat", self.heartbeat, 0, 65_535),
        ):
            if not least <= value <= most:
                raise OptionError(f"{name} must be {least} to {most}")
        if self.count is not None and self.count < 1:
            raise OptionError("--count must be at least 1")
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise OptionError("--duration must be more than 0")
        if not 0 <= self.warmup < float("inf"):
            raise OptionError("--warmup must not be negative")
        if not 0 <= self.rate < float("inf"):
            raise OptionError("--rate must not be negative")
        self._check_together()

    def _check_together(self) -> None:
        if self.publishers == 0 and self.consumers == 0:
            raise OptionError("with --publishers 0 and --consumers 0 there is nothing to do")
        if self.in_flight and (self.publishers == 0 or self.consumers == 0):
            raise OptionError("--in-flight needs publishers and consumers in the same run")
        if self.ack_every > 1 and 0 < self.prefetch < self.ack_every:
            raise OptionError(
                "--ack multiple:N needs --prefetch 0 or at least N: else deliveries stop before an ack"
            )
        if self.ack_every == 0 and self.prefetch > 0 and self.dead_letters != REJECTED:
            raise OptionError("--prefetch has no effect with --ack auto")
        if self.ordered and (self.publishers > 1 or self.queues > 1 or self.size < ORDERED_OCTETS):
            raise OptionError(
                f"--ordered needs one queue, at most one publisher, and --size of at least {ORDERED_OCTETS}"
            )
        self._check_properties()
        if self.consume_args and self.consumers == 0:
            raise OptionError("--consume-args needs consumers")
        if self.exchange_type is not None and self.exchange_type not in EXCHANGE_TYPES:
            raise OptionError(f"--type must be one of {', '.join(EXCHANGE_TYPES)}")
        if self.exchange == "" and self.exchange_type is not None:
            raise OptionError("--type has no meaning for the default exchange")
        if self.count is not None and self.warmup > 0:
            raise OptionError("--warmup goes with --duration; --count counts every message")
        names = {"--queue": self.queue, "--exchange": self.exchange, "--routing-key": self.routing_key}
        for name, text in names.items():
            if text is not None and len(text.encode("utf-8", "surrogateescape")) > 240:
                raise OptionError(f"{name} must be at most 240 octets")

    def _check_properties(self) -> None:
        for name, given, most in (
            ("--priority", self.priority, MAX_PRIORITY),
            ("--expiration", self.expiration, MAX_EXPIRATION),
        ):
            if given is None:
                continue
            if not 0 <= given[0] <= given[1] <= most:
                raise OptionError(f"{name} must be within 0 to {most}, the least first")
            if self.ordered:
                raise OptionError(f"--ordered has no meaning with {name}")
        if self.dead_letters is not None and self.dead_letters not in DEAD_LETTERS:
            raise OptionError(f"--dead-letters must be one of {', '.join(DEAD_LETTERS)}")
        if self.dead_letters is not None and self.consumers == 0:
            raise OptionError("--dead-letters needs consumers in the same run")


def parse_range(name: str, text: str) -> tuple[int, int]:
    """Read ``N`` or ``MIN-MAX``, the value of the option ``name``. Raises OptionError."""
    least, separator, most = text.partition("-")
    numbers = (least, most if separator else least)
    if not all(number.isascii() and number.isdigit() and len(number) < 19 for number in numbers):
        raise OptionError(f"{name} must be a whole number, or MIN-MAX, not {text!r}")
    return int(numbers[0]), int(numbers[1])


def parse_ack(text: str) -> int:
    """Read ``auto``, ``each`` or ``multiple:N`` as ``Options.ack_every``. Raises OptionError."""
    if text == "auto":
        return 0
    if text == "each":
        return 1
    kind, _, number = text.partition(":")
    if kind == "multiple" and number.isascii() and number.isdigit() and 2 <= int(number[:10]) <= MAX_WINDOW:
        return int(number)
    raise OptionError(f"--ack must be auto, each or multiple:N with N from 2 to {MAX_WINDOW}")


def ack_text(ack_every: int) -> str:
    """Write what ``parse_ack`` reads."""
    return "auto" if ack_every == 0 else "each" if ack_every == 1 else f"multiple:{ack_every}"


def parse_argument(name: str, text: str) -> tuple[str, FieldValue]:
    """Read ``key=value``, a value of the option ``name``. Raises OptionError.

    An integer, ``true`` or ``false`` is sent as such, anything else as text.
    """
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise OptionError(f"{name} must be KEY=VALUE, not {text!r}")
    if value in ("true", "false"):
        return key, value == "true"
    digits = value.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 19:
        return key, int(value)
    return key, value
