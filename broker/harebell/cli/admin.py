"""``harebell admin``: the command lines of rabbitmqadmin, of both generations."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from harebell.cli.api import Api, ApiError, default_api
from harebell.cli.exits import CRASHED, INTERRUPTED, OK, UNAVAILABLE, USAGE, Failure
from harebell.cli.options import read_scalar
from harebell.cli.output import Column, csv_lines, json_text, plain, selected, table

HELP = """\
list queues name messages                    v1, and in v2: queues list
declare queue name=q durable=true            v1
declare queue --name q --durable true        v2, and: queues declare --name q
publish routing_key=q payload=hello          without a payload: the standard input
get queue=q count=5                          puts messages back, unless ackmode=ack_requeue_false

NAME=VALUE and --NAME VALUE mean the same, and so do singular and plural.
Options: -H HOST -P PORT -u USER -p PASSWORD -V VHOST -f FORMAT -q -s -k; or --base-uri URL, or HAREBELL_URL
"""

FORMATS = ("table", "tsv", "long", "kvp", "bash", "raw_json", "pretty_json", "json", "csv")
VERBS = (
    "list",
    "show",
    "declare",
    "delete",
    "purge",
    "close",
    "get",
    "publish",
    "export",
    "import",
    "set",
    "clear",
)
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")
V1_GLOBALS = {
    "-H": "host", "--host": "host", "-P": "port", "--port": "port", "-V": "vhost", "--vhost": "vhost",
    "-u": "username", "--username": "username", "-p": "password", "--password": "password",
    "-U": "base-uri", "--base-uri": "base-uri", "--url": "base-uri", "-f": "format", "--format": "format",
    "-S": "sort", "--sort": "sort", "-t": "timeout", "--request-timeout": "timeout", "--timeout": "timeout",
    "-c": "config", "--config": "config", "-N": "node", "--node": "node", "-d": "depth", "--depth": "depth",
    "--path-prefix": "prefix", "--ssl-ca-cert-file": "ca", "--tls-ca-cert-file": "ca", "--columns": "columns",
}  # fmt: skip
V1_SWITCHES = {
    "-q": "quiet", "--quiet": "quiet", "--non-interactive": "quiet", "-s": "tls", "--ssl": "tls",
    "--use-tls": "tls", "-k": "insecure", "--ssl-insecure": "insecure", "-R": "reverse",
    "--sort-reverse": "reverse", "-h": "help", "--help": "help",
    "--ssl-disable-hostname-verification": "insecure",
}  # fmt: skip


class Noun(NamedTuple):
    """One kind of object.

    Attributes:
        plural: in the API.
        columns: listed by default.
        key: names in the path behind the virtual host.
        scoped: whether the path has a virtual host.
        body: further fields, and their defaults (``...`` for those that are needed).
    """

    plural: str
    columns: str
    key: tuple[str, ...] = ("name",)
    scoped: bool = True
    body: Mapping[str, Any] = {}


NOUNS = {
    "queue": Noun("queues", "name messages", body={"durable": True, "auto_delete": False, "arguments": {}}),
    "exchange": Noun(
        "exchanges",
        "name type",
        body={"type": ..., "durable": True, "auto_delete": False, "internal": False, "arguments": {}},
    ),
    "binding": Noun("bindings", "source destination routing_key", ("source", "destination")),
    "vhost": Noun("vhosts", "name messages", scoped=False, body={"tracing": False}),
    "user": Noun("users", "name tags", scoped=False, body={"tags": ""}),
    "permission": Noun(
        "permissions",
        "vhost user configure write read",
        ("user",),
        body={"configure": ..., "write": ..., "read": ...},
    ),
    "policy": Noun(
        "policies",
        "vhost name pattern apply-to definition priority",
        body={"pattern": ..., "definition": ..., "priority": 0, "apply-to": "all"},
    ),
    "operator_policy": Noun(
        "operator-policies",
        "vhost name pattern apply-to definition priority",
        body={"pattern": ..., "definition": ..., "priority": 0, "apply-to": "all"},
    ),
    "parameter": Noun("parameters", "vhost component name value", body={"component": ..., "value": ...}),
    "vhost_limit": Noun("vhost-limits", "vhost value", body={"value": ...}),
    "user_limit": Noun("user-limits", "user value", ("user", "name"), scoped=False, body={"value": ...}),
    "connection": Noun("connections", "name user vhost state channels", scoped=False),
    "channel": Noun("channels", "name user vhost state", scoped=False),
    "consumer": Noun("consumers", "queue.name consumer_tag channel_details.name"),
    "node": Noun("nodes", "name type mem_used running", scoped=False),
    "feature_flag": Noun("feature-flags", "name state", scoped=False),
}
PLURALS = {noun.plural.replace("-", "_"): name for name, noun in NOUNS.items()} | {"overview": "overview"}

Fields = dict[str, str]


class _Line(NamedTuple):
    """A command line that was read."""

    options: dict[str, str]
    words: list[str]
    fields: Fields


def run(arguments: Sequence[str]) -> int:
    """Run a command line of rabbitmqadmin and return its exit code: 1 if it failed, 64 if it is none."""
    try:
        line = _read(list(arguments))
        if "help" in line.options or not line.words or line.words[0] == "help":
            print(f"Usage: harebell admin [OPTIONS] COMMAND ...\n\n{HELP}")
            print(f"objects: {', '.join(NOUNS)}; also: show overview, export FILE, import FILE, publish, get")
            return OK if line.words or "help" in line.options else USAGE
        return _run(line)
    except Failure as error:
        print(f"*** {error}", file=sys.stderr)
        return USAGE if error.exit_code == USAGE else CRASHED
    except KeyboardInterrupt:
        return INTERRUPTED


def _read(arguments: list[str]) -> _Line:
    options: dict[str, str] = {}
    words: list[str] = []
    fields: Fields = {}
    while arguments:
        word = arguments.pop(0)
        key, equals, value = word.partition("=")
        if word in V1_SWITCHES:
            options[V1_SWITCHES[word]] = "true"
        elif words and key == "--password":  # in v2, of the user that is declared
            fields["password"] = value if equals else arguments.pop(0) if arguments else ""
        elif key in V1_GLOBALS and equals and key.startswith("--"):
            options[V1_GLOBALS[key]] = value
        elif word in V1_GLOBALS and arguments:
            options[V1_GLOBALS[word]] = arguments.pop(0)
        elif word in ("--idempotently", "--skip-if-unchanged"):
            options[word[2:]] = "true"
        elif word.startswith("--"):
            name = key[2:].replace("-", "_")
            fields[name] = value if equals else arguments.pop(0) if arguments else "true"
        elif equals and words:
            fields[key] = value
        else:
            words.append(word)
    return _Line(options, words, fields)


def _api(options: Mapping[str, str]) -> Api:
    named = options.keys() & {"host", "port", "username", "password", "tls", "base-uri"}
    url = options.get("base-uri", "")
    if named and not url:
        scheme = "https" if "tls" in options else "http"
        port = options.get("port", "15671" if "tls" in options else "15672")
        url = f"{scheme}://{options.get('host', 'localhost')}:{port}{options.get('prefix', '')}"
    login = None
    if named & {"username", "password"}:
        login = (options.get("username", "guest"), options.get("password", "guest"))
    timeout = options.get("timeout", "120")
    if not timeout.replace(".", "", 1).isdigit():
        raise Failure(f"the timeout {timeout!r} is no number", USAGE)
    verify = "insecure" not in options
    if not url:
        return default_api(os.environ, float(timeout), verify=verify)
    return Api(url, float(timeout), verify=verify, login=login)


def _run(line: _Line) -> int:
    api = _api(line.options)
    verb, *rest = line.words
    verb = verb.replace("-", "_")
    if verb not in VERBS and rest and (PLURALS.get(verb) or verb in NOUNS):
        verb, rest = rest[0].replace("-", "_"), [verb, *rest[1:]]  # v2: queues list
    if verb in ("definitions", "messages", "passwords") and rest:
        verb, rest = rest[0].replace("-", "_"), rest[1:]
    handlers: dict[str, Callable[[Api, _Line, list[str]], None]] = {
        "list": _list,
        "show": _show,
        "declare": _declare,
        "set": _declare,
        "delete": _delete,
        "clear": _delete,
        "purge": _purge,
        "close": _close,
        "publish": _publish,
        "get": _get,
        "export": _export,
        "import": _import,
        "health_check": _health,
        "salt_and_hash": _hash,
        "salt_and_hash_password": _hash,
    }
    if verb not in handlers:
        raise Failure(f"{verb} is no command: {', '.join(handlers)}", USAGE)
    try:
        handlers[verb](api, line, rest)
    finally:
        api.close()
    return OK


def _noun(words: list[str]) -> Noun:
    name = words[0].replace("-", "_") if words else ""
    noun = NOUNS.get(PLURALS.get(name, name))
    if noun is None:
        raise Failure(f"{name or 'nothing'} is no kind of object: {', '.join(NOUNS)}", USAGE)
    return noun


def _say(line: _Line, text: str) -> None:
    if "quiet" not in line.options:
        print(text)


def _list(api: Api, line: _Line, words: list[str]) -> None:
    noun = _noun(words)
    columns = words[1:] or line.options.get("columns", "").split(",")
    vhost = line.options.get("vhost") if noun.scoped else None
    rows = api.get(*((noun.plural,) if vhost is None else (noun.plural, vhost)))
    _print(line, rows, [one for one in columns if one] or noun.columns.split())


def _show(api: Api, line: _Line, words: list[str]) -> None:
    if not words or words[0] == "overview":
        columns = words[1:] or [
            "rabbitmq_version",
            "cluster_name",
            "queue_totals.messages",
            "object_totals.queues",
        ]
        _print(line, [api.get("overview")], columns)
        return
    noun = _noun(words)
    _print(line, [api.get(*_path(noun, line))], words[1:] or noun.columns.split())


def _path(noun: Noun, line: _Line) -> tuple[str, ...]:
    parts = [noun.plural]
    if noun.plural == "parameters":
        parts.append(_needed(line, "component"))
    if noun.scoped:
        parts.append(line.fields.get("vhost") or line.options.get("vhost", "/"))
    return (*parts, *(_needed(line, key) for key in noun.key))


def _needed(line: _Line, key: str) -> str:
    if key not in line.fields:
        raise Failure(f'mandatory argument "{key}" required', USAGE)
    return line.fields[key]


def _print(line: _Line, rows: list[Mapping[str, Any]], keys: Sequence[str]) -> None:
    form = line.options.get("format", "table")
    if form not in FORMATS:
        raise Failure(f"{form} is no format: {', '.join(FORMATS)}", USAGE)
    columns = [Column(key) for key in keys]
    if sort := line.options.get("sort"):
        rows = sorted(rows, key=lambda row: plain(row.get(sort)), reverse="reverse" in line.options)
    if form in ("raw_json", "pretty_json", "json"):
        print(json.dumps(rows) if form == "raw_json" else json_text(rows))
    elif form == "csv":
        print("\n".join(csv_lines(rows, columns)))
    elif form == "bash":
        print(" ".join(plain(row.get("name")) for row in rows))
    elif form == "tsv":
        print("\t".join(keys))
        for row in rows:
            print("\t".join(plain(value) for value in selected(row, columns).values()))
    elif form in ("long", "kvp"):
        end = "\n" if form == "long" else " "
        for row in rows:
            print(end.join(f"{key}: {plain(value)}" if form == "long" else f'{key}="{plain(value)}"'
                           for key, value in selected(row, columns).items()))  # fmt: skip
            if form == "long":
                print("-" * 40)
    else:
        print("\n".join(table(rows, columns)) if rows else "No items")


def _value(key: str, text: str) -> Any:
    if key in ("durable", "auto_delete", "internal", "tracing"):
        if text.lower() not in TRUE + FALSE:
            raise Failure(f"{key} is true or false, not {text!r}", USAGE)
        return text.lower() in TRUE
    if key in ("arguments", "definition", "value", "priority"):
        return read_scalar(text)
    return text


def _declare(api: Api, line: _Line, words: list[str]) -> None:
    noun = _noun(words)
    if noun.plural == "bindings":
        _bind(api, line)
        return
    body = {key: value for key, value in noun.body.items() if value is not ...}
    for key, text in line.fields.items():
        key = "apply-to" if key == "apply_to" else key
        if key not in (*noun.key, "vhost", "node"):
            body[key] = _value(key, text)
    for key, value in noun.body.items():
        if value is ... and key not in body:
            raise Failure(f'mandatory argument "{key}" required', USAGE)
    kind = body.pop("queue_type", None) or (body.pop("type", None) if noun.plural == "queues" else None)
    if noun.plural == "queues" and kind:
        body["arguments"] = {**body["arguments"], "x-queue-type": kind}
    path = _path(noun, line)
    if noun.plural == "parameters":
        body |= {"vhost": path[2], "name": path[3]}
    api.put(*path, body=body)
    _say(line, f"{words[0]} declared")


def _bind(api: Api, line: _Line) -> None:
    body = {
        "routing_key": line.fields.get("routing_key", ""),
        "arguments": read_scalar(line.fields.get("arguments", "{}")),
    }
    api.post(*_binding(line), body=body)
    _say(line, "binding declared")


def _binding(line: _Line) -> tuple[str, ...]:
    kind = line.fields.get("destination_type", "queue")
    vhost = line.options.get("vhost", "/")
    return ("bindings", vhost, "e", _needed(line, "source"), kind[:1], _needed(line, "destination"))


def _delete(api: Api, line: _Line, words: list[str]) -> None:
    noun = _noun(words)
    if noun.plural == "bindings":
        path = (
            *_binding(line),
            line.fields.get("properties_key", quote(line.fields.get("routing_key", "~"), safe="")),
        )
    else:
        path = _path(noun, line)
    try:
        api.delete(*path)
    except ApiError as error:
        if error.status != 404 or "idempotently" not in line.options:
            raise
    _say(line, f"{words[0]} deleted")


def _purge(api: Api, line: _Line, words: list[str]) -> None:
    api.delete(*_path(NOUNS["queue"], line), "contents")
    _say(line, "queue purged")


def _close(api: Api, line: _Line, words: list[str]) -> None:
    reason = line.fields.get("reason", "")
    api.delete("connections", _needed(line, "name"), headers={"X-Reason": reason} if reason else None)
    _say(line, "connection closed")


def _publish(api: Api, line: _Line, words: list[str]) -> None:
    fields = line.fields
    payload = fields["payload"] if "payload" in fields else sys.stdin.read()
    body = {
        "routing_key": _needed(line, "routing_key"),
        "payload": payload,
        "payload_encoding": fields.get("payload_encoding", "string"),
        "properties": read_scalar(fields.get("properties", "{}")),
    }
    exchange = fields.get("exchange") or "amq.default"
    answer = api.post("exchanges", line.options.get("vhost", "/"), exchange, "publish", body=body)
    _say(line, "Message published" if answer["routed"] else "Message published but NOT routed")


def _get(api: Api, line: _Line, words: list[str]) -> None:
    body = {
        "count": int(line.fields.get("count", "1")),
        "ackmode": line.fields.get("ackmode", "ack_requeue_true"),
        "encoding": line.fields.get("encoding", "auto"),
    }
    rows = api.post("queues", line.options.get("vhost", "/"), _needed(line, "queue"), "get", body=body)
    _print(
        line, rows, ["routing_key", "exchange", "message_count", "payload", "payload_bytes", "redelivered"]
    )


def _export(api: Api, line: _Line, words: list[str]) -> None:
    from harebell.cli.definitions import write

    vhost = line.options.get("vhost")
    file = words[0] if words else line.fields.get("file", "-")
    write(file, api.get(*(("definitions",) if vhost is None else ("definitions", vhost))))
    if file != "-":
        _say(line, f"Exported definitions to {file!r}")


def _import(api: Api, line: _Line, words: list[str]) -> None:
    from harebell.cli.definitions import load, read

    file = words[0] if words else line.fields.get("file", "-")
    load(api, read(file), line.options.get("vhost"))
    _say(line, f"Imported definitions from {file!r}")


def _health(api: Api, line: _Line, words: list[str]) -> None:
    from harebell.cli.health import ask

    check = words[0].replace("_", "-") if words else "local-alarms"
    more = [*line.fields.values(), *words[1:]]
    passed, reason = ask(api, check, *more)
    if not passed:
        raise Failure(reason, UNAVAILABLE)
    _say(line, f"health check passed: {check}")


def _hash(api: Api, line: _Line, words: list[str]) -> None:
    from harebell.auth.passwords import hash_password

    print(hash_password((words[0] if words else sys.stdin.readline().rstrip("\n")).encode()).encode())
