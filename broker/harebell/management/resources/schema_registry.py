"""Schemas in the shape of Confluent's Schema Registry, for its serializers: ``/x/schema-registry/{vhost}``.

Paths, fields and error codes are those of its REST interface, version 7; what it has beside (contexts, modes,
references, metadata) is not there.  Avro is the default format, as there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from harebell.administration.schemas import (
    check_schema,
    delete_versions,
    find_subject,
    find_version,
    incompatibilities,
    known_version,
    register,
    schemas_of,
    set_rule,
)
from harebell.engine.schemas import SchemaVersion
from harebell.engine.vhost import Vhost
from harebell.errors import NOT_FOUND, BrokerError, InvalidSchema
from harebell.management.answers import Answer, encode
from harebell.management.calls import Call
from harebell.management.resources.policies import policymaker_vhost
from harebell.management.resources.schemas import compare_until_quiet
from harebell.management.routing import Route
from harebell.ports import Schema

MEDIA_TYPE: Final = "application/vnd.schemaregistry.v1+json"

TYPES: Final = {"AVRO": "avro", "JSON": "json-schema", "PROTOBUF": "protobuf"}
NAMES: Final = {kind: name for name, kind in TYPES.items()}

NO_SUBJECT: Final = 40401
NO_VERSION: Final = 40402
NO_SCHEMA: Final = 40403
INCOMPATIBLE: Final = 409
BAD_SCHEMA: Final = 42201
BAD_RULE: Final = 42203
IN_USE: Final = 42206
"""Error codes."""


class _Refused(Exception):
    """An answer that is an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


Handler = Callable[[Call], Awaitable[object]]


def _said(value: object) -> Answer:
    return Answer(200, (encode(value),), content_type=MEDIA_TYPE)


async def _answered(call: Call, handler: Handler) -> Answer:
    """Give what a handler gives, and errors as the registry's clients expect them."""
    try:
        return _said(await handler(call))
    except _Refused as error:
        code, message = error.code, str(error)
    except InvalidSchema as error:
        code, message = BAD_SCHEMA, f"Invalid schema: {error}"
    except BrokerError as error:
        code = NO_SUBJECT if error.row is NOT_FOUND else IN_USE
        message = error.text
    # 40401 is an answer 404, 42201 an answer 422.
    status = code // 100 if code >= 1000 else code
    return Answer(status, (encode({"error_code": code, "message": message}),), content_type=MEDIA_TYPE)


def _schema(call: Call) -> Schema:
    fields = call.json_object()
    text, kind = fields.get("schema"), fields.get("schemaType", "AVRO")
    if not isinstance(text, str) or kind not in TYPES:
        raise _Refused(BAD_SCHEMA, f"a text `schema`, and `schemaType` one of {', '.join(TYPES)}, are needed")
    if fields.get("references"):
        raise _Refused(BAD_SCHEMA, "references to other schemas are not taken: put all into one document")
    return Schema(TYPES[str(kind)], text)


def _shown(version: SchemaVersion) -> dict[str, object]:
    return {
        "subject": version.subject,
        "version": version.number,
        "id": version.id,
        **_text(version),
    }


def _text(version: SchemaVersion) -> dict[str, object]:
    kind = version.schema.kind
    shown: dict[str, object] = {"schema": version.schema.text}
    return shown if kind == "avro" else {"schemaType": NAMES[kind], **shown}


def _version(call: Call, vhost: Vhost) -> SchemaVersion:
    find_subject(call.admin, vhost, call.path["subject"])
    wanted = call.path["version"]
    try:
        return find_version(call.admin, vhost, call.path["subject"], "latest" if wanted == "-1" else wanted)
    except BrokerError as error:
        raise _Refused(NO_VERSION, error.text) from None


async def subjects(call: Call) -> object:
    """List the subjects."""
    registry = schemas_of(call.admin, call.vhost())
    return [subject.name for subject in registry.subjects.values() if subject.versions]


async def versions(call: Call) -> object:
    """List the numbers of a subject's versions."""
    return list(find_subject(call.admin, call.vhost(), call.path["subject"]).versions)


async def version(call: Call) -> object:
    """Show a version."""
    return _shown(_version(call, call.vhost()))


async def add_version(call: Call) -> object:
    """Register a schema, and give its id."""
    vhost = policymaker_vhost(call)
    schema = _schema(call)
    name = call.path["subject"]
    check_schema(call.admin, schema)
    broken = await compare_until_quiet(call, vhost, name, schema)
    if broken:
        raise _Refused(INCOMPATIBLE, f"Schema being registered is incompatible: {'; '.join(broken)}")
    done = register(call.admin, vhost, name, schema)
    await call.committed(done.lsn)
    return {"id": done.version.id}


