"""Protobuf, by Google's library: messages in the binary encoding, and which changes of fields can be read.

A schema is what ``protoc --include_imports --descriptor_set_out`` writes, in base64: a ``FileDescriptorSet``,
whose last file is the one that counts.  A single ``FileDescriptorProto`` will do, too: Confluent's Python
client registers that.

Protobuf takes fields it does not know, so nearly all octets are some message.  What is not taken here is
what cannot be decoded, text that is no UTF-8, a missing ``required`` field, and a known field of another wire
type.
"""

from __future__ import annotations

import base64
import binascii
from importlib import import_module
from typing import Any, Final

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet

from harebell.errors import InvalidSchema
from harebell.ports import MessageCheck, Schema

WELL_KNOWN: Final = (
    "any",
    "api",
    "duration",
    "empty",
    "field_mask",
    "source_context",
    "struct",
    "timestamp",
    "type",
    "wrappers",
)
"""Files every installation of Protobuf has: ``google/protobuf/any.proto`` and so on."""

MOST_MESSAGES: Final = 5_000
"""Messages within a message, the first ones, that are looked through for fields of another wire type."""

MOST_COMPARED: Final = 5_000
MOST_REASON: Final = 600

Field = descriptor_pb2.FieldDescriptorProto

READABLE: Final = {
    Field.TYPE_INT32: (Field.TYPE_INT64,),
    Field.TYPE_UINT32: (Field.TYPE_UINT64, Field.TYPE_INT64),
    Field.TYPE_SINT32: (Field.TYPE_SINT64,),
    Field.TYPE_BOOL: (Field.TYPE_INT32, Field.TYPE_INT64, Field.TYPE_UINT32, Field.TYPE_UINT64),
    Field.TYPE_ENUM: (Field.TYPE_INT32, Field.TYPE_INT64),
    Field.TYPE_STRING: (Field.TYPE_BYTES,),
}
"""What a reader may take a writer's type for without losing anything."""


def check(schema: Schema) -> MessageCheck:
    """Read a schema.

    Raises:
        InvalidSchema: it is none, or has no such message.
    """
    files = _Files(schema)
    return ProtobufCheck(files, files.main(schema.message))


def differences(reader: Schema, writer: Schema) -> list[str]:
    """List why a reader cannot read what a writer writes."""
    ours, theirs = _Files(reader), _Files(writer)
    comparison = _Comparison()
    found: list[str] = []
    for name in theirs.messages:
        if name in ours.messages:
            found += comparison.messages(ours.find(name), theirs.find(name))
        else:
            found.append(f"{name}: there is no such message any more")
    return found[:20]


class _Files:
    """A schema's files.

    Attributes:
        messages: names of the last file's messages, those within messages aside.
    """

    def __init__(self, schema: Schema) -> None:
        self._pool = DescriptorPool()
        files = _read(schema.text)
        self._last = files[-1]
        named = {each.name for each in files}
        for each in files:
            for needed in each.dependency:
                if needed not in named:
                    named.add(needed)
                    self._add(_well_known(needed))
        try:
            for each in files:
                self._add(each)
            self._pool.FindFileByName(self._last.name)
        except (TypeError, KeyError, ValueError) as error:
            raise InvalidSchema(f"its files do not fit together: {error!s:.{MOST_REASON}}") from None
        prefix = f"{self._last.package}." if self._last.package else ""
        self.messages = [prefix + each.name for each in self._last.message_type]

    def _add(self, file: Any) -> None:
        self._pool.Add(file)

    def main(self, name: str) -> Any:
        """Give a message by its name, the first one if that is empty."""
        if not self.messages:
            raise InvalidSchema("its last file has no message")
        wanted = [each for each in (name, f"{self._last.package}.{name}") if name and each.strip(".")]
        for each in wanted or self.messages[:1]:
            try:
                return self.find(each)
            except KeyError:
                continue
        raise InvalidSchema(f"it has no message {name[:100]!r}")

    def find(self, name: str) -> Any:
        """Give a message by its full name."""
        return self._pool.FindMessageTypeByName(name)

    def at(self, path: list[int]) -> Any:
        """Give a message by its place in the last file, as frames tell it; None if there is none."""
        nested: Any = self._last.message_type
        name = self._last.package
        for number in path:
            if not 0 <= number < len(nested):
                return None
            name = f"{name}.{nested[number].name}" if name else nested[number].name
            nested = nested[number].nested_type
        return self.find(name)


def _read(text: str) -> list[Any]:
    try:
        octets = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidSchema(
            "it is not in base64: register what `protoc --include_imports --descriptor_set_out` writes"
        ) from None
    try:
        files = list(descriptor_pb2.FileDescriptorSet.FromString(octets).file)
        if files and all(each.name and each.IsInitialized() for each in files):
            return files
    except DecodeError:
        pass
    try:
        file = descriptor_pb2.FileDescriptorProto.FromString(octets)
    except DecodeError:
        raise InvalidSchema("it is neither a FileDescriptorSet nor a FileDescriptorProto") from None
    if not file.name:
        raise InvalidSchema("it is a FileDescriptorProto without a name")
    return [file]


