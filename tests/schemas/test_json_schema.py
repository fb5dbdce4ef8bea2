"""JSON Schema: what is a schema, what fits it, and which changes are compatible."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest

from harebell.errors import InvalidSchema
from harebell.ports import Schema
from harebell.schemas import Formats

FORMATS = Formats()
DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


def schema(value: object) -> Schema:
    return Schema("json-schema", value if isinstance(value, str) else json.dumps(value))


def problem(value: object, body: bytes) -> str:
    return FORMATS.check(schema(value)).problem(body, False)


def differences(reader: object, writer: object) -> list[str]:
    return FORMATS.differences(schema(reader), schema(writer))


@pytest.mark.parametrize("draft", [DRAFT_4, DRAFT_7, "https://json-schema.org/draft/2019-09/schema", None])
def test_messages_are_held_against_a_schema(draft: str | None) -> None:
    value: dict[str, Any] = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}
    if draft is not None:
        value["$schema"] = draft
    assert problem(value, b'{"id": 1}') == ""
    assert problem(value, b'{"id": "x"}') == '"x" is not of type "integer" at /id'
    assert "required" in problem(value, b"{}")
    assert problem(value, b"\xff").startswith("no JSON")
    assert problem(value, b"[" * 5000).startswith("no JSON")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "no JSON"),
        ("5", "neither a JSON object"),
        ({"type": "strin"}, "no JSON Schema"),
        ({"$ref": "#/$defs/absent"}, "no JSON Schema"),
        ({"$ref": "http://example.com/schema"}, "use a pointer"),
        ({"$ref": "file:///etc/passwd"}, "use a pointer"),
        ({"pattern": "(?=a)b"}, "no JSON Schema"),
        ({"pattern": r"(a)\1"}, "no JSON Schema"),
        ({"pattern": "a{1,1000}{1,1000}"}, "no JSON Schema"),
        ({"$ref": "#"}, "back to the place"),
        ({"allOf": [{"anyOf": [{"$ref": "#"}]}]}, "back to the place"),
        ({"$dynamicRef": "#x"}, "not taken"),
        ({"$id": "http://a/", "$ref": "other#/x"}, "use a pointer"),
        ("[" * 5000, "no JSON"),
    ],
)
def test_what_is_no_usable_schema_is_refused(value: object, said: str) -> None:
    with pytest.raises(InvalidSchema, match=said):
        FORMATS.check(schema(value))


def twice(schema: object) -> dict[str, object]:
    return {"allOf": [{"properties": {"a": schema}}, {"properties": {"a": schema}}]}


def test_a_schema_that_takes_exponential_time_is_refused() -> None:
    ladder = {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(30)}
    bombs: list[dict[str, object]] = [
        twice({"$ref": "#"}),
        {"$defs": {**ladder, "s30": {"type": "object"}}, "$ref": "#/$defs/s0"},
        {"patternProperties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}},
        {"anyOf": [{"items": {"$ref": "#"}}, {"type": "array", "contains": {"$ref": "#"}}]},
    ]
    for bomb in bombs:
        began = time.perf_counter()
        with pytest.raises(InvalidSchema, match="exponential"):
            FORMATS.check(schema(bomb))
        assert time.perf_counter() - began < 2, "refusing a schema must itself be quick"


def test_a_schema_that_contains_itself_is_fine() -> None:
    tree = {
        "type": "object",
        "properties": {"value": {}, "children": {"type": "array", "items": {"$ref": "#"}}},
        "additionalProperties": False,
    }
    anything = {
        "anyOf": [
            {"type": ["string", "number", "boolean", "null"]},
            {"type": "array", "items": {"$ref": "#"}},
            {"type": "object", "additionalProperties": {"$ref": "#"}},
        ]
    }
    assert problem(tree, b'{"children": [{"children": [{"value": 1}]}]}') == ""
    assert problem(tree, b'{"children": [{"children": [{"valu": 1}]}]}') != ""
    assert problem(anything, b'{"a": [{"b": [1, null, {"c": "d"}]}]}') == ""


def test_a_regular_expression_takes_linear_time() -> None:
    check = FORMATS.check(schema({"pattern": "^(a+)+$"}))
    began = time.perf_counter()
    assert check.problem(json.dumps("a" * 200_000 + "b").encode(), False) != ""
    assert time.perf_counter() - began < 2


def test_formats_are_annotations() -> None:
    assert problem({"$schema": DRAFT_7, "format": "email"}, b'"no mail"') == ""


CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {"id": {"type": "integer"}},
    "required": ["id"],
    "additionalProperties": False,
}


def closed(**properties: object) -> dict[str, Any]:
    return {**CLOSED, "properties": {**CLOSED["properties"], **properties}}


@pytest.mark.parametrize(
    ("reader", "writer"),
    [
        (CLOSED, {**CLOSED, "title": "other", "description": "words"}),
        (closed(note={"type": "string"}), CLOSED),
        ({**CLOSED, "required": []}, CLOSED),
        (closed(id={"type": ["integer", "null"]}), CLOSED),
        (closed(id={"type": "number"}), CLOSED),
        ({"enum": ["a", "b", "c"]}, {"enum": ["a", "b"]}),
        ({"type": "string"}, {"enum": ["a", "b"]}),
        ({"maxLength": 10}, {"type": "string", "maxLength": 5}),
        ({"minimum": 0}, {"type": "integer", "exclusiveMinimum": 0}),
        ({"multipleOf": 5}, {"type": "integer", "multipleOf": 10}),
        ({"items": {"type": "number"}}, {"type": "array", "items": {"type": "integer"}}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": "string"}),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, {"type": ["integer", "string"]}),
        ({"oneOf": [{"type": "null"}, CLOSED]}, CLOSED),
        ({"type": ["string", "integer"]}, {"oneOf": [{"type": "string"}, {"type": "integer"}]}),
        ({"$defs": {"s": {"type": "string"}}, "$ref": "#/$defs/s"}, {"type": "string"}),
        ({"type": "string"}, {"$defs": {"s": {"type": "string"}}, "allOf": [{"$ref": "#/$defs/s"}]}),
        ({}, False),
        (True, {"type": "string"}),
        (CLOSED, False),
        ({"properties": {"next": {"$ref": "#"}}}, {"properties": {"next": {"$ref": "#"}}, "required": ["a"]}),
        ({"not": {"type": "string"}, "minimum": 1}, {"not": {"type": "string"}, "minimum": 2}),
    ],
)
def test_a_reader_that_takes_more_is_compatible(reader: object, writer: object) -> None:
    assert differences(reader, writer) == []


@pytest.mark.parametrize(
    ("reader", "writer", "said"),
    [
        ({**CLOSED, "required": ["id", "note"]}, CLOSED, "required"),
        (CLOSED, closed(note={"type": "string"}), "/note: nothing is allowed"),
        (closed(id={"type": "string"}), CLOSED, "/id: type"),
        (closed(id={"type": "integer", "minimum": 1}), CLOSED, "/id: minimum"),
        ({"enum": ["a"]}, {"enum": ["a", "b"]}, "'b' is not allowed"),
        ({"properties": {"id": {}}, "additionalProperties": False}, {"type": "object"}, "nothing is allowed"),
        ({"properties": {"new": {"type": "string"}}}, {"type": "object"}, "/new: type"),
        ({"maxLength": 5}, {"type": "string"}, "maxLength"),
        ({"pattern": "^a"}, {"type": "string", "pattern": "^b"}, "pattern"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": "integer"}, "no alternative"),
        ({"oneOf": [{"minimum": 1}, {"maximum": 5}]}, {"const": 3}, "not allowed"),
        ({"oneOf": [{"minimum": 1}, {"maximum": 5}]}, {"type": "integer", "minimum": 7}, "may overlap"),
        ({"not": {"type": "string"}}, {"type": "integer"}, "not is not the same"),
        ({"$schema": DRAFT_7, "type": "string"}, {"type": "string"}, "drafts"),
        (False, {"type": "string"}, "nothing is allowed"),
        ({"uniqueItems": True}, {"type": "array"}, "uniqueItems"),
        ({"unevaluatedProperties": False}, {"type": "object"}, "cannot be compared"),
    ],
)
def test_a_reader_that_takes_less_is_not(reader: object, writer: object, said: str) -> None:
    found = differences(reader, writer)
    assert found and said in found[0], found


def test_what_differs_in_many_places_is_told_in_part() -> None:
    many = {"properties": {f"p{n}": {"type": "string"} for n in range(100)}}
    assert 0 < len(differences(many, {"type": "object"})) <= 20


def test_comparing_ends_in_time() -> None:
    tangle = {
        "$defs": {
            f"d{n}": {"anyOf": [{"properties": {f"p{m}": {"$ref": f"#/$defs/d{m}"}}} for m in range(8)]}
            for n in range(8)
        },
        "properties": {"p0": {"$ref": "#/$defs/d0"}},
    }
    other = json.loads(json.dumps(tangle).replace('"p7"', '"q7"'))
    began = time.perf_counter()
    with suppress(InvalidSchema):
        differences(other, tangle)
    assert time.perf_counter() - began < 20


def test_the_formats_must_be_the_same() -> None:
    assert FORMATS.differences(Schema("json-schema", "{}"), Schema("avro", '"int"'))


def test_an_unknown_format_is_told() -> None:
    with pytest.raises(InvalidSchema, match="there is no format 'xml'"):
        FORMATS.check(Schema("xml", "<a/>"))


def test_a_schema_has_a_largest_size() -> None:
    with pytest.raises(InvalidSchema, match="more than 524288 octets"):
        FORMATS.check(schema({"title": "x" * 600_000}))
