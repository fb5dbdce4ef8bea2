"""Finds the module that reads a format; a broker without schemas loads none of them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from harebell.errors import InvalidSchema
from harebell.ports import MessageCheck, Schema, SchemaFormats

MODULES: Final = {"json-schema": "json_schema", "avro": "avro", "protobuf": "protobuf"}

EXTRAS: Final = {"avro": "harebell[avro]", "protobuf": "harebell[protobuf]"}
"""What has to be installed for a format beside harebell itself."""

MOST_TEXT: Final = 512 * 1024
"""Octets of a schema."""


class Formats(SchemaFormats):
    """Every format there is, as far as its library is installed."""

    def check(self, schema: Schema) -> MessageCheck:
        if len(schema.text.encode("utf-8", "surrogatepass")) > MOST_TEXT:
            raise InvalidSchema(f"it has more than {MOST_TEXT} octets")
        module = _module(schema.kind)
        found: MessageCheck = _guarded(lambda: module.check(schema))
        return found

    def differences(self, reader: Schema, writer: Schema) -> list[str]:
        if reader.kind != writer.kind:
            return [f"the format is {reader.kind} on the one side and {writer.kind} on the other"]
        module = _module(reader.kind)
        found: list[str] = _guarded(lambda: module.differences(reader, writer))
        return found


def _guarded(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except RecursionError:
        raise InvalidSchema("it is nested too deeply") from None


def _module(kind: str) -> Any:
    name = MODULES.get(kind)
    if name is None:
        raise InvalidSchema(f"there is no format {kind!r}; it is one of {', '.join(MODULES)}")
    try:
        return import_module(f"harebell.schemas.{name}")
    except ImportError as error:
        if kind not in EXTRAS:
            raise
        raise InvalidSchema(
            f"{kind} needs a library that is not installed: {EXTRAS[kind]} ({error})"
        ) from None
