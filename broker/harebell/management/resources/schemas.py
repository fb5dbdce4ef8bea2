"""Schemas of messages: registering and trying them (not in RabbitMQ: ``/x/schemas``)."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import orjson
from pydantic import Field

from harebell.administration.administration import Administration
from harebell.administration.schemas import (
    check_schema,
    compared_with,
    delete_versions,
    find_subject,
    find_version,
    incompatibilities,
    known_version,
    register,
    schemas_of,
    set_rule,
    users_of,
)
from harebell.engine.schemas import SchemaVersion, Subject
from harebell.engine.vhost import Vhost
from harebell.errors import InvalidSchema
from harebell.management.answers import Answer, no_content, ok
from harebell.management.bodies import Body
from harebell.management.calls import Call
from harebell.management.errors import HttpError, bad_request
from harebell.management.listing import answer_list
from harebell.management.pacing import Pace
from harebell.management.resources.policies import policymaker_vhost
from harebell.management.routing import Route
from harebell.ports import Schema

SHOWN: Final = 50
"""Things named that are incompatible, or that go by a schema."""


class SchemaBody(Body):
    """A schema."""

    schema_: Any = Field(alias="schema", description="the schema: text, or JSON as it is")
    format: str = Field(default="json-schema", description="json-schema, avro or protobuf")
    message: str = Field(default="", max_length=512, description="message type, of Protobuf; else the first")


class MessageBody(Body):
    """A message to try."""

    payload: str
    payload_encoding: str = Field(default="string", description="string or base64")
    version: int | None = Field(default=None, description="the version to hold it against; else the latest")


class CompatibilityBody(Body):
    """A compatibility rule."""

    compatibility: str


def read_schema(text: object, kind: str, message: str) -> Schema:
    """Read a schema from a body: text stays as it is, JSON becomes text.

    Raises:
        HttpError: 400.
    """
    if isinstance(text, str):
        return Schema(kind, text, message)
    if isinstance(text, dict | list | bool) and kind != "protobuf":
        return Schema(kind, orjson.dumps(text).decode(), message)
    raise bad_request("schema: it is neither a text nor JSON of this format")


async def broken_by(call: Call, vhost: Vhost, name: str, schema: Schema) -> list[str]:
    """List what a new version would break, by the rule of its subject.

    Raises:
        InvalidSchema: one of the versions cannot be read.
    """
    registry = schemas_of(call.admin, vhost)
    found: list[str] = []
    pace = Pace()
    for broken in incompatibilities(call.admin, registry.rule(name), schema, compared_with(registry, name)):
        found += broken
        if len(found) >= SHOWN:
            break
        if pace.due():
            await pace.rest()
    return found[:SHOWN]


def described(version: SchemaVersion) -> dict[str, object]:
    """Show a version."""
    shown: dict[str, object] = {
        "subject": version.subject,
        "version": version.number,
        "id": version.id,
        "format": version.schema.kind,
        "schema": version.schema.text,
    }
    return {**shown, "message": version.schema.message} if version.schema.message else shown


def _summary(admin: Administration, vhost: Vhost, subject: Subject) -> dict[str, object]:
    latest = subject.latest
    return {
        "vhost": vhost.name,
        "name": subject.name,
        "format": None if latest is None else latest.schema.kind,
        "latest": None if latest is None else latest.number,
        "versions": list(subject.versions),
        "compatibility": schemas_of(admin, vhost).rule(subject.name),
        "own_compatibility": subject.compatibility or None,
        "checked": subject.checked,
        "invalid": subject.invalid,
    }


async def subjects(call: Call) -> Answer:
    """List the schemas of all virtual hosts, or of one."""
    vhosts = [call.vhost()] if "vhost" in call.path else call.visible_vhosts()
    found = [
        _summary(call.admin, vhost, subject)
        for vhost in vhosts
        for subject in schemas_of(call.admin, vhost).subjects.values()
        if subject.versions
    ]
    return await answer_list(call, found, dict, paged=False)


async def subject(call: Call) -> Answer:
    """Show a schema's versions, and what goes by it."""
    vhost = call.vhost()
    found = find_subject(call.admin, vhost, call.path["subject"])
    users = users_of(vhost, found.name)[:SHOWN]
    return ok({**_summary(call.admin, vhost, found), "used_by": users})


async def delete_subject(call: Call) -> Answer:
    """Delete a schema with all versions; one in use only with ``?force=true``."""
    vhost = policymaker_vhost(call)
    found = find_subject(call.admin, vhost, call.path["subject"])
    force = call.query.flag("force")
    await call.committed(delete_versions(call.admin, vhost, found.name, list(found.versions), force))
    return no_content()


async def versions(call: Call) -> Answer:
    """List a schema's versions."""
    found = find_subject(call.admin, call.vhost(), call.path["subject"])
    return await answer_list(call, list(found.versions.values()), described, paged=False)


async def version(call: Call) -> Answer:
    """Show a version of a schema, by its number or ``latest``."""
    return ok(described(find_version(call.admin, call.vhost(), call.path["subject"], call.path["version"])))


async def delete_version(call: Call) -> Answer:
    """Delete a version of a schema."""
    vhost = policymaker_vhost(call)
    found = find_version(call.admin, vhost, call.path["subject"], call.path["version"])
    force = call.query.flag("force")
    await call.committed(delete_versions(call.admin, vhost, found.subject, [found.number], force))
    return no_content()


