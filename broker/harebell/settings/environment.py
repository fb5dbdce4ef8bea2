"""Settings from environment variables: the names of the official RabbitMQ image, and HAREBELL_SECTION__KEY.

The first are honoured where they mean something here and never fatal; the second are ours, so one that does
not exist is an error that names the nearest.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from harebell.settings.errors import Notice, nearest
from harebell.settings.layers import Layer, known_keys

PREFIX = "HAREBELL_"

# Ours, but no setting: read by the loader, the command line or the build.
RESERVED = (
    "HAREBELL_CONFIG",
    "HAREBELL_DEFAULTS",
    "HAREBELL_EXPECT_COMPILED",
    "HAREBELL_ORACLE_PORT",
    "HAREBELL_PURE",
    "HAREBELL_REQUIRE_COMPILED",
    "HAREBELL_URL",
)
_SHORT = {"HAREBELL_LOG_FORMAT": "log.format", "HAREBELL_LOG_LEVEL": "log.level"}

# What Kubernetes and old container links set for a service that happens to be called harebell.
_SERVICE_LINK = re.compile(
    r"HAREBELL(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
)
_SERVICE_URL = ("tcp://", "udp://", "sctp://")

_RABBITMQ = {
    "RABBITMQ_DEFAULT_USER": "auth.default_user",
    "RABBITMQ_DEFAULT_PASS": "auth.default_pass",
    "RABBITMQ_DEFAULT_VHOST": "auth.default_vhost",
    "RABBITMQ_NODE_PORT": "server.port",
    "RABBITMQ_NODE_IP_ADDRESS": "server.bind",
    "RABBITMQ_NODENAME": "compat.node_name",
    "RABBITMQ_MNESIA_BASE": "storage.data_dir",
    "RABBITMQ_MNESIA_DIR": "storage.data_dir",
    "RABBITMQ_PRODUCT_NAME": "compat.product",
    "RABBITMQ_PRODUCT_VERSION": "compat.version",
}
ERL_ARGUMENTS = "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"
"""Where compose files say which definitions to load: ``-rabbitmq_management load_definitions "/x.json"``."""

_LOAD_DEFINITIONS = re.compile(r"""\bload_definitions\s+(?:\\?"([^"\\]+)\\?"|'?([^\s'"]+)'?)""")
_SECRET_FILES = {
    "RABBITMQ_DEFAULT_USER_FILE": "auth.default_user",
    "RABBITMQ_DEFAULT_PASS_FILE": "auth.default_pass",
}
_READ_ELSEWHERE = ("RABBITMQ_CONFIG_FILE", "RABBITMQ_CONFIG_FILES")


def read_rabbitmq_variables(environ: Mapping[str, str]) -> Layer:
    """Read the variables of the official RabbitMQ image; one notice names those without effect here."""
    layer = Layer()
    ignored = []
    for variable in sorted(name for name in environ if name.startswith("RABBITMQ_")):
        value = environ[variable]
        if not value or variable in _READ_ELSEWHERE or variable in _SECRET_FILES:
            continue
        if value.startswith(_SERVICE_URL):  # RABBITMQ_NODE_PORT may be such a link too
            ignored.append(variable)
        elif variable in _RABBITMQ:
            layer.put(_RABBITMQ[variable], value, variable)
        elif variable in _LOGS:
            _LOGS[variable](layer, value)
        elif variable == ERL_ARGUMENTS and (found := _LOAD_DEFINITIONS.search(value)):
            layer.put("management.load_definitions", found[1] or found[2], variable)
        else:
            ignored.append(variable)
    for variable, key in _SECRET_FILES.items():
        if environ.get(variable):
            _secret_file(layer, variable, key, Path(environ[variable]))
    if ignored:
        layer.notices.append(Notice("info", f"without effect here: {', '.join(ignored)}"))
    return layer


def _secret_file(layer: Layer, variable: str, key: str, path: Path) -> None:
    try:
        layer.put(key, path.read_text(encoding="utf-8").rstrip("\r\n"), f"{variable}={path}")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text in UTF-8"
        layer.problems.append(f"{variable}: cannot read {path}: {reason}")


def _log_level(layer: Layer, value: str) -> None:
    """RABBITMQ_LOG holds words such as ``debug,+color``; only a level means something here."""
    for word in value.lower().split(","):
        if word in ("debug", "info", "warning", "error", "critical"):
            layer.put("log.level", word, "RABBITMQ_LOG")


def _log_place(layer: Layer, value: str) -> None:
    """RABBITMQ_LOGS is a file, or ``-`` for the standard output."""
    if value.startswith("/"):
        layer.put("log.file", value, "RABBITMQ_LOGS")
    elif value != "-":
        layer.notices.append(
            Notice("warning", "RABBITMQ_LOGS: neither '-' nor a full path: logs go to the standard output")
        )


_LOGS: dict[str, Callable[[Layer, str], None]] = {"RABBITMQ_LOG": _log_level, "RABBITMQ_LOGS": _log_place}


def read_harebell_variables(environ: Mapping[str, str]) -> Layer:
    """Read ``HAREBELL_SECTION__KEY``; a name that is no setting is a problem that names the nearest."""
    layer = Layer()
    variables = {variable_of(key): key for key in known_keys()} | _SHORT
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        value = environ[variable]
        if variable in variables:
            if value:
                layer.put(variables[variable], value, variable)
        elif variable in RESERVED or _SERVICE_LINK.fullmatch(variable) or value.startswith(_SERVICE_URL):
            continue
        else:
            layer.problems.append(f"unknown environment variable {variable!r}{nearest(variable, variables)}")
    return layer


def variable_of(key: str) -> str:
    """Return the environment variable of a dotted key: ``server.port`` is ``HAREBELL_SERVER__PORT``."""
    return PREFIX + key.replace(".", "__").upper()
