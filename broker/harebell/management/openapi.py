"""The description of the HTTP API in OpenAPI 3.1, made from its routes.

Path and method, summary (the handler's docstring), body (its model) and the right that is needed come from
the table of routes; what answers hold at least comes from ``answer_schemas.py``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Final

from harebell import __version__
from harebell.management.answer_schemas import (
    ANSWERS,
    FLAG,
    HEALTH,
    LISTS,
    OBJECTS,
    PAGED,
    TEXT,
    WHOLE,
    Schema,
    holding,
    listing,
)
from harebell.management.routing import Right, Route, split

VERSION: Final = "3.1.0"

PARTS: Final = "#/components/"

_RIGHTS: Final = {
    Right.NOBODY: "Nobody need log in.",
    Right.MANAGEMENT: "Needs one of the tags `management`, `policymaker`, `monitoring` and `administrator`.",
    Right.POLICYMAKER: "Needs the tag `policymaker` or `administrator`.",
    Right.MONITORING: "Needs the tag `monitoring` or `administrator`.",
    Right.ADMINISTRATOR: "Needs the tag `administrator`.",
}

_ABOUT_SEGMENTS: Final = {
    "vhost": "name of a virtual host; `%2F` is `/`",
    "properties": "`properties_key` of a binding; `~` has no key and no arguments",
    "limit": "`max-connections`, `max-queues` or `max-channels`",
    "position": "place of a message in its queue, as a list of them tells it",
    "node": "name of the node, as `/api/overview` tells it",
}


def _queried(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": description}


_QUERY: Final = {
    "columns": _queried("columns", TEXT, "fields that are wanted, with commas between: `name,owner.name`"),
    "sort": _queried("sort", TEXT, "field to order by"),
    "sort_reverse": _queried("sort_reverse", FLAG, "`true` for the other order"),
    "page": _queried("page", WHOLE, "number of the page, from 1; without it all comes at once"),
    "page_size": _queried("page_size", WHOLE, "objects on a page: 1 to 500, 100 unless told"),
    "name": _queried("name", TEXT, "part of the name of what is wanted, if a page is"),
    "use_regex": _queried("use_regex", FLAG, "`true` if `name` is a regular expression"),
    "dry_run": _queried("dry_run", FLAG, "`true` to change nothing and see what would"),
    "unknown": _queried("unknown", TEXT, "`skip` to leave out what is not known here"),
    "from": _queried("from", WHOLE, "position to begin at: 1, or `next` of an earlier answer"),
    "limit": _queried("limit", WHOLE, "messages shown: 1 to 500, 50 unless told"),
    "filter": _queried("filter", TEXT, "which messages: a condition, or a JSON table of headers"),
    "routing_key": _queried("routing_key", TEXT, "only messages published with this key"),
    "state": _queried("state", TEXT, "`ready` unless told, `unacked` or `retrying`"),
    "truncate": _queried("truncate", WHOLE, "octets of each body that are shown"),
    "encoding": _queried("encoding", TEXT, "`auto` unless told, or `base64`"),
    "download": _queried("download", TEXT, "name of a file to save the answer to"),
}
_OF_LIST: Final = ("columns", "sort", "sort_reverse")
_OF_MESSAGES: Final = {
    ("GET", "/x/messages/{vhost}/{queue}"): (
        "from",
        "limit",
        "filter",
        "routing_key",
        "state",
        "truncate",
        "encoding",
    ),
    ("DELETE", "/x/messages/{vhost}/{queue}"): ("filter", "routing_key", "dry_run"),
    ("GET", "/x/messages/{vhost}/{queue}/{position}"): ("truncate", "encoding"),
    ("GET", "/x/dead-letters/{vhost}/{queue}"): ("from", "limit"),
}
_OF_PAGES: Final = (*_OF_LIST, "page", "page_size", "name", "use_regex")

_ERROR: Final = {
    "type": "object",
    "properties": {"error": TEXT, "reason": {"description": "text as a rule, a list at times"}},
    "required": ["error", "reason"],
}
_FAILURES: Final = {
    "BadRequest": "What was sent is wrong; `reason` says how.",
    "Unauthorized": "Not logged in (with a challenge), or not allowed.",
    "NotFound": "There is no such object, or no such virtual host.",
}


def document(routes: Iterable[Route], prefix: str = "") -> dict[str, Any]:
    """Describe an API.

    Args:
        routes: all there are.
        prefix: stands before every path (``management.path_prefix``).
    """
    paths: dict[str, Any] = {}
    schemas: dict[str, Schema] = {**ANSWERS, "Error": _ERROR}
    for route in routes:
        operation = _operation(route, schemas)
        paths.setdefault("/api" + route.path, {})[route.method.lower()] = operation
    responses = {
        name: {
            "description": text,
            "content": {"application/json": {"schema": {"$ref": PARTS + "schemas/Error"}}},
        }
        for name, text in _FAILURES.items()
    }
    return {
        "openapi": VERSION,
        "info": {
            "title": "harebell management",
            "version": __version__,
            "description": "The HTTP API of RabbitMQ's management plugin, and what goes beyond it under "
            "`/api/x/`. Names in paths are percent-encoded, `/` as `%2F`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": prefix or "/"}],
        "security": [{"basic": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": dict(_QUERY),
            "responses": responses,
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
    }


def _operation(route: Route, schemas: dict[str, Schema]) -> dict[str, Any]:
    summary = (inspect.getdoc(route.handler) or "").partition("\n")[0]
    names = [segment[1:-1] for segment in split(route.path) if segment.startswith("{")]
    parameters: list[Schema] = [_segment(name) for name in names]
    parameters += [{"$ref": f"{PARTS}parameters/{name}"} for name in _query_of(route)]
    operation: dict[str, Any] = {
        "operationId": _identifier(route),
        "summary": summary.replace("``", "`"),
        "description": _RIGHTS[route.right],
        "tags": [split(route.path)[0]],
        "parameters": parameters,
        "responses": _answers(route),
    }
    if route.right is Right.NOBODY:
        operation["security"] = []
    if route.body is not None:
        schema = route.body.model_json_schema(ref_template=PARTS + "schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation


def _segment(name: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": TEXT,
        "description": _ABOUT_SEGMENTS.get(name, f"name of the {name}"),
    }


def _query_of(route: Route) -> tuple[str, ...]:
    if route.path.startswith("/definitions"):
        return ("download",) if route.method == "GET" else ("dry_run", "unknown")
    if (route.method, route.path) in _OF_MESSAGES:
        return _OF_MESSAGES[route.method, route.path]
    if route.method != "GET":
        return ()
    if route.path in PAGED:
        return _OF_PAGES
    if route.path in LISTS:
        return _OF_LIST
    return ("columns",) if route.path in OBJECTS else ()


def _identifier(route: Route) -> str:
    words = [segment.strip("{}").replace("-", "_") for segment in split(route.path)]
    return "_".join([route.method.lower(), *words])


def _answers(route: Route) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    if route.method == "GET":
        answers["200"] = _answered(_shown(route))
        if route.path.startswith(HEALTH):
            answers["503"] = _answered(holding(status=TEXT, reason={}))
    elif route.method == "PUT":
        answers["201"] = {"description": "It was not there before."}
        answers["204"] = {"description": "It was there already, and is now as wanted."}
    elif route.method == "DELETE":
        answers["204"] = {"description": "It is gone."}
    else:
        answers["2XX"] = {"description": "Done."}
    for status, name in (("400", "BadRequest"), ("401", "Unauthorized"), ("404", "NotFound")):
        answers[status] = {"$ref": f"{PARTS}responses/{name}"}
    return answers


def _answered(schema: Schema) -> dict[str, Any]:
    return {"description": "What was asked for.", "content": {"application/json": {"schema": schema}}}


def _shown(route: Route) -> Schema:
    """Describe what is answered; ``columns`` may leave out fields, which a schema cannot say."""
    if route.path.startswith(HEALTH):
        return _named("Health")
    if route.path in OBJECTS:
        return _named(OBJECTS[route.path])
    if route.path in LISTS:
        return listing(_named(LISTS[route.path]))
    if route.path not in PAGED:
        return {}
    items = listing(_named(PAGED[route.path]))
    counts = dict.fromkeys(
        ("filtered_count", "item_count", "page", "page_count", "page_size", "total_count"), WHOLE
    )
    return {"anyOf": [items, holding(items=items, **counts)]}


def _named(name: str) -> Schema:
    return {"$ref": f"{PARTS}schemas/{name}"}