async def look_up(call: Call) -> object:
    """Find the version of a subject that says what a schema says."""
    subject = find_subject(call.admin, call.vhost(), call.path["subject"])
    found = known_version(subject, _schema(call))
    if found is None:
        raise _Refused(NO_SCHEMA, "Schema not found")
    return _shown(found)


async def delete_subject(call: Call) -> object:
    """Delete a subject, and give the numbers of its versions."""
    vhost = policymaker_vhost(call)
    subject = find_subject(call.admin, vhost, call.path["subject"])
    numbers = list(subject.versions)
    await call.committed(delete_versions(call.admin, vhost, subject.name, numbers, False))
    return numbers


async def delete_version(call: Call) -> object:
    """Delete a version, and give its number."""
    vhost = policymaker_vhost(call)
    found = _version(call, vhost)
    await call.committed(delete_versions(call.admin, vhost, found.subject, [found.number], False))
    return found.number


async def by_id(call: Call) -> object:
    """Show the schema with an id."""
    return _text(_by_id(call)[0])


async def versions_by_id(call: Call) -> object:
    """List the subjects and versions with an id."""
    return [{"subject": found.subject, "version": found.number} for found in _by_id(call)]


def _by_id(call: Call) -> list[SchemaVersion]:
    text = call.path["id"]
    digits = text.isascii() and text.isdecimal() and len(text) <= 10
    found = schemas_of(call.admin, call.vhost()).by_id(int(text) if digits else 0)
    if not found:
        raise _Refused(NO_SCHEMA, f"Schema {text[:20]} not found")
    return found


async def types(call: Call) -> object:
    """List the formats."""
    call.vhost()
    return list(TYPES)


async def compare(call: Call) -> object:
    """Tell whether a schema is compatible with a version."""
    vhost = call.vhost()
    schema = _schema(call)
    check_schema(call.admin, schema)
    found = _version(call, vhost)
    rule = schemas_of(call.admin, vhost).rule(found.subject)
    broken = [] if rule == "none" else next(incompatibilities(call.admin, rule, schema, [found]))
    return {"is_compatible": not broken, **({"messages": broken} if call.query.flag("verbose") else {})}


async def config(call: Call) -> object:
    """Show the compatibility rule of the registry, or of a subject."""
    registry = schemas_of(call.admin, call.vhost())
    return {"compatibilityLevel": registry.rule(call.path.get("subject", "")).upper()}


async def set_config(call: Call) -> object:
    """Set the compatibility rule of the registry, or of a subject."""
    vhost = policymaker_vhost(call)
    found = call.json_object().get("compatibility")
    rule = found if isinstance(found, str) else "?"
    try:
        lsn = set_rule(call.admin, vhost, call.path.get("subject", ""), rule.lower() or "?")
    except BrokerError as error:
        raise _Refused(BAD_RULE, error.text) from None
    await call.committed(lsn)
    return {"compatibility": rule.upper()}


def _route(method: str, path: str, handler: Handler, action: str = "") -> Route:
    async def answer(call: Call) -> Answer:
        return await _answered(call, handler)

    answer.__doc__ = handler.__doc__
    answer.__name__ = f"registry_{handler.__name__}"
    return Route(method, "/x/schema-registry/{vhost}" + path, answer, action=action, large=method == "POST")


_SUBJECT: Final = "/subjects/{subject}"
_VERSION: Final = _SUBJECT + "/versions/{version}"

ROUTES: Final = (
    _route("GET", "/subjects", subjects),
    _route("POST", _SUBJECT, look_up),
    _route("DELETE", _SUBJECT, delete_subject, "schema.deleted"),
    _route("GET", _SUBJECT + "/versions", versions),
    _route("POST", _SUBJECT + "/versions", add_version, "schema.registered"),
    _route("GET", _VERSION, version),
    _route("DELETE", _VERSION, delete_version, "schema.deleted"),
    _route("GET", "/schemas/types", types),
    _route("GET", "/schemas/ids/{id}", by_id),
    _route("GET", "/schemas/ids/{id}/versions", versions_by_id),
    _route("POST", "/compatibility" + _VERSION, compare),
    _route("GET", "/config", config),
    _route("PUT", "/config", set_config, "schema.compatibility-set"),
    _route("GET", "/config/{subject}", config),
    _route("PUT", "/config/{subject}", set_config, "schema.compatibility-set"),
)
