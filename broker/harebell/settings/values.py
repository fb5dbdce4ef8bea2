"""Kinds of value: sizes and times with units, lists that fit in an environment variable."""

import json
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

_NUMBER_WITH_UNIT = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?)\s*([A-Za-z]*)")

# The units of rabbitmq.conf: a bare prefix and the "i" form are powers of 1024, the "b" form is a power of
# 1000.
_BYTES = {
    "": 1, "b": 1,
    "k": 2**10, "ki": 2**10, "kib": 2**10, "kb": 10**3,
    "m": 2**20, "mi": 2**20, "mib": 2**20, "mb": 10**6,
    "g": 2**30, "gi": 2**30, "gib": 2**30, "gb": 10**9,
    "t": 2**40, "ti": 2**40, "tib": 2**40, "tb": 10**12,
}  # fmt: skip
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(value: Any) -> Any:
    """Turn ``"512MiB"``, ``"64k"`` or ``"2GB"`` into bytes; anything but text is left to the next check.

    Raises:
        ValueError: the text is not a number with a known unit.
    """
    if not isinstance(value, str):
        return value
    number, unit = _split(value)
    if unit.lower() not in _BYTES:
        raise ValueError(
            f"{value!r} is not a size: write bytes, or a number with KiB, MiB, GiB, kB, MB or GB"
        )
    return int(number * _BYTES[unit.lower()])


def parse_seconds(value: Any) -> Any:
    """Turn ``"500ms"``, ``"10s"``, ``"5min"`` or ``"1h"`` into seconds; a bare number is seconds already.

    Raises:
        ValueError: the text is not a number with a known unit.
    """
    return _duration(value, bare_unit="s", scale=1.0)


def parse_milliseconds(value: Any) -> Any:
    """Turn ``"30min"`` or ``"1h"`` into milliseconds; a bare number is milliseconds already.

    Raises:
        ValueError: the text is not a number with a known unit.
    """
    milliseconds = _duration(value, bare_unit="ms", scale=1000.0)
    return round(milliseconds) if isinstance(milliseconds, float) else milliseconds


def _duration(value: Any, bare_unit: str, scale: float) -> Any:
    if not isinstance(value, str):
        return value
    number, unit = _split(value)
    if (unit or bare_unit) not in _SECONDS:
        raise ValueError(f"{value!r} is not a time: write a number with ms, s, min, h or d")
    return number * _SECONDS[unit or bare_unit] * scale


def _split(text: str) -> tuple[float, str]:
    match = _NUMBER_WITH_UNIT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a number, with or without a unit")
    return float(match[1].replace("_", "")), match[2]


def parse_memory(value: Any) -> Any:
    """Turn a share of the memory (0 to 1, a float) or a size (bytes, or text with a unit) into either.

    Raises:
        ValueError: neither a share nor a size.
    """
    if isinstance(value, str):
        number, unit = _split(value)
        value = number if not unit else parse_size(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("write a share of the memory such as 0.6, or a size such as '2GiB'")
    if value < 0:
        raise ValueError("a share or a size cannot be negative")
    return float(value) if value <= 1 else int(value)


def parse_names(value: Any) -> Any:
    """Turn ``"a, b"`` or ``'["a", "b"]'`` into a list, since an environment variable can hold only text.

    Raises:
        ValueError: text that begins like a JSON list and is not one.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{value!r} is not a list: {error}") from None
    return [item.strip() for item in text.split(",") if item.strip()]


def parse_switch(value: Any) -> Any:
    """Let ``true``, ``yes``, ``false`` and ``no`` stand for ``on`` and ``off``."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        text = value.strip().lower()
        return {"true": "on", "yes": "on", "1": "on", "false": "off", "no": "off", "0": "off"}.get(text, text)
    return value


def parse_lower(value: Any) -> Any:
    """Make a choice independent of case."""
    return value.strip().lower() if isinstance(value, str) else value


_SIZE_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}
_TIME_SCHEMA = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}

Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0), WithJsonSchema(_SIZE_SCHEMA)]
Seconds = Annotated[float, BeforeValidator(parse_seconds), Field(ge=0), WithJsonSchema(_TIME_SCHEMA)]
Milliseconds = Annotated[int, BeforeValidator(parse_milliseconds), Field(ge=0), WithJsonSchema(_TIME_SCHEMA)]
Memory = Annotated[float | int, BeforeValidator(parse_memory), WithJsonSchema(_TIME_SCHEMA)]
Names = Annotated[tuple[str, ...], BeforeValidator(parse_names), PlainSerializer(list, return_type=list[str])]
