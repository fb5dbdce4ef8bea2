"""The registry of a virtual host: it follows parameters, whatever order and form they come in."""

from __future__ import annotations

import json

import pytest

from harebell.engine.schemas import Schemas
from harebell.errors import InvalidSchema
from harebell.ports import MessageCheck, Schema, SchemaFormats


class OneWord(MessageCheck):
    """Takes its own text only."""

    def __init__(self, text: str) -> None:
        self.text = text

    def problem(self, body: bytes, framed: bool) -> str:
        return "" if body == self.text.encode() else f"it is not {self.text}"


class Words(SchemaFormats):
    """Schemas that are a word, to see when they are made ready."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def check(self, schema: Schema) -> MessageCheck:
        self.made.append(schema.text)
        if schema.text == "bad":
            raise InvalidSchema("no word")
        return OneWord(schema.text)

    def differences(self, reader: Schema, writer: Schema) -> list[str]:
        return []


@pytest.fixture
def schemas() -> Schemas:
    found = Schemas()
    found.formats = Words()
    return found


def put(schemas: Schemas, name: str, word: str, id_: int, kind: str = "json-schema") -> None:
    value = {"format": kind, "schema": word, "id": id_}
    schemas.set("/", "schema", name, json.dumps(value))


def problem(schemas: Schemas, body: bytes, pinned: int = -1, named: object = None) -> str:
    return schemas.of("/").problem("s", pinned, named, body)


def test_the_latest_version_counts_in_whatever_order_they_come(schemas: Schemas) -> None:
    for number in (2, 10, 1):
        put(schemas, f"s/{number}", f"w{number}", number)
    assert problem(schemas, b"w10") == ""
    assert list(schemas.of("/").subjects["s"].versions) == [1, 2, 10]
    schemas.clear("/", "schema", "s/10")
    assert problem(schemas, b"w2") == ""
    assert schemas.of("/").subjects["s"].last == 10


def test_a_schema_is_made_ready_once_and_when_it_is_needed(schemas: Schemas) -> None:
    put(schemas, "s/1", "word", 1)
    put(schemas, "s/2", "bad", 2)
    formats = schemas.formats
    assert isinstance(formats, Words) and formats.made == []
    for _ in range(3):
        assert "cannot be used: no word" in problem(schemas, b"word")
        assert problem(schemas, b"word", 1) == ""
    assert formats.made == ["bad", "word"]


def test_a_frame_names_its_version(schemas: Schemas) -> None:
    put(schemas, "s/1", "old", 7)
    put(schemas, "s/2", "new", 8)
    frame = b"\0\0\0\0"
    assert problem(schemas, frame + b"\x07old") == ""
    assert problem(schemas, frame + b"\x08new") == ""
    assert "not new" in problem(schemas, frame + b"\x08old")
    assert "schema id 9, which is not one taken for 's'" in problem(schemas, frame + b"\x09new")
    assert problem(schemas, frame + b"\x07old", 1) == ""
    assert "schema id 8" in problem(schemas, frame + b"\x08new", 1)
    assert "schema id 8" in problem(schemas, frame + b"\x08new", named=1)
    assert problem(schemas, b"\0\0\0") == "schema 's' version 2: it is not new"


def test_avro_may_begin_like_a_frame(schemas: Schemas) -> None:
    put(schemas, "s/1", "\0\0\0\0\x09x", 7, "avro")
    assert problem(schemas, b"\0\0\0\0\x09x") == ""
    assert "schema id 9" in problem(schemas, b"\0\0\0\0\x09y")


@pytest.mark.parametrize("named", [3, 0, -1, "x", "1.0", True, 2**40, [1], {"a": 1}, "9" * 50])
def test_a_version_that_is_none_is_told(schemas: Schemas, named: object) -> None:
    put(schemas, "s/1", "w", 1)
    assert "has no version" in problem(schemas, b"w", named=named)


def test_what_is_no_parameter_of_ours_is_passed_over(schemas: Schemas) -> None:
    schemas.set("/", "shovel", "s/1", "{}")
    for name, text in (
        ("s/1", "[]"),
        ("s/1", "{"),
        ("s/x", '{"format": "avro", "schema": "w", "id": 1}'),
        ("/1", '{"format": "avro", "schema": "w", "id": 1}'),
        ("s/1", '{"format": "avro", "schema": "w", "id": 0}'),
        ("s/1", '{"format": "avro", "schema": 5, "id": 1}'),
        ("s/99999999999", '{"format": "avro", "schema": "w", "id": 1}'),
    ):
        schemas.set("/", "schema", name, text)
    assert schemas.of("/").subjects == {}
    assert problem(schemas, b"w") == "no schema 's' is registered"
    schemas.set("/", "schema-subject", "s", '{"compatibility": "odd", "last_version": "x"}')
    assert schemas.of("/").rule("s") == "backward"
    schemas.clear("/", "schema-subject", "s")
    assert schemas.of("/").subjects == {}


def test_rules_are_the_subjects_or_the_registrys(schemas: Schemas) -> None:
    schemas.set("/", "schema-registry", "settings", '{"compatibility": "full", "last_id": 40}')
    schemas.set("/", "schema-subject", "s", '{"compatibility": "none", "last_version": 4}')
    registry = schemas.of("/")
    assert (registry.rule("s"), registry.rule("t"), registry.last_id) == ("none", "full", 40)
    assert registry.subjects["s"].last == 4
    schemas.clear("/", "schema-registry", "settings")
    assert registry.rule("t") == "backward"


def test_virtual_hosts_have_schemas_of_their_own(schemas: Schemas) -> None:
    put(schemas, "s/1", "w", 1)
    assert schemas.of("other").subjects == {}
    assert [name for name, _ in schemas.all()] == ["/"]
    schemas.forget_vhost("/")
    assert schemas.of("/").subjects == {}


def test_a_broker_that_reads_no_schemas_takes_nothing() -> None:
    schemas = Schemas()
    put(schemas, "s/1", "w", 1)
    assert "reads no schemas" in problem(schemas, b"w")
    with pytest.raises(InvalidSchema):
        schemas.formats.differences(Schema("avro", "w"), Schema("avro", "w"))
