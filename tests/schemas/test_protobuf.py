"""Protobuf: descriptors as schemas, what fits them, and which changes can be read."""

from __future__ import annotations

import base64

import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st

from harebell.errors import InvalidSchema
from harebell.ports import Schema
from harebell.schemas import Formats

FORMATS = Formats()

Field = descriptor_pb2.FieldDescriptorProto
OPTIONAL, REQUIRED, REPEATED = Field.LABEL_OPTIONAL, Field.LABEL_REQUIRED, Field.LABEL_REPEATED
INT32, INT64, STRING, BYTES, MESSAGE = (
    Field.TYPE_INT32,
    Field.TYPE_INT64,
    Field.TYPE_STRING,
    Field.TYPE_BYTES,
    Field.TYPE_MESSAGE,
)
TIMESTAMP = "google/protobuf/timestamp.proto"


def file(
    *fields: tuple[str, int, int, int], syntax: str = "proto3", oneof: tuple[str, ...] = ()
) -> descriptor_pb2.FileDescriptorProto:
    """Describe a file with the messages ``shop.Order`` and ``shop.Other``."""
    found = descriptor_pb2.FileDescriptorProto(name="order.proto", package="shop", syntax=syntax)
    order = found.message_type.add(name="Order")
    if oneof:
        order.oneof_decl.add(name="choice")
    for name, number, kind, label in fields:
        field = order.field.add(name=name, number=number, label=label, type=kind)
        if kind == MESSAGE:
            field.type_name = ".google.protobuf.Timestamp"
            found.dependency.append(TIMESTAMP)
        if name in oneof:
            field.oneof_index = 0
    found.message_type.add(name="Other")
    return found


def schema(found: descriptor_pb2.FileDescriptorProto, message: str = "", as_set: bool = True) -> Schema:
    octets = found.SerializeToString()
    if as_set:
        octets = descriptor_pb2.FileDescriptorSet(file=[found]).SerializeToString()
    return Schema("protobuf", base64.b64encode(octets).decode(), message)


ORDER = file(("id", 1, INT64, OPTIONAL), ("note", 2, STRING, OPTIONAL), ("at", 3, MESSAGE, OPTIONAL))


@pytest.mark.parametrize("as_set", [True, False])
def test_messages_are_decoded(as_set: bool) -> None:
    check = FORMATS.check(schema(ORDER, as_set=as_set))
    assert check.problem(b"\x08\x05\x12\x01x\x1a\x02\x08\x01", False) == ""
    assert check.problem(b"", False) == "", "every field may be absent"
    assert check.problem(b"\x78\x01", False) == "", "a field of a newer version is fine"
    assert "is no shop.Order" in check.problem(b"\x08", False)
    assert "UTF-8" in check.problem(b"\x12\x01\xff", False)
    assert "shop.Order.id has another wire type" in check.problem(b"\x0a\x01x", False)
    assert "Timestamp.seconds has another wire type" in check.problem(b"\x1a\x02\x0a\x00", False)


def test_a_frame_names_its_message() -> None:
    check = FORMATS.check(schema(ORDER))
    assert check.problem(b"\x00\x08\x05", True) == ""
    assert check.problem(b"\x02\x00\x08\x05", True) == ""
    assert check.problem(b"\x02\x02\x08\x05", True) == "", "Other takes any field"
    for body in (b"", b"\x02", b"\x02\x04", b"\x80" * 100, b"\x01\x00"):
        assert "names no message" in check.problem(body, True)


def test_a_message_is_chosen_by_name() -> None:
    assert "shop.Order" in FORMATS.check(schema(ORDER)).problem(b"\x08", False)
    for name in ("Other", "shop.Other"):
        assert "shop.Other" in FORMATS.check(schema(ORDER, name)).problem(b"\x08", False)
    with pytest.raises(InvalidSchema, match="no message 'None'"):
        FORMATS.check(schema(ORDER, "None"))


def test_a_required_field_must_be_there() -> None:
    old = file(("id", 1, INT64, REQUIRED), syntax="proto2")
    assert "lacks id" in FORMATS.check(schema(old)).problem(b"", False)


@pytest.mark.parametrize("text", ["", "message Order {}", "AAAA", base64.b64encode(b"\x08\x05").decode()])
def test_what_is_no_descriptor_is_refused(text: str) -> None:
    with pytest.raises(InvalidSchema):
        FORMATS.check(Schema("protobuf", text))


def test_files_must_be_complete() -> None:
    found = file()
    found.dependency.append("other.proto")
    with pytest.raises(InvalidSchema, match="--include_imports"):
        FORMATS.check(schema(found))
    found = file(("id", 1, INT64, OPTIONAL))
    found.message_type[0].field[0].type_name = ".shop.Absent"
    found.message_type[0].field[0].type = MESSAGE
    with pytest.raises(InvalidSchema, match="do not fit together"):
        FORMATS.check(schema(found))


@given(st.binary(max_size=200), st.booleans())
def test_any_octets_are_answered(body: bytes, framed: bool) -> None:
    assert isinstance(FORMATS.check(schema(ORDER)).problem(body, framed), str)


ID = ("id", 1, INT64, OPTIONAL)
TEXT = ("b", 2, STRING, OPTIONAL)


@pytest.mark.parametrize(
    ("reader", "writer", "said"),
    [
        (file(ID, ("more", 2, STRING, OPTIONAL)), file(ID), ""),
        (file(), file(ID), ""),
        (file(("other_name", 1, INT64, OPTIONAL)), file(ID), ""),
        (file(ID), file(("id", 1, INT32, OPTIONAL)), ""),
        (file(("id", 1, INT32, OPTIONAL)), file(ID), "type is another"),
        (file(("s", 1, BYTES, OPTIONAL)), file(("s", 1, STRING, OPTIONAL)), ""),
        (file(("s", 1, STRING, OPTIONAL)), file(("s", 1, BYTES, OPTIONAL)), "type is another"),
        (file(("id", 1, INT64, REPEATED)), file(ID), ""),
        (file(ID), file(("id", 1, INT64, REPEATED)), "repeated no more"),
        (file(("id", 1, INT64, REQUIRED), syntax="proto2"), file(ID, syntax="proto2"), "required now"),
        (file(ID, TEXT, oneof=("id", "b")), file(ID, TEXT), "there together"),
        (file(ID, TEXT, oneof=("id", "b")), file(ID), ""),
    ],
)
def test_changes_that_can_be_read(
    reader: descriptor_pb2.FileDescriptorProto, writer: descriptor_pb2.FileDescriptorProto, said: str
) -> None:
    found = FORMATS.differences(schema(reader), schema(writer))
    assert (said in found[0]) if said else found == [], found


def test_a_message_must_stay() -> None:
    reader = file(ID)
    del reader.message_type[1]
    assert FORMATS.differences(schema(reader), schema(file(ID))) == [
        "shop.Other: there is no such message any more"
    ]
