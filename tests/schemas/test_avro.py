"""Avro: what is a schema, what fits it, and how readers resolve writers."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harebell.errors import InvalidSchema
from harebell.ports import Schema
from harebell.schemas import Formats

FORMATS = Formats()

ORDER: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [{"name": "id", "type": "long"}, {"name": "note", "type": ["null", "string"], "default": None}],
}
LISTS = {"type": "map", "values": {"type": "array", "items": "bytes"}}
TREE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}


def schema(value: object) -> Schema:
    return Schema("avro", value if isinstance(value, str) else json.dumps(value))


def encoded(value: object, datum: object) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(value), datum)  # type: ignore[arg-type]
    return out.getvalue()


def problem(value: object, body: bytes) -> str:
    return FORMATS.check(schema(value)).problem(body, False)


def record(*fields: object, name: str = "R") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


def test_a_datum_fits_its_schema_and_nothing_else_does() -> None:
    good = encoded(ORDER, {"id": 7, "note": "fast"})
    assert problem(ORDER, good) == ""
    assert "1 octets behind" in problem(ORDER, good + b"\0")
    for cut in range(len(good)):
        assert problem(ORDER, good[:cut]) != "", f"it fits although it ends after {cut} octets"
    assert problem(ORDER, b"\x02\x09") != "", "there is no such branch of the union"
    assert problem("string", b"\x02\xff") != "", "that is no UTF-8"


def test_a_deep_message_of_a_schema_that_contains_itself_is_no_danger() -> None:
    assert problem(TREE, b"\x02" * 20 + b"\0") == ""
    assert "nested too deeply" in problem(TREE, b"\x02" * 250_000 + b"\0")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "no Avro schema"),
        ({"type": "nothing"}, "no Avro schema"),
        ({"type": "record", "name": "R"}, "no Avro schema"),
        ({"type": "enum", "name": "E", "symbols": ["A", "A"]}, "no Avro schema"),
        (5, "no Avro schema"),
        ([["null"]], "union right within"),
        ({"type": "array", "items": "null"}, "may take no octets"),
        ({"type": "array", "items": record()}, "may take no octets"),
        ({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}, "may take no octets"),
        (record(*[{"name": f"f{n}", "type": "null"} for n in range(300)]), "take no octets"),
    ],
)
def test_what_is_no_usable_schema_is_refused(value: object, said: str) -> None:
    with pytest.raises(InvalidSchema, match=said):
        FORMATS.check(schema(value))


def test_records_that_multiply_are_refused_at_once() -> None:
    fields: object = record(name="R0")
    for number in range(1, 40):
        inner = f"R{number - 1}"
        fields = record({"name": "a", "type": fields}, {"name": "b", "type": inner}, name=f"R{number}")
    began = time.perf_counter()
    with pytest.raises(InvalidSchema, match="take no octets"):
        FORMATS.check(schema(fields))
    assert time.perf_counter() - began < 2


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from([ORDER, TREE, LISTS]))
def test_any_octets_are_answered(body: bytes, value: object) -> None:
    assert isinstance(problem(value, body), str)


FIELD = {"name": "id", "type": "int"}


def enum(*symbols: str) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols)}


def decimal(scale: int) -> dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": scale}


@pytest.mark.parametrize(
    ("reader", "writer", "compatible"),
    [
        (record(FIELD), record(FIELD), True),
        (record(FIELD, {"name": "new", "type": "int", "default": 0}), record(FIELD), True),
        (record(FIELD, {"name": "new", "type": "int"}), record(FIELD), False),
        (record(), record(FIELD), True),
        (record({"name": "number", "type": "int", "aliases": ["id"]}), record(FIELD), True),
        (record({"name": "id", "type": "long"}), record(FIELD), True),
        (record(FIELD), record({"name": "id", "type": "long"}), False),
        ("double", "float", True),
        ("bytes", "string", True),
        ("string", "int", False),
        (["null", "string"], "string", True),
        ("string", ["null", "string"], False),
        (["int", "string"], ["string", "int"], True),
        ({"type": "array", "items": "long"}, {"type": "array", "items": "int"}, True),
        ({"type": "map", "values": "int"}, {"type": "map", "values": "long"}, False),
        (record(FIELD, name="Other"), record(FIELD), False),
        ({**record(FIELD, name="Other"), "aliases": ["R"]}, record(FIELD), True),
        (enum("A", "B"), enum("A"), True),
        (enum("A"), enum("A", "B"), False),
        ({**enum("A"), "default": "A"}, enum("B"), True),
        ({"type": "fixed", "name": "F", "size": 4}, {"type": "fixed", "name": "F", "size": 8}, False),
        (TREE, TREE, True),
        ({"type": "string", "logicalType": "uuid"}, "string", True),
        (decimal(2), decimal(1), False),
        (decimal(2), decimal(2), True),
    ],
)
def test_readers_resolve_writers_as_the_specification_says(
    reader: object, writer: object, compatible: bool
) -> None:
    found = FORMATS.differences(schema(reader), schema(writer))
    assert (found == []) == compatible, found


primitives = st.sampled_from(["null", "boolean", "int", "long", "float", "double", "string", "bytes"])
avro_types = primitives | st.lists(primitives, min_size=1, max_size=3, unique=True)


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from("abc"), avro_types, max_size=3),
    st.dictionaries(st.sampled_from("abc"), avro_types, max_size=3),
    st.data(),
)
def test_what_is_compatible_can_be_read(
    theirs: dict[str, Any], ours: dict[str, Any], data: st.DataObject
) -> None:
    writer = record(*[{"name": name, "type": kind} for name, kind in theirs.items()])
    reader = record(*[{"name": name, "type": kind} for name, kind in ours.items()])
    if FORMATS.differences(schema(reader), schema(writer)):
        return
    plain = {"null": None, "boolean": True, "int": 3, "long": 4, "float": 1.5, "double": 2.5, "string": "s"}
    datum = {}
    for name, kind in theirs.items():
        chosen = data.draw(st.sampled_from(kind)) if isinstance(kind, list) else kind
        datum[name] = b"b" if chosen == "bytes" else plain[chosen]
    body = io.BytesIO(encoded(writer, datum))
    fastavro.schemaless_reader(body, fastavro.parse_schema(writer), fastavro.parse_schema(reader))