async def add_version(call: Call) -> Answer:
    """Register a schema: 201 with its version, 200 if it is there already, 409 with what it would break."""
    vhost = policymaker_vhost(call)
    wanted = call.model(SchemaBody)
    schema = read_schema(wanted.schema_, wanted.format, wanted.message)
    name = call.path["subject"]
    call.detail["format"] = schema.kind
    try:
        check_schema(call.admin, schema)
        broken = await compare_until_quiet(call, vhost, name, schema)
    except InvalidSchema as error:
        raise bad_request(f"the schema cannot be used: {error}") from None
    if broken:
        raise HttpError(409, "incompatible_schema", broken)
    done = register(call.admin, vhost, name, schema)
    await call.committed(done.lsn)
    answer = ok(described(done.version))
    answer.status = 201 if done.created else 200
    return answer


async def compare_until_quiet(call: Call, vhost: Vhost, name: str, schema: Schema) -> list[str]:
    """List what a new version would break, with nothing registered since; nothing if it is there already.

    Raises:
        InvalidSchema: one of the versions cannot be read.
    """
    while True:
        subjects = schemas_of(call.admin, vhost).subjects
        before = subjects.get(name)
        last = 0 if before is None else before.last
        if known_version(before, schema) is not None:
            return []
        broken = await broken_by(call, vhost, name, schema)
        after = schemas_of(call.admin, vhost).subjects.get(name)
        if last == (0 if after is None else after.last):
            return broken


async def try_schema(call: Call) -> Answer:
    """Tell whether a schema could be registered, and what it would break."""
    vhost = call.vhost()
    wanted = call.model(SchemaBody)
    schema = read_schema(wanted.schema_, wanted.format, wanted.message)
    name = call.path["subject"]
    problems: list[str] = []
    try:
        check_schema(call.admin, schema)
        valid = True
        problems = await broken_by(call, vhost, name, schema)
    except InvalidSchema as error:
        valid, problems = False, [str(error)]
    rule = schemas_of(call.admin, vhost).rule(name)
    return ok({"valid": valid, "compatible": not problems, "compatibility": rule, "problems": problems})


async def try_message(call: Call) -> Answer:
    """Tell whether a message fits a schema, and if not why."""
    vhost = call.vhost()
    wanted = call.model(MessageBody)
    found = find_subject(call.admin, vhost, call.path["subject"])
    if wanted.payload_encoding == "string":
        body = wanted.payload.encode("utf-8", "surrogateescape")
    elif wanted.payload_encoding == "base64":
        try:
            body = base64.b64decode(wanted.payload, validate=True)
        except (binascii.Error, ValueError):
            raise bad_request("payload: it is not in base64") from None
    else:
        raise bad_request("payload_encoding: string or base64")
    problem = schemas_of(call.admin, vhost).try_message(found, wanted.version, body)
    return ok({"valid": not problem, "error": problem or None})


async def put_compatibility(call: Call) -> Answer:
    """Set the compatibility rule of a schema; it need not be registered yet."""
    vhost = policymaker_vhost(call)
    rule = call.model(CompatibilityBody).compatibility
    call.detail["compatibility"] = rule
    await call.committed(set_rule(call.admin, vhost, call.path["subject"], rule))
    return no_content()


async def delete_compatibility(call: Call) -> Answer:
    """Let a schema go by the rule of its virtual host."""
    vhost = policymaker_vhost(call)
    await call.committed(set_rule(call.admin, vhost, call.path["subject"], ""))
    return no_content()


async def default_compatibility(call: Call) -> Answer:
    """Show the compatibility rule of schemas that have none of their own."""
    return ok({"compatibility": schemas_of(call.admin, call.vhost()).compatibility})


async def put_default_compatibility(call: Call) -> Answer:
    """Set the compatibility rule of schemas that have none of their own."""
    vhost = policymaker_vhost(call)
    rule = call.model(CompatibilityBody).compatibility
    call.detail["compatibility"] = rule
    await call.committed(set_rule(call.admin, vhost, "", rule))
    return no_content()


_SUBJECT: Final = "/x/schemas/{vhost}/{subject}"
_VERSIONS: Final = _SUBJECT + "/versions"
_VERSION: Final = _VERSIONS + "/{version}"
_RULE: Final = _SUBJECT + "/compatibility"
_DEFAULT: Final = "/x/schema-compatibility/{vhost}"

ROUTES: Final = (
    Route("GET", "/x/schemas", subjects),
    Route("GET", "/x/schemas/{vhost}", subjects),
    Route("GET", _SUBJECT, subject),
    Route("DELETE", _SUBJECT, delete_subject, action="schema.deleted"),
    Route("GET", _VERSIONS, versions),
    Route("POST", _VERSIONS, add_version, body=SchemaBody, action="schema.registered", large=True),
    Route("GET", _VERSION, version),
    Route("DELETE", _VERSION, delete_version, action="schema.deleted"),
    Route("POST", _SUBJECT + "/check-schema", try_schema, body=SchemaBody, large=True),
    Route("POST", _SUBJECT + "/check-message", try_message, body=MessageBody, large=True),
    Route("PUT", _RULE, put_compatibility, body=CompatibilityBody, action="schema.compatibility-set"),
    Route("DELETE", _RULE, delete_compatibility, action="schema.compatibility-cleared"),
    Route("GET", _DEFAULT, default_compatibility),
    Route(
        "PUT", _DEFAULT, put_default_compatibility, body=CompatibilityBody, action="schema.compatibility-set"
    ),
)
