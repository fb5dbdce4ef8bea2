"""Definitions, in and out: ``/definitions``, of the node and of one virtual host."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import orjson

from harebell import logs
from harebell.administration.definitions import Import, exported, exported_vhost, hash_passwords
from harebell.administration.definitions.exporting import Export
from harebell.management.answers import JSON, Answer, encode, no_content, ok
from harebell.management.bodies import Body
from harebell.management.calls import Call
from harebell.management.errors import bad_request, unsupported_media_type, vhost_not_found
from harebell.management.pacing import Pace
from harebell.management.routing import Right, Route

MULTIPART: Final = "multipart/form-data"
FILE: Final = "file"
"""Field of a form that holds definitions."""

PART_OCTETS: Final = 65536
"""Octets of JSON put together before they are sent."""

SAFE_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,200}")

log = logs.get_logger("management")

Rows = tuple[dict[str, Any], ...]


class DefinitionsBody(Body):
    """Definitions as RabbitMQ 3.x and 4.x or LavinMQ export them; every section may be left out."""

    users: Rows = ()
    vhosts: Rows = ()
    permissions: Rows = ()
    topic_permissions: Rows = ()
    parameters: Rows = ()
    global_parameters: Rows = ()
    policies: Rows = ()
    queues: Rows = ()
    exchanges: Rows = ()
    bindings: Rows = ()


async def export_all(call: Call) -> Answer:
    """Export everything that is declared on the node."""
    return await _exported(call, exported(call.admin))


async def export_vhost(call: Call) -> Answer:
    """Export what is declared in a virtual host."""
    name = call.path["vhost"]
    if name not in call.admin.broker.vhosts:
        raise bad_request("vhost_not_found")
    return await _exported(call, exported_vhost(call.admin, name))


async def _exported(call: Call, export: Export) -> Answer:
    """Write definitions piece by piece, and let others work in between."""
    pace = Pace()
    parts: list[bytes] = []
    text = bytearray(encode(export.about)[:-1])
    for section, rows in export.sections.items():
        text += b"," + encode(section) + b":["
        first = True
        for row in rows:
            text += encode(row) if first else b"," + encode(row)
            first = False
            if len(text) >= PART_OCTETS:
                parts.append(bytes(text))
                text.clear()
            if pace.due():
                await pace.rest()
        text += b"]"
    text += b"}"
    parts.append(bytes(text))
    name = call.query.get("download")
    headers = {}
    if name is not None and SAFE_NAME.fullmatch(name):
        headers["Content-Disposition"] = f"attachment; filename={name}"
    return Answer(200, parts, headers=headers)


async def import_all(call: Call) -> Answer:
    """Import definitions; with ``?dry_run=true`` only say what that would change.

    ``?unknown=skip`` leaves out what is not known here, and answers what that was.
    """
    return await _import(call, None)


async def import_vhost(call: Call) -> Answer:
    """Import definitions into one virtual host; with ``?dry_run=true`` only say what that would change."""
    name = call.path["vhost"]
    if name not in call.admin.broker.vhosts:
        raise vhost_not_found()
    return await _import(call, name)


async def _import(call: Call, vhost: str | None) -> Answer:
    document = _document(call)
    if isinstance(document.get("users"), list):
        await asyncio.to_thread(hash_passwords, call.admin, document)
    dry_run = call.query.flag("dry_run")
    skip_unknown = call.query.get("unknown") == "skip"
    work = Import(call.admin, document, vhost, call.user.name, dry_run, skip_unknown)
    pace = Pace()
    try:
        for _ in work.steps():
            if pace.due():
                call.admin.host.turn()
                await pace.rest()
    finally:
        await call.committed(work.lsn)
    call.detail["differences"] = len(work.differences)
    if dry_run:
        call.detail["dry_run"] = True
        differences = [difference._asdict() for difference in work.differences]
        return ok({"differences": differences, "warnings": work.warnings, "skipped": work.skipped})
    for warning in (*work.skipped, *work.warnings):
        log.warning(f"definitions imported by user '{call.user.name}': {warning}")
    return ok({"warnings": work.warnings, "skipped": work.skipped}) if skip_unknown else no_content()


def _document(call: Call) -> dict[str, object]:
    media, _, parameters = call.headers.get("content-type", "").partition(";")
    media = media.strip().lower()
    if media == MULTIPART:
        text = form_field(call.body, parameters, FILE)
    elif media == JSON:
        text = call.body
    else:
        raise unsupported_media_type()
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise bad_request("failed_to_parse_json") from None
    if not isinstance(document, dict):
        raise bad_request("failed_to_parse_json")
    return document


def form_field(body: bytes, parameters: str, name: str) -> bytes:
    """Give a field of a form (RFC 7578); empty if it is not there.

    Args:
        body: of the request.
        parameters: of its content type: the boundary.
        name: of the field.
    """
    found = re.search(r'boundary="?([^";]{1,70})"?', parameters, re.IGNORECASE)
    if found is None:
        return b""
    for part in (b"\r\n" + body).split(b"\r\n--" + found[1].strip().encode("latin-1", "replace")):
        head, blank, content = part.partition(b"\r\n\r\n")
        if blank and re.search(rb'\bname="?' + re.escape(name.encode()) + rb'"?(;|\s|$)', head[:4096]):
            return content
    return b""


_OF_VHOST: Final = "/definitions/{vhost}"
_ALL: Final = Right.ADMINISTRATOR
_IMPORTED: Final = "definitions.imported"

ROUTES: Final = (
    Route("GET", "/definitions", export_all, _ALL, action="definitions.exported"),
    Route("POST", "/definitions", import_all, _ALL, DefinitionsBody, _IMPORTED, large=True),
    Route("GET", _OF_VHOST, export_vhost, _ALL, action="definitions.exported"),
    Route("POST", _OF_VHOST, import_vhost, _ALL, DefinitionsBody, _IMPORTED, large=True),
)
