"""What is called compatible is: messages that were valid stay valid, whatever the schemas are."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema_rs
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from harebell.errors import InvalidSchema
from harebell.ports import Schema
from harebell.schemas import Formats

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
NAMES = ("a", "b", "c")

scalars = st.sampled_from([None, True, False, 0, 1, 2, 3, -1, 1.5, 2.0, "", "a", "ab", "abc", "b"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=8,
)
types = st.sampled_from(["string", "integer", "number", "object", "array", "null", "boolean"])
unique = st.lists(scalars, min_size=1, max_size=3, unique_by=json.dumps)


def keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Make schemas of a few keywords each."""
    by_name = st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    several = st.lists(inner, min_size=1, max_size=3)
    found: dict[str, st.SearchStrategy[Any]] = {
        "type": types | st.lists(types, min_size=1, max_size=2, unique=True),
        "enum": unique,
        "const": scalars,
        "minimum": st.integers(0, 3),
        "maximum": st.integers(0, 3),
        "exclusiveMinimum": st.integers(0, 3),
        "multipleOf": st.sampled_from([1, 2, 4, 0.5]),
        "minLength": st.integers(0, 2),
        "maxLength": st.integers(0, 3),
        "pattern": st.sampled_from(["a", "^a", "b$"]),
        "minItems": st.integers(0, 2),
        "maxItems": st.integers(0, 3),
        "uniqueItems": st.booleans(),
        "items": inner,
        "contains": inner,
        "properties": by_name,
        "patternProperties": st.dictionaries(st.sampled_from(["a", "^b"]), inner, max_size=2),
        "additionalProperties": inner,
        "propertyNames": inner,
        "required": st.lists(st.sampled_from(NAMES), unique=True, max_size=2),
        "maxProperties": st.integers(0, 2),
        "allOf": several,
        "anyOf": several,
        "oneOf": several,
        "not": inner,
        "if": inner,
        "then": inner,
        "$ref": st.sampled_from(["#/definitions/x", "#/definitions/y"]),
    }
    some = st.lists(st.sampled_from(sorted(found)), min_size=1, max_size=4, unique=True)
    return some.flatmap(lambda keys: st.fixed_dictionaries({key: found[key] for key in keys}))


plain: st.SearchStrategy[Any] = st.just({}) | st.booleans() | st.builds(lambda name: {"type": name}, types)
schemas = st.recursive(plain, keywords, max_leaves=8)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make a schema and one that is nearly the same: a keyword here or there is gone, or another."""
    base: dict[str, Any] = {"definitions": {"x": draw(schemas), "y": draw(schemas)}}
    if draw(st.booleans()):
        base["$schema"] = DRAFT_7
    writer = {**draw(keywords(schemas)), **base}
    reader = copy.deepcopy(writer)
    places: list[dict[str, Any]] = []
    collect(reader, places)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(places))
        if place and draw(st.booleans()):
            place.pop(draw(st.sampled_from(sorted(place))))
        else:
            place.update(draw(keywords(schemas)))
    return reader, writer


def collect(value: Any, found: list[dict[str, Any]]) -> None:
    if isinstance(value, dict):
        found.append(value)
        for each in value.values():
            collect(each, found)
    elif isinstance(value, list):
        for each in value:
            collect(each, found)


@settings(max_examples=400, suppress_health_check=list(HealthCheck), deadline=None)
@given(pairs(), st.lists(values, min_size=20, max_size=40))
def test_a_compatible_reader_takes_every_message_of_the_writer(
    pair: tuple[dict[str, Any], dict[str, Any]], candidates: list[Any]
) -> None:
    reader, writer = pair
    try:
        found = Formats().differences(
            Schema("json-schema", json.dumps(reader)), Schema("json-schema", json.dumps(writer))
        )
    except InvalidSchema:
        return
    event("compatible" if not found else "not compatible")
    if found:
        return
    old, new = jsonschema_rs.validator_for(writer), jsonschema_rs.validator_for(reader)
    for value in candidates:
        if old.is_valid(value):
            assert new.is_valid(value), f"{value!r} was valid by {writer}, and is not by {reader}"


@settings(max_examples=100, suppress_health_check=list(HealthCheck), deadline=None)
@given(keywords(schemas), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(schema: dict[str, Any], random: Any) -> None:
    keys = list(schema)
    random.shuffle(keys)
    shuffled = {key: schema[key] for key in keys}
    document = {**schema, "definitions": {"x": True, "y": {}}}
    other = {"definitions": {"y": {}, "x": True}, **shuffled}
    try:
        found = Formats().differences(
            Schema("json-schema", json.dumps(other)), Schema("json-schema", json.dumps(document))
        )
    except InvalidSchema:
        return
    assert found == []
