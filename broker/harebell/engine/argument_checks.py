"""Checks of the values of arguments and policy keys, in RabbitMQ's words for what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from harebell.content.table import Timestamp

LONGEST_MS: Final = 1 << 52
"""What longer intervals are taken for: more than 100,000 years."""

MOST_SEGMENT_OCTETS: Final = 3_000_000_000

Check = Callable[[object], str | None]
"""Gives None if the value is good, else what is wrong with it."""


def wire_type(value: object) -> str:
    """Give RabbitMQ's name of the field type a value came in; every integer is a ``long`` here."""
    if isinstance(value, bool):
        return "bool"
    for known, name in _WIRE_TYPES:
        if isinstance(value, known):
            return name
    return "void"


_WIRE_TYPES: Final = (
    (str, "longstr"),
    (Timestamp, "timestamp"),
    (int, "long"),
    (float, "float"),
    (bytes, "binary"),
    (dict, "table"),
    (list, "array"),
    (Decimal, "decimal"),
)


def of_another_type(value: object) -> str:
    """Say that a value has the wrong type."""
    return f"{{unacceptable_type,{wire_type(value)}}}"


def integer(low: int, high: int = 2**63 - 1) -> Check:
    """Check for a whole number within bounds, both included; a timestamp is none."""

    def check(value: object) -> str | None:
        if type(value) is not int:
            return f'"expected integer, got {wire_type(value)}"'
        if low <= value <= high:
            return None
        if value > high:
            return f"{{{'max_value_exceeded' if high <= 255 else 'value_too_large'},{value}}}"
        if value < 0:
            return f"{{value_negative,{value}}}"
        return f"{{value_zero,{value}}}" if value == 0 else f"{{value_too_small,{value}}}"

    return check


def one_of(*allowed: str, wrong: str = "{invalid_value,VALUE}") -> Check:
    """Check for one of a few strings; ``wrong`` says what another one is, with VALUE for the string."""

    def check(value: object) -> str | None:
        if not isinstance(value, str):
            return of_another_type(value)
        return None if value in allowed else wrong.replace("VALUE", value)

    return check


def text(value: object) -> str | None:
    """Check for a string."""
    return None if isinstance(value, str) else of_another_type(value)


def short_text(value: object) -> str | None:
    """Check for a name: a string that fits a short string on the wire."""
    if not isinstance(value, str):
        return of_another_type(value)
    return None if len(value.encode("utf-8", "surrogateescape")) <= 255 else "longer than 255 bytes"


def key_name(value: object) -> str | None:
    """Check for where a key is: ``routing-key``, ``message-id`` or the name of a header."""
    return "empty" if value == "" else short_text(value)


def header_name(value: object) -> str | None:
    """Check for the name of a header."""
    return "empty" if value == "" else short_text(value)


def boolean(value: object) -> str | None:
    """Check for true or false."""
    return None if isinstance(value, bool) else of_another_type(value)


def queue_version(value: object) -> str | None:
    """Check for a version of the classic queues' storage."""
    if type(value) is not int:
        return f'"expected integer, got {wire_type(value)}"'
    return None if value in (1, 2) else f"\"unsupported queue version '{value}'\""


UNIT_SECONDS: Final = {"Y": 31_536_000, "M": 2_592_000, "D": 86_400, "h": 3600, "m": 60, "s": 1}
"""Seconds of a year, a month, a day, an hour, a minute and a second in ``7D`` and its like."""


def interval_ms(interval: str) -> int:
    """Give the milliseconds of an interval such as ``7D``; -1 if it is none."""
    number, unit = interval[:-1], interval[-1:]
    if unit not in UNIT_SECONDS or not number.isascii() or not number.isdecimal() or len(number) > 255:
        return -1
    return min(int(number) * UNIT_SECONDS[unit] * 1000, LONGEST_MS)


def interval_of(value: object) -> int:
    """Give the milliseconds of an interval as arguments have it: whole milliseconds, or text; -1 for none."""
    if type(value) is int:
        return min(value, LONGEST_MS)
    if not isinstance(value, str):
        return -1
    if value.isascii() and value.isdecimal() and len(value) <= 255:
        return min(int(value), LONGEST_MS)
    return interval_ms(value)


def interval(value: object) -> str | None:
    """Check for a time: milliseconds, or text such as ``10m``, a number and one unit of Y M D h m s."""
    if type(value) is not int and not isinstance(value, str):
        return of_another_type(value)
    return None if interval_of(value) > 0 else "invalid_interval"


def age(value: object) -> str | None:
    """Check for a stream's maximum age such as ``7D``: a number and one unit of Y M D h m s."""
    if not isinstance(value, str):
        return of_another_type(value)
    return None if interval_ms(value) > 0 else "invalid_max_age"


def segment_size(value: object) -> str | None:
    """Check for the size of a stream's segments; 0 is the default."""
    if type(value) is int and value > MOST_SEGMENT_OCTETS:
        return "Exceeded max value for x-stream-max-segment-size-bytes"
    return integer(0)(value)


def anything(value: object) -> str | None:
    """Accept any value: the argument has no effect here."""
    return None


def mirrored_nodes(value: object) -> str | None:
    """Check for the parameter of classic mirroring: a number, or a list of node names."""
    if type(value) is int or (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        return None
    return f"expected a number or a list of names, got {value!r}"