def _well_known(name: str) -> Any:
    stem = name.removeprefix("google/protobuf/").removesuffix(".proto")
    if name != f"google/protobuf/{stem}.proto" or stem not in WELL_KNOWN:
        raise InvalidSchema(f"it imports {name[:100]!r}, which is not in it: use protoc's --include_imports")
    file = descriptor_pb2.FileDescriptorProto()
    import_module(f"google.protobuf.{stem}_pb2").DESCRIPTOR.CopyToProto(file)
    return file


class ProtobufCheck(MessageCheck):
    """Decodes messages.

    Args:
        files: the schema.
        main: the message that is meant where no frame names one.
    """

    def __init__(self, files: _Files, main: Any) -> None:
        self._files = files
        self._main = main

    def problem(self, body: bytes, framed: bool) -> str:
        descriptor = self._main
        if framed:
            path, at = _indexes(body)
            descriptor = None if path is None else self._files.at(path)
            if descriptor is None:
                return "its frame names no message of the schema"
            body = body[at:]
        message: Any = GetMessageClass(descriptor)()
        try:
            message.ParseFromString(body)
        except DecodeError as error:
            return f"it is no {descriptor.full_name}: {error!s:.{MOST_REASON}}"
        if not message.IsInitialized():
            missing = ", ".join(message.FindInitializationErrors()[:10])
            return f"it is no {descriptor.full_name}: it lacks {missing:.{MOST_REASON}}"
        return _misread(message)


def _indexes(body: bytes) -> tuple[list[int] | None, int]:
    """Read the path of a message, which stands before it in a frame, and where the message begins."""
    numbers: list[int] = []
    at = shift = value = 0
    while at < min(len(body), 64):
        octet = body[at]
        at += 1
        value |= (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            numbers.append((value >> 1) ^ -(value & 1))
            shift = value = 0
            if numbers[0] == 0:
                return [0], at
            if len(numbers) == 1 + numbers[0]:
                return numbers[1:], at
    return None, at


def _misread(message: Any) -> str:
    """Say which known field came with another wire type; it would be passed over by all readers."""
    work = [message]
    for _ in range(MOST_MESSAGES):
        if not work:
            break
        one = work.pop()
        known = one.DESCRIPTOR.fields_by_number
        unknown_fields: Any = UnknownFieldSet(one)
        for unknown in unknown_fields:
            field = known.get(unknown.field_number)
            if field is not None and field.type != Field.TYPE_ENUM:
                return f"the field {field.full_name} has another wire type"
        for field, value in one.ListFields():
            if field.type not in (Field.TYPE_MESSAGE, Field.TYPE_GROUP):
                continue
            if field.message_type.GetOptions().map_entry:
                if field.message_type.fields_by_name["value"].type == Field.TYPE_MESSAGE:
                    work.extend(value.values())
            elif is_repeated(field):
                work.extend(value)
            else:
                work.append(value)
    return ""


def is_repeated(field: Any) -> bool:
    """Tell whether a field is repeated; older libraries tell it by its label."""
    found = getattr(field, "is_repeated", None)
    return bool(field.label == Field.LABEL_REPEATED if found is None else found)


def is_required(field: Any) -> bool:
    """Tell whether a field is required; older libraries tell it by its label."""
    found = getattr(field, "is_required", None)
    return bool(field.label == Field.LABEL_REQUIRED if found is None else found)


class _Comparison:
    """Compares messages, each pair once."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()

    def messages(self, reader: Any, writer: Any) -> list[str]:
        """List why a message cannot be read as another."""
        pair = (reader.full_name, writer.full_name)
        if pair in self._seen or len(self._seen) > MOST_COMPARED:
            return []
        self._seen.add(pair)
        theirs = writer.fields_by_number
        found: list[str] = []
        for number, field in reader.fields_by_number.items():
            before = theirs.get(number)
            if before is not None:
                found += self._fields(field, before)
            if is_required(field) and (before is None or not is_required(before)):
                found.append(f"{field.full_name}: it is required now")
        for oneof in reader.oneofs:
            old = [theirs[each.number] for each in oneof.fields if each.number in theirs]
            groups = {None if each.containing_oneof is None else each.containing_oneof.name for each in old}
            if len(old) > 1 and (len(groups) > 1 or None in groups):
                found.append(f"{oneof.full_name}: its fields could be there together")
        return found

    def _fields(self, reader: Any, writer: Any) -> list[str]:
        name = reader.full_name
        if is_repeated(writer) and not is_repeated(reader):
            return [f"{name}: it is repeated no more"]
        if reader.type != writer.type:
            readable = reader.type in READABLE.get(writer.type, ())
            return [] if readable else [f"{name}: its type is another"]
        if reader.message_type is not None:
            return self.messages(reader.message_type, writer.message_type)
        if reader.enum_type is not None and getattr(reader.enum_type, "is_closed", True):
            gone = set(writer.enum_type.values_by_number) - set(reader.enum_type.values_by_number)
            if gone:
                return [f"{name}: it has no value {sorted(gone)[0]} any more"]
        return []
